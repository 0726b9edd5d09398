//! Orders from nothing but crossings of two series, made in one pass: most sweeps are of this kind, and the steps in between cost as much as
//! the comparison.

use crate::simd::bitmask::{Mask, TILE, WORDS};
use crate::simd::{self, Predicate};

/// What the last bar of a tile tells the next tile: whether it was known and not above, known and not below; whether it rose, and fell.
#[derive(Clone, Copy, Debug, Default)]
pub struct Carry {
    not_above: u64,
    not_below: u64,
    rise: u64,
    fall: u64,
}

/// Fill `orders` (entry and exit long, entry and exit short) of a tile from the crossings of the series `a` and `b`. For each order, `rises` tells
/// whether it follows a rise of `a` above `b` (true) or a fall below it (false); an order of None stays as it is, which is empty. `may_have_nan`
/// is that of either series. Only the last tile may be shorter than the others.
pub fn crossing_orders(a: &[f64], b: &[f64], may_have_nan: bool, rises: [Option<bool>; 4], carry: &mut Carry, orders: &mut [Mask; 4]) {
    let (mut above, mut below) = ([0; WORDS], [0; WORDS]);
    simd::compare_both_ways(a, b, &mut above, &mut below);
    let (mut rise, mut fall) = ([0; WORDS], [0; WORDS]);
    let mut combine = |w: usize, known: u64| {
        let (not_above, not_below) = (known & !above[w], known & !below[w]);
        let (up, down) = (above[w] & (not_above << 1 | carry.not_above), below[w] & (not_below << 1 | carry.not_below));
        // Orders fill one bar later.
        (rise[w], fall[w]) = (up << 1 | carry.rise, down << 1 | carry.fall);
        *carry = Carry { not_above: not_above >> 63, not_below: not_below >> 63, rise: up >> 63, fall: down >> 63 };
    };
    if a.len() == TILE && !may_have_nan {
        (0..WORDS).for_each(|w| combine(w, !0));
    } else {
        let mut known = [[0; WORDS]; 2];
        for (values, known) in [a, b].into_iter().zip(&mut known) {
            simd::compare(Predicate::Eq, values, values, known);
        }
        (0..WORDS).for_each(|w| combine(w, known[0][w] & known[1][w]));
    }
    for (order, rises) in orders.iter_mut().zip(without_conflicts(rises)) {
        if let Some(rises) = rises {
            *order = if rises { rise } else { fall };
        }
    }
}

/// Without entries of both sides on one bar, and exits with an entry of their side: rises and falls never meet, so equal ones do always.
fn without_conflicts([entry_long, exit_long, entry_short, exit_short]: [Option<bool>; 4]) -> [Option<bool>; 4] {
    let cancelled = entry_long == entry_short;
    let (long, short) = if cancelled { (None, None) } else { (entry_long, entry_short) };
    [long, exit_long.filter(|_| exit_long != long), short, exit_short.filter(|_| exit_short != short)]
}
