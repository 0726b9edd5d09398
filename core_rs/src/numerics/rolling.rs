//! Rolling sums and averages over tiles.
//!
//! A window's sum is exact and rounded once. The fast path splits each value into two integers on a fixed grid and keeps prefix sums of
//! them; a window is the difference of two prefixes, any number of windows share them, and wrapping arithmetic cancels. It serves values
//! whose magnitudes span less than about 2^(51 - 2 log2 length), which prices do; the rest goes through an `Accumulator`.

use crate::numerics::exact_sum::Accumulator;
use crate::numerics::lookback::History;
use crate::simd::bitmask::TILE;
use crate::simd::{self, Level, level, multiversion};

/// 1.5 * 2^52: adding it to a float below 2^51 leaves the nearest integer in the low bits.
const MAGIC: f64 = 6_755_399_441_055_744.0;

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

#[derive(Debug)]
struct Grid {
    /// Multiples of 2^unit, and what is left over in multiples of 2^(unit - fraction_bits).
    unit: i32,
    fraction_bits: i32,
    least: f64,
    most: f64,
    high: History<i64>,
    low: History<i64>,
    total: (i64, i64),
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
            && !(least >= grid.least && most < grid.most)
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

impl Grid {
    fn choose(least: f64, most: f64, longest: usize) -> Option<Self> {
        let length_bits = (usize::BITS - longest.leading_zeros()) as i32;
        // All zero so far: any grid holds them; ones like prices are expected next.
        let (least, most) = if most == 0.0 { (1.0, 1.0) } else { (least, most) };
        let (bottom, top) = (exponent(least), exponent(most) + 1);
        let unit = (top + bottom - 51).div_euclid(2);
        let least_exponent = unit + length_bits;
        let most_exponent = unit + 51 - length_bits;
        if bottom < least_exponent || top > most_exponent || least_exponent < -900 || most_exponent > 900 {
            return None;
        }
        Some(Self {
            unit,
            fraction_bits: 52 - length_bits,
            least: power_of_two(least_exponent),
            most: power_of_two(most_exponent),
            high: History::new(longest, TILE, 0),
            low: History::new(longest, TILE, 0),
            total: (0, 0),
        })
    }

    fn push(&mut self, values: &[f64]) {
        let (high, low) = (self.high.next_tile(values.len()), self.low.next_tile(values.len()));
        split(values, power_of_two(-self.unit), power_of_two(self.fraction_bits), high, low);
        self.total = (simd::running_sum(high, self.total.0), simd::running_sum(low, self.total.1));
    }

    /// The values back from their prefix sums, exactly.
    fn to_values(&self, longest: usize) -> History<f64> {
        let mut history = History::new(longest, TILE, 0.0);
        let (unit, fraction) = (power_of_two(self.unit), power_of_two(self.unit - self.fraction_bits));
        let len = self.high.tile(0).len();
        let mut values = Vec::with_capacity(longest);
        for back in (0..longest).rev() {
            // The newest value is the last of the tile; one step further back than `depth` was never kept, and never asked for.
            let at = |history: &History<i64>, back: usize| {
                if back > longest { 0 } else { history.tile(back.min(longest))[len - 1] }
            };
            let high = at(&self.high, back).wrapping_sub(at(&self.high, back + 1));
            let low = at(&self.low, back).wrapping_sub(at(&self.low, back + 1));
            values.push(high as f64 * unit + low as f64 * fraction);
        }
        for chunk in values.chunks(TILE) {
            history.next_tile(chunk.len()).copy_from_slice(chunk);
        }
        history
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
        let length = self.length as f64;
        match &prefix.mode {
            Mode::Fast(grid) => {
                let (unit, fraction) = (power_of_two(grid.unit), power_of_two(grid.unit - grid.fraction_bits));
                let mean = if level() == Level::Baseline && cfg!(target_arch = "x86_64") { means_divided } else { means };
                mean(
                    (grid.high.tile(0), grid.high.tile(self.length)),
                    (grid.low.tile(0), grid.low.tile(self.length)),
                    (unit, fraction),
                    length,
                    out,
                );
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
                    *out = if known >= self.length { sum.round() / length } else { f64::NAN };
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

multiversion! {
    fn split(values: &[f64], scale: f64, fraction: f64, high: &mut [i64], low: &mut [i64]) = split_in;
}
#[inline(always)]
fn split_in(values: &[f64], scale: f64, fraction: f64, high: &mut [i64], low: &mut [i64]) {
    for ((&value, high), low) in values.iter().zip(high).zip(low) {
        let scaled = value * scale;
        let nearest = (scaled + MAGIC) - MAGIC;
        *high = integer(nearest);
        *low = integer((scaled - nearest) * fraction);
    }
}

/// A whole float below 2^51 as an integer.
#[inline(always)]
fn integer(x: f64) -> i64 {
    (x + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits()) as i64
}

/// The inverse of `integer`.
#[inline(always)]
fn float(x: i64) -> f64 {
    f64::from_bits(MAGIC.to_bits().wrapping_add(x as u64)) - MAGIC
}

type Windows<'a> = (&'a [i64], &'a [i64]);

multiversion! {
    fn means(high: Windows<'_>, low: Windows<'_>, units: (f64, f64), length: f64, out: &mut [f64]) = means_in;
}
#[inline(always)]
fn means_in(high: Windows<'_>, low: Windows<'_>, units: (f64, f64), length: f64, out: &mut [f64]) {
    // A quotient from the reciprocal, mended by its remainder: the bits of a division (Markstein 1990), for whole lengths below 2^30.
    let reciprocal = 1.0 / length;
    for_each_sum(high, low, units, out, |sum| {
        let guess = sum * reciprocal;
        let remainder = (-guess).mul_add(length, sum);
        remainder.mul_add(reciprocal, guess)
    });
}

fn means_divided(high: Windows<'_>, low: Windows<'_>, units: (f64, f64), length: f64, out: &mut [f64]) {
    for_each_sum(high, low, units, out, |sum| sum / length);
}

#[inline(always)]
fn for_each_sum(high: Windows<'_>, low: Windows<'_>, units: (f64, f64), out: &mut [f64], finish: impl Fn(f64) -> f64) {
    let n = out.len();
    let (h0, h1, l0, l1) = (&high.0[..n], &high.1[..n], &low.0[..n], &low.1[..n]);
    for i in 0..n {
        let whole = float(h0[i].wrapping_sub(h1[i])) * units.0;
        let rest = float(l0[i].wrapping_sub(l1[i])) * units.1;
        out[i] = finish(whole + rest);
    }
}

/// e with 2^e <= x < 2^(e + 1), for finite x > 0.
fn exponent(x: f64) -> i32 {
    let field = (x.to_bits() >> 52 & 0x7ff) as i32;
    if field == 0 { -1075 } else { field - 1023 }
}

fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// `alpha * x + (1 - alpha) * previous`, seeded with the simple average of the first `length` values; starts anew after a NaN.
#[derive(Debug)]
pub struct Smoothed {
    length: usize,
    alpha: f64,
    known: usize,
    value: f64,
    seed: Accumulator,
}

impl Smoothed {
    pub fn new(length: usize, alpha: f64) -> Self {
        Self { length, alpha, known: 0, value: 0.0, seed: Accumulator::default() }
    }

    #[inline(always)]
    pub fn next(&mut self, x: f64) -> f64 {
        if self.known >= self.length && x.is_finite() {
            self.value = self.alpha * x + (1.0 - self.alpha) * self.value;
            return self.value;
        }
        self.warm_up(x)
    }

    #[cold]
    fn warm_up(&mut self, x: f64) -> f64 {
        if !x.is_finite() {
            self.known = 0;
            self.seed = Accumulator::default();
            return f64::NAN;
        }
        self.known += 1;
        self.seed.add(x);
        if self.known < self.length {
            return f64::NAN;
        }
        self.value = self.seed.round() / self.length as f64;
        self.value
    }
}
