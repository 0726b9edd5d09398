//! The loops over every bar, in plain Rust; `simd` has the same with AVX-512.

use crate::simulation::equity_curve::Held;

pub const LANES: usize = 8;

/// Where the group after the one at `at` begins, for `n` values, at least as many as lanes; nothing after the last one. Where `n` is no
/// multiple of the lanes, the last group overlaps the one before: who asks doesn't mind values seen twice.
#[inline(always)]
pub fn next_group(at: usize, n: usize) -> Option<usize> {
    if at + LANES < n { Some(if at + 2 * LANES <= n { at + LANES } else { n - LANES }) } else { None }
}

/// Lowest and highest of the values seen so far, lane by lane; NaN is passed over.
#[derive(Clone, Copy, Debug)]
pub struct Extremes {
    low: [f64; LANES],
    high: [f64; LANES],
}

impl Extremes {
    pub const NONE: Self = Self { low: [f64::INFINITY; LANES], high: [f64::NEG_INFINITY; LANES] };

    #[inline(always)]
    pub fn take(&mut self, lane: usize, low: f64, high: f64) {
        self.low[lane] = least(low, self.low[lane]);
        self.high[lane] = most(high, self.high[lane]);
    }

    #[inline(always)]
    pub fn first_lane(&self) -> (f64, f64) {
        (self.low[0], self.high[0])
    }

    /// Over all lanes; infinity and its negative where there is none.
    #[inline(always)]
    pub fn reduce(&self) -> (f64, f64) {
        (tree(&self.low, least), tree(&self.high, most))
    }
}

#[inline(always)]
fn tree(x: &[f64; LANES], pick: impl Fn(f64, f64) -> f64) -> f64 {
    let (a, b) = (pick(pick(x[0], x[4]), pick(x[2], x[6])), pick(pick(x[1], x[5]), pick(x[3], x[7])));
    pick(a, b)
}

#[inline(always)]
fn least(a: f64, b: f64) -> f64 {
    if a < b { a } else { b }
}

#[inline(always)]
fn most(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}

/// The lowest value of `low` and the highest of `high`, which are of one length.
#[inline(always)]
pub fn extremes(low: &[f64], high: &[f64]) -> (f64, f64) {
    let mut seen = Extremes::NONE;
    if low.len() < LANES {
        for (&low, &high) in low.iter().zip(high) {
            seen.take(0, low, high);
        }
        return seen.first_lane();
    }
    let mut group = Some(0);
    while let Some(at) = group {
        let (lows, highs) = (&low[at..at + LANES], &high[at..at + LANES]);
        for lane in 0..LANES {
            seen.take(lane, lows[lane], highs[lane]);
        }
        group = next_group(at, low.len());
    }
    seen.reduce()
}

/// Fill in equity of a position from the close; says whether it is 0 or less anywhere.
#[inline(always)]
pub fn mark(close: &[f64], held: Held, equity: &mut [f64]) -> bool {
    let mut ruined = false;
    for (equity, &close) in equity.iter_mut().zip(close) {
        *equity = held.equity(close);
        ruined |= *equity <= 0.0;
    }
    ruined
}

/// Lower `troughs`, lane by lane, to equity at each value, group after group up to one in which it is `peak` or more, or (if `MARKED`, so
/// that equity follows from the value as a close) 0 or less; gives how many values that were.
#[inline(always)]
pub fn sink<const MARKED: bool>(values: &[f64], held: Held, peak: f64, troughs: &mut [f64; LANES]) -> usize {
    let (mut done, mut lowest) = (0, *troughs);
    for group in values.chunks(LANES) {
        let (mut stops, mut lower) = (false, lowest);
        for (lower, &value) in lower.iter_mut().zip(group) {
            let equity = if MARKED { held.equity(value) } else { value };
            stops |= (equity >= peak) | (MARKED & (equity <= 0.0));
            *lower = least(equity, *lower);
        }
        if stops {
            break;
        }
        lowest = lower;
        done += group.len();
    }
    *troughs = lowest;
    done
}

/// The first position at which `test` holds for the values of two slices of one length; the length where there is none.
#[inline(always)]
pub fn first(a: &[f64], b: &[f64], test: impl Fn(f64, f64) -> bool) -> usize {
    if a.len() < LANES {
        return a.iter().zip(b).position(|(&a, &b)| test(a, b)).unwrap_or(a.len());
    }
    let mut group = Some(0);
    while let Some(at) = group {
        let (x, y) = (&a[at..at + LANES], &b[at..at + LANES]);
        let mut hits = 0_u32;
        for lane in 0..LANES {
            hits |= u32::from(test(x[lane], y[lane])) << lane;
        }
        if hits != 0 {
            return at + hits.trailing_zeros() as usize;
        }
        group = next_group(at, a.len());
    }
    a.len()
}

#[cfg(test)]
mod tests {
    use crate::simd::{extremes, first_outside, mark, sink};
    use crate::simulation::equity_curve::Held;

    fn first(low: &[f64], high: &[f64], lower: f64, upper: f64) -> usize {
        let found = first_outside::<true, true>(low, high, lower, upper);
        assert_eq!(found, super::first(low, high, |low, high| (low <= lower) | (high >= upper)));
        found
    }

    #[test]
    fn every_value_counts_at_every_length() {
        for n in 0..40 {
            let flat = vec![5.0; n];
            assert_eq!(first(&flat, &flat, 4.0, 6.0), n);
            for at in 0..n {
                let mut values = flat.clone();
                values[at] = 2.0;
                assert_eq!(extremes(&values, &flat), (2.0, 5.0), "{n} {at}");
                assert_eq!(super::extremes(&values, &flat), (2.0, 5.0), "{n} {at}");
                assert_eq!(first(&values, &flat, 2.0, 6.0), at, "{n}");
                assert_eq!(first_outside::<true, false>(&values, &flat, 2.0, f64::INFINITY), at, "{n}");
                values[at] = 7.0;
                assert_eq!(extremes(&flat, &values), (5.0, 7.0), "{n} {at}");
                assert_eq!(super::extremes(&flat, &values), (5.0, 7.0), "{n} {at}");
                assert_eq!(first(&flat, &values, 4.0, 7.0), at, "{n}");
                assert_eq!(first_outside::<false, true>(&flat, &values, f64::NEG_INFINITY, 7.0), at, "{n}");
                values[at] = f64::NAN;
                let wanted = if n == 1 { (f64::INFINITY, f64::NEG_INFINITY) } else { (5.0, 5.0) };
                assert_eq!(extremes(&values, &values), wanted, "{n} {at}");
                assert_eq!(super::extremes(&values, &values), wanted, "{n} {at}");
            }
        }
    }

    #[test]
    fn both_ways_of_marking_give_the_same_bits() {
        let held = Held { balance: 1000.1, quantity: -0.3, entry: 101.7 };
        for n in 0..40 {
            let close: Vec<f64> = (0..n).map(|i| 100.0 + 7.3 * f64::from(i * i % 11)).collect();
            let (mut a, mut b) = (vec![0.0; close.len()], vec![0.0; close.len()]);
            assert_eq!(mark(&close, held, &mut a), super::mark(&close, held, &mut b));
            assert_eq!(a, close.iter().map(|&close| held.equity(close)).collect::<Vec<_>>());
            assert_eq!(a, b);
        }
    }

    #[test]
    fn both_ways_of_sinking_stop_at_the_same_group() {
        fn check<const MARKED: bool>(values: &[f64], held: Held, peak: f64) -> usize {
            let (mut a, mut b) = ([200.0; super::LANES], [200.0; super::LANES]);
            let done = sink::<MARKED>(values, held, peak, &mut a);
            assert_eq!(done, super::sink::<MARKED>(values, held, peak, &mut b));
            assert_eq!(a, b);
            done
        }
        let held = Held { balance: 100.0, quantity: -2.0, entry: 100.0 };
        for n in 0..40 {
            let flat = vec![100.0; n];
            assert_eq!(check::<false>(&flat, held, 101.0), n);
            for at in 0..n {
                let mut values = flat.clone();
                values[at] = f64::NAN;
                assert_eq!(check::<true>(&values, held, 101.0), n, "{n} {at}");
                values[at] = 101.0;
                assert_eq!(check::<false>(&values, held, 101.0), at / super::LANES * super::LANES, "{n} {at}");
                values[at] = 90.0;
                assert_eq!(check::<true>(&values, held, 120.0), at / super::LANES * super::LANES, "{n} {at}");
                values[at] = 150.0;
                assert_eq!(check::<true>(&values, held, 120.0), at / super::LANES * super::LANES, "{n} {at}");
            }
        }
    }
}
