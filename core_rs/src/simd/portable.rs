//! The loops over every bar, in plain Rust; `simd` has the same with AVX-512.

use crate::simd::bitmask::word;
use crate::simd::held::Held;

pub const LANES: usize = 8;

/// Ordered comparisons, which are false for NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    Gt,
    Ge,
    Eq,
}

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

pub fn compare_word(test: Test, a: &[f64], b: &[f64]) -> u64 {
    match test {
        Test::Gt => word(a.len(), |i| a[i] > b[i]),
        Test::Ge => word(a.len(), |i| a[i] >= b[i]),
        Test::Eq => word(a.len(), |i| a[i] == b[i]),
    }
}

/// `simd::running_sum`.
pub fn running_sum(values: &mut [i64], before: i64) -> i64 {
    values.iter_mut().fold(before, |sum, value| {
        *value = sum.wrapping_add(*value);
        *value
    })
}

pub fn pack_word(truths: &[u8]) -> u64 {
    let mut word = 0;
    let (eights, rest) = truths.as_chunks::<8>();
    for (k, eight) in eights.iter().enumerate() {
        // The product gathers the lowest bit of each byte in the top byte.
        let bytes = u64::from_le_bytes(eight.map(|truth| u8::from(truth != 0)));
        word |= (bytes.wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * k);
    }
    for (i, &truth) in rest.iter().enumerate() {
        word |= u64::from(truth != 0) << (eights.len() * 8 + i);
    }
    word
}
