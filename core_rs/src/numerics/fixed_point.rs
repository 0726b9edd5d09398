//! Prefix sums of values on a fixed grid, as pairs of integers.

use crate::numerics::float_bits::{exponent, power_of_two};
use crate::numerics::lookback::History;
use crate::simd::bitmask::TILE;
use crate::simd::{self, InstructionSet, instruction_set, multiversion};

/// 1.5 * 2^52: adding it to a float below 2^51 leaves the nearest integer in the low bits.
const MAGIC: f64 = 6_755_399_441_055_744.0;

#[derive(Debug)]
pub struct Grid {
    /// Multiples of 2^unit, and what is left over in multiples of 2^(unit - fraction_bits).
    unit: i32,
    fraction_bits: i32,
    least: f64,
    most: f64,
    high: History<i64>,
    low: History<i64>,
    total: (i64, i64),
}

impl Grid {
    pub fn choose(least: f64, most: f64, longest: usize) -> Option<Self> {
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

    /// Whether all values fit on the grid whose magnitudes are 0 or from `least` to `most`.
    pub fn holds(&self, least: f64, most: f64) -> bool {
        least >= self.least && most < self.most
    }

    pub fn push(&mut self, values: &[f64]) {
        let (high, low) = (self.high.next_tile(values.len()), self.low.next_tile(values.len()));
        split(values, power_of_two(-self.unit), power_of_two(self.fraction_bits), high, low);
        self.total = (simd::running_sum(high, self.total.0), simd::running_sum(low, self.total.1));
    }

    /// The values back from their prefix sums, exactly.
    pub fn to_values(&self, longest: usize) -> History<f64> {
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

    /// Averages of the windows of `length` values that end in the tile that was pushed last.
    pub fn means(&self, length: usize, out: &mut [f64]) {
        let (unit, fraction) = (power_of_two(self.unit), power_of_two(self.unit - self.fraction_bits));
        let means = if instruction_set() == InstructionSet::Baseline && cfg!(target_arch = "x86_64") { means_divided } else { means };
        means((self.high.tile(0), self.high.tile(length)), (self.low.tile(0), self.low.tile(length)), (unit, fraction), length as f64, out);
    }
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
