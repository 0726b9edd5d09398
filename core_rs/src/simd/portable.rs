//! The loops of `simd` in plain Rust, for machines without the instructions of `x86`.

use crate::simd::bitmask::word_where;
use crate::simd::held::Held;

pub const LANES: usize = 8;

/// Ordered comparisons, which are false for NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Predicate {
    Gt,
    Ge,
    Eq,
}

/// Where the group after the one at `at` begins, or none after the last, for `n` values, at least `LANES` of them. If `n` is not a multiple
/// of `LANES`, the last group overlaps the one before: only for loops to which a value seen twice makes no difference.
#[inline(always)]
pub fn next_group(at: usize, n: usize) -> Option<usize> {
    if at + LANES < n { Some(if at + 2 * LANES <= n { at + LANES } else { n - LANES }) } else { None }
}

/// The lowest and the highest value so far in each lane; NaN is ignored.
#[derive(Clone, Copy, Debug)]
pub struct Extremes {
    low: [f64; LANES],
    high: [f64; LANES],
}

impl Extremes {
    pub const NONE: Self = Self { low: [f64::INFINITY; LANES], high: [f64::NEG_INFINITY; LANES] };

    #[inline(always)]
    pub fn include(&mut self, lane: usize, low: f64, high: f64) {
        self.low[lane] = lesser(low, self.low[lane]);
        self.high[lane] = greater(high, self.high[lane]);
    }

    #[inline(always)]
    pub fn first_lane(&self) -> (f64, f64) {
        (self.low[0], self.high[0])
    }

    /// Over all lanes; infinity and minus infinity if there was no value.
    #[inline(always)]
    pub fn reduce(&self) -> (f64, f64) {
        (reduce_lanes(&self.low, lesser), reduce_lanes(&self.high, greater))
    }
}

#[inline(always)]
fn reduce_lanes(x: &[f64; LANES], pick: impl Fn(f64, f64) -> f64) -> f64 {
    let (a, b) = (pick(pick(x[0], x[4]), pick(x[2], x[6])), pick(pick(x[1], x[5]), pick(x[3], x[7])));
    pick(a, b)
}

#[inline(always)]
fn lesser(a: f64, b: f64) -> f64 {
    if a < b { a } else { b }
}

#[inline(always)]
fn greater(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}

#[inline(always)]
pub fn extremes(low: &[f64], high: &[f64]) -> (f64, f64) {
    let mut seen = Extremes::NONE;
    if low.len() < LANES {
        for (&low, &high) in low.iter().zip(high) {
            seen.include(0, low, high);
        }
        return seen.first_lane();
    }
    let mut group = Some(0);
    while let Some(at) = group {
        let (lows, highs) = (&low[at..at + LANES], &high[at..at + LANES]);
        for lane in 0..LANES {
            seen.include(lane, lows[lane], highs[lane]);
        }
        group = next_group(at, low.len());
    }
    seen.reduce()
}

#[inline(always)]
pub fn mark_to_market(close: &[f64], held: Held, equity: &mut [f64]) -> bool {
    let mut ruined = false;
    for (equity, &close) in equity.iter_mut().zip(close) {
        *equity = held.equity(close);
        ruined |= *equity <= held.ruin;
    }
    ruined
}

/// Lower `troughs`, lane by lane, to the equity at each value, and stop before the first group with equity of `peak` or more. `values` are
/// equity, or with `FROM_CLOSE` closes at which the position `held` is valued; then a group in which it is ruin stops it, too. Returns
/// the number of values passed.
#[inline(always)]
pub fn lower_troughs<const FROM_CLOSE: bool>(values: &[f64], held: Held, peak: f64, troughs: &mut [f64; LANES]) -> usize {
    let equity = |value: f64| if FROM_CLOSE { held.equity(value) } else { value };
    let stops = |equity: f64| (equity >= peak) | (FROM_CLOSE & (equity <= held.ruin));
    let (groups, rest) = values.as_chunks::<LANES>();
    let mut lowest = *troughs;
    // Whole groups are a loop of their own, which the compiler turns into vector instructions.
    for (k, group) in groups.iter().enumerate() {
        let group = group.map(equity);
        if group.iter().fold(false, |any, &equity| any | stops(equity)) {
            *troughs = lowest;
            return k * LANES;
        }
        for (lowest, equity) in lowest.iter_mut().zip(group) {
            *lowest = lesser(equity, *lowest);
        }
    }
    *troughs = lowest;
    if rest.iter().any(|&value| stops(equity(value))) {
        return values.len() - rest.len();
    }
    for (lowest, &value) in troughs.iter_mut().zip(rest) {
        *lowest = lesser(equity(value), *lowest);
    }
    values.len()
}

/// The first position where `test` holds for the values of two slices of equal length; the length if there is none.
#[inline(always)]
pub fn first_where(a: &[f64], b: &[f64], test: impl Fn(f64, f64) -> bool) -> usize {
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

pub fn compare_word(predicate: Predicate, a: &[f64], b: &[f64]) -> u64 {
    match predicate {
        Predicate::Gt => word_where(a.len(), |i| a[i] > b[i]),
        Predicate::Ge => word_where(a.len(), |i| a[i] >= b[i]),
        Predicate::Eq => word_where(a.len(), |i| a[i] == b[i]),
    }
}

pub fn running_sum(values: &mut [i64], before: i64) -> i64 {
    values.iter_mut().fold(before, |sum, value| {
        *value = sum.wrapping_add(*value);
        *value
    })
}

pub fn pack_bools_word(bools: &[u8]) -> u64 {
    let mut word = 0;
    let (eights, rest) = bools.as_chunks::<8>();
    for (k, eight) in eights.iter().enumerate() {
        // The product collects the lowest bit of each byte in the top byte.
        let bytes = u64::from_le_bytes(eight.map(|byte| u8::from(byte != 0)));
        word |= (bytes.wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * k);
    }
    for (i, &byte) in rest.iter().enumerate() {
        word |= u64::from(byte != 0) << (eights.len() * 8 + i);
    }
    word
}
