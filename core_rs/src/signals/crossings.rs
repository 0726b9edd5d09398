//! Orders from nothing but crossings of two series, made in one pass: most sweeps are of this kind, and the steps in between cost as much as
//! the comparison.

use crate::simd::bitmask::{self, Mask, TILE, WORDS};
use crate::simd::{self, Predicate, multiversion};

/// What the last bar of a tile tells the next tile, about rises and about falls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Carry {
    rise: Direction,
    fall: Direction,
}

/// Whether the last bar was known and not beyond (above, for a rise), and whether it crossed; 0 or 1.
#[derive(Clone, Copy, Debug, Default)]
struct Direction {
    not_beyond: u64,
    crossed: u64,
}

multiversion! {
    /// Fill `orders` (entry and exit long, entry and exit short) of a tile from the crossings of the series `a` and `b`. For each order, `rises`
    /// tells whether it follows a rise of `a` above `b` (true) or a fall below it (false); an order of None stays as it is, which is empty.
    /// `may_have_nan` is that of either series. Only the last tile may be shorter than the others.
    pub fn crossing_orders(
        a: &[f64],
        b: &[f64],
        may_have_nan: bool,
        rises: [Option<bool>; 4],
        carry: &mut Carry,
        orders: &mut [Mask; 4],
    ) = crossing_orders_in;
}
#[inline(always)]
fn crossing_orders_in(a: &[f64], b: &[f64], may_have_nan: bool, rises: [Option<bool>; 4], carry: &mut Carry, orders: &mut [Mask; 4]) {
    let (mut above, mut below) = ([0; WORDS], [0; WORDS]);
    simd::compare_both_ways(a, b, &mut above, &mut below);
    let known = (a.len() < TILE || may_have_nan).then(|| {
        let mut known = [[0; WORDS]; 2];
        simd::compare(Predicate::Eq, a, a, &mut known[0]);
        simd::compare(Predicate::Eq, b, b, &mut known[1]);
        std::array::from_fn(|w| known[0][w] & known[1][w])
    });
    let rise = cross(&above, known.as_ref(), &mut carry.rise);
    let fall = cross(&below, known.as_ref(), &mut carry.fall);
    for (order, rises) in orders.iter_mut().zip(without_conflicts(rises)) {
        if let Some(rises) = rises {
            *order = if rises { rise } else { fall };
        }
    }
}

/// The orders of bars that are beyond after a bar that was not, each one bar later. Without `known`, all bars are known.
#[inline(always)]
fn cross(beyond: &Mask, known: Option<&Mask>, carry: &mut Direction) -> Mask {
    let not_beyond = match known {
        None => beyond.map(|word| !word),
        Some(known) => std::array::from_fn(|w| known[w] & !beyond[w]),
    };
    let earlier = bitmask::one_bar_later(&not_beyond, carry.not_beyond);
    let crossed: Mask = std::array::from_fn(|w| beyond[w] & earlier[w]);
    let orders = bitmask::one_bar_later(&crossed, carry.crossed);
    *carry = Direction { not_beyond: not_beyond[WORDS - 1] >> 63, crossed: crossed[WORDS - 1] >> 63 };
    orders
}

/// Without entries of both sides on one bar, and exits with an entry of their side: rises and falls never meet, so equal ones do always.
fn without_conflicts([entry_long, exit_long, entry_short, exit_short]: [Option<bool>; 4]) -> [Option<bool>; 4] {
    let cancelled = entry_long == entry_short;
    let (long, short) = if cancelled { (None, None) } else { (entry_long, entry_short) };
    [long, exit_long.filter(|_| exit_long != long), short, exit_short.filter(|_| exit_short != short)]
}
