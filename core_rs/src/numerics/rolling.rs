//! Rolling averages over tiles.
//!
//! A window's sum is exact, so that it cannot drift, and its average is rounded once. Values whose magnitudes span less than about 2^(51 - 2 log2 length),
//! as prices do, go through the prefix sums of a `Grid`, which windows of any length share; all others go through an `Accumulator`.

use crate::numerics::exact_sum::Accumulator;
use crate::numerics::fixed_point::Grid;
use crate::numerics::lookback::Lookback;
use crate::simd::bitmask::TILE;
use crate::simd::{self, multiversion};

/// The sums behind all windows over one series.
#[derive(Debug)]
pub struct PrefixSums {
    max_length: usize,
    mode: Mode,
    finite: FiniteRun,
}

#[derive(Debug)]
enum Mode {
    /// No values yet.
    Empty,
    Fast(Box<Grid>),
    Slow(Lookback<f64>),
}

/// How many finite values in a row end at each position of the tile.
#[derive(Debug, Default)]
struct FiniteRun {
    /// Finite values in a row just before the tile.
    before: usize,
    /// Positions in the tile of values that are not finite.
    not_finite: Vec<usize>,
    len: usize,
}

impl FiniteRun {
    fn next_tile(&mut self, values: &[f64], may_have_nan: bool) {
        self.before = match self.not_finite.last() {
            Some(last) => self.len - 1 - last,
            None => self.before + self.len,
        };
        self.len = values.len();
        self.not_finite.clear();
        if may_have_nan {
            self.not_finite.extend((0..values.len()).filter(|&i| !values[i].is_finite()));
        }
    }

    /// Finite values in a row up to and including position `i`.
    fn length_at(&self, i: usize) -> usize {
        match self.not_finite.partition_point(|&not_finite| not_finite <= i) {
            0 => self.before + i + 1,
            k => i - self.not_finite[k - 1],
        }
    }

    /// Set `out` to NaN where fewer than `length` finite values end in a row; returns whether there is such a position.
    fn blank_short_runs(&self, length: usize, out: &mut [f64]) -> bool {
        if self.not_finite.is_empty() {
            let missing = length.saturating_sub(1 + self.before).min(out.len());
            out[..missing].fill(f64::NAN);
            return missing > 0;
        }
        for (i, value) in out.iter_mut().enumerate() {
            if self.length_at(i) < length {
                *value = f64::NAN;
            }
        }
        true
    }
}

impl PrefixSums {
    pub fn new(max_length: usize) -> Self {
        Self { max_length, mode: Mode::Empty, finite: FiniteRun::default() }
    }

    /// Add the next tile of values, without NaN unless `may_have_nan`.
    pub fn push(&mut self, values: &[f64], may_have_nan: bool) {
        let (lowest, highest) = simd::extremes(values, values);
        let signed = lowest < 0.0;
        // If all are positive, as prices are, these are the magnitudes.
        let (smallest, largest) = if lowest > 0.0 && highest > 0.0 { (lowest, highest) } else { magnitudes(values) };
        self.finite.next_tile(values, may_have_nan || largest == f64::INFINITY);
        let mut cleaned = [0.0; TILE];
        let values = if self.finite.not_finite.is_empty() {
            values
        } else {
            for (clean, &value) in cleaned.iter_mut().zip(values) {
                *clean = if value.is_finite() { value } else { 0.0 };
            }
            &cleaned[..values.len()]
        };
        let (smallest, largest) = if self.finite.not_finite.is_empty() { (smallest, largest) } else { magnitudes(values) };
        if matches!(self.mode, Mode::Empty) {
            self.mode = match Grid::fitting(smallest, largest, self.max_length) {
                Some(grid) => Mode::Fast(Box::new(grid)),
                None => Mode::Slow(Lookback::new(self.max_length, TILE, 0.0)),
            };
        }
        if let Mode::Fast(grid) = &self.mode
            && !grid.holds(smallest, largest)
        {
            self.mode = Mode::Slow(grid.to_values(self.max_length));
        }
        match &mut self.mode {
            Mode::Fast(grid) => grid.push(values, signed),
            Mode::Slow(lookback) => lookback.next_tile(values.len()).copy_from_slice(values),
            Mode::Empty => {}
        }
    }
}

/// A simple moving average over a `PrefixSums`.
#[derive(Debug)]
pub struct Sma {
    length: usize,
    slow: Option<Box<Accumulator>>,
}

impl Sma {
    pub fn new(length: usize) -> Self {
        Self { length, slow: None }
    }

    /// Averages at each value of the tile that was pushed last; returns whether any is NaN.
    pub fn run(&mut self, sums: &PrefixSums, out: &mut [f64]) -> bool {
        match &sums.mode {
            Mode::Fast(grid) => {
                grid.means(self.length, out);
                sums.finite.blank_short_runs(self.length, out)
            }
            Mode::Slow(lookback) => {
                let mut nan = false;
                let run_before = sums.finite.before;
                let sum = self.slow.get_or_insert_with(|| {
                    let mut sum = Box::new(Accumulator::default());
                    for back in 1..=run_before.min(self.length) {
                        sum.add(lookback.delayed(back)[0]);
                    }
                    sum
                });
                let (now, leaving) = (lookback.delayed(0), lookback.delayed(self.length));
                for (i, out) in out.iter_mut().enumerate() {
                    let run = sums.finite.length_at(i);
                    if run == 0 {
                        **sum = Accumulator::default();
                    } else {
                        sum.add(now[i]);
                        if run > self.length {
                            sum.subtract(leaving[i]);
                        }
                    }
                    *out = if run >= self.length { sum.mean(self.length) } else { f64::NAN };
                    nan |= run < self.length;
                }
                nan
            }
            Mode::Empty => false,
        }
    }
}

multiversion! {
    /// The smallest magnitude other than 0 (infinity if there is none) and the largest.
    fn magnitudes(values: &[f64]) -> (f64, f64) = magnitudes_in;
}
#[inline(always)]
fn magnitudes_in(values: &[f64]) -> (f64, f64) {
    let (mut smallest, mut largest) = ([f64::INFINITY; 8], [0.0; 8]);
    let mut take = |lane: usize, x: f64| {
        let size = x.abs();
        let positive = if size == 0.0 { f64::INFINITY } else { size };
        smallest[lane] = if positive < smallest[lane] { positive } else { smallest[lane] };
        largest[lane] = if size > largest[lane] { size } else { largest[lane] };
    };
    let (chunks, rest) = values.as_chunks::<8>();
    for chunk in chunks {
        for (lane, &x) in chunk.iter().enumerate() {
            take(lane, x);
        }
    }
    for &x in rest {
        take(0, x);
    }
    (smallest.into_iter().fold(f64::INFINITY, f64::min), largest.into_iter().fold(0.0, f64::max))
}
