//! Rolling sums and averages over tiles.
//!
//! A window's sum is exact and rounded once. The fast path splits each value into two integers on a fixed grid and keeps prefix sums of
//! them; a window is the difference of two prefixes, any number of windows share them, and wrapping arithmetic cancels. It serves values
//! whose magnitudes span less than about 2^(51 - 2 log2 length), which prices do; the rest goes through an `Accumulator`.

use crate::numerics::exact_sum::Accumulator;
use crate::numerics::fixed_point::Grid;
use crate::numerics::lookback::History;
use crate::simd::bitmask::TILE;
use crate::simd::{self, multiversion};

/// Values whose windows are summed, for windows up to a longest length.
#[derive(Debug)]
pub struct Prefix {
    longest: usize,
    mode: Mode,
    /// Finite values since the last one that was not, before each position of the tile.
    known: Known,
}

#[derive(Debug)]
enum Mode {
    Empty,
    Fast(Box<Grid>),
    Slow(History<f64>),
}

#[derive(Debug, Default)]
struct Known {
    before: usize,
    /// Position of the last value of the tile that is not finite, and all such positions.
    bad: Vec<usize>,
    len: usize,
}

impl Known {
    fn next_tile(&mut self, values: &[f64], look: bool) {
        self.before = match self.bad.last() {
            Some(last) => self.len - 1 - last,
            None => self.before + self.len,
        };
        self.len = values.len();
        self.bad.clear();
        if look {
            self.bad.extend((0..values.len()).filter(|&i| !values[i].is_finite()));
        }
    }

    /// Finite values in a row up to and with position `i`.
    fn at(&self, i: usize) -> usize {
        match self.bad.partition_point(|&bad| bad <= i) {
            0 => self.before + i + 1,
            k => i - self.bad[k - 1],
        }
    }

    /// Blank out the positions at which fewer than `length` values are known.
    fn blank(&self, length: usize, out: &mut [f64]) -> bool {
        if self.bad.is_empty() {
            let blank = length.saturating_sub(1 + self.before).min(out.len());
            out[..blank].fill(f64::NAN);
            return blank > 0;
        }
        for (i, value) in out.iter_mut().enumerate() {
            if self.at(i) < length {
                *value = f64::NAN;
            }
        }
        true
    }
}

impl Prefix {
    pub fn new(longest: usize) -> Self {
        Self { longest, mode: Mode::Empty, known: Known::default() }
    }

    /// Take in the next tile of values; they hold no NaN unless `nan`.
    pub fn push(&mut self, values: &[f64], nan: bool) {
        let (least, most) = match simd::extremes(values, values) {
            // All positive, as prices are: what follows would find the same.
            (least, most) if least > 0.0 && most > 0.0 => (least, most),
            _ => magnitudes(values),
        };
        self.known.next_tile(values, nan || most == f64::INFINITY);
        let mut cleaned = [0.0; TILE];
        let values = if self.known.bad.is_empty() {
            values
        } else {
            for (clean, &value) in cleaned.iter_mut().zip(values) {
                *clean = if value.is_finite() { value } else { 0.0 };
            }
            &cleaned[..values.len()]
        };
        let (least, most) = if self.known.bad.is_empty() { (least, most) } else { magnitudes(values) };
        if matches!(self.mode, Mode::Empty) {
            self.mode = match Grid::choose(least, most, self.longest) {
                Some(grid) => Mode::Fast(Box::new(grid)),
                None => Mode::Slow(History::new(self.longest, TILE, 0.0)),
            };
        }
        if let Mode::Fast(grid) = &self.mode
            && !grid.holds(least, most)
        {
            self.mode = Mode::Slow(grid.to_values(self.longest));
        }
        match &mut self.mode {
            Mode::Fast(grid) => grid.push(values),
            Mode::Slow(history) => history.next_tile(values.len()).copy_from_slice(values),
            Mode::Empty => {}
        }
    }
}

/// A simple moving average over a `Prefix`.
#[derive(Debug)]
pub struct Sma {
    length: usize,
    slow: Option<Box<Accumulator>>,
}

impl Sma {
    pub fn new(length: usize) -> Self {
        Self { length, slow: None }
    }

    /// Averages of the tile that was pushed last; says whether any is NaN.
    pub fn run(&mut self, prefix: &Prefix, out: &mut [f64]) -> bool {
        match &prefix.mode {
            Mode::Fast(grid) => {
                grid.means(self.length, out);
                prefix.known.blank(self.length, out)
            }
            Mode::Slow(history) => {
                let mut nan = false;
                let known_before = prefix.known.before;
                let sum = self.slow.get_or_insert_with(|| {
                    let mut sum = Box::new(Accumulator::default());
                    for back in 1..=known_before.min(self.length) {
                        sum.add(history.tile(back)[0]);
                    }
                    sum
                });
                let (now, gone) = (history.tile(0), history.tile(self.length));
                for (i, out) in out.iter_mut().enumerate() {
                    let known = prefix.known.at(i);
                    if known == 0 {
                        **sum = Accumulator::default();
                    } else {
                        sum.add(now[i]);
                        if known > self.length {
                            sum.subtract(gone[i]);
                        }
                    }
                    *out = if known >= self.length { sum.round() / self.length as f64 } else { f64::NAN };
                    nan |= known < self.length;
                }
                nan
            }
            Mode::Empty => false,
        }
    }
}

multiversion! {
    /// Least magnitude other than 0 (infinity if there is none) and greatest magnitude.
    fn magnitudes(values: &[f64]) -> (f64, f64) = magnitudes_in;
}
#[inline(always)]
fn magnitudes_in(values: &[f64]) -> (f64, f64) {
    let (mut least, mut most) = ([f64::INFINITY; 8], [0.0; 8]);
    let mut take = |lane: usize, x: f64| {
        let size = x.abs();
        let positive = if size == 0.0 { f64::INFINITY } else { size };
        least[lane] = if positive < least[lane] { positive } else { least[lane] };
        most[lane] = if size > most[lane] { size } else { most[lane] };
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
    (least.into_iter().fold(f64::INFINITY, f64::min), most.into_iter().fold(0.0, f64::max))
}
