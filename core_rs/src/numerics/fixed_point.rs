//! Prefix sums of floats, held as integers on a fixed grid.
//!
//! A value is split in two: `coarse`, the nearest multiple of a unit, and `fine`, the rest as a multiple of a much smaller unit. Both are
//! integers, so their sums are exact, and a window is the difference of two prefix sums. `Grid::fitting` chooses the units such that no bit
//! of a value is lost and each part of a window's sum stays below 2^51: then both convert to floats exactly, and the sum is rounded once,
//! when they are added. The prefix sums may wrap around; the difference of two is still right.

use crate::numerics::float_bits::{exponent, power_of_two};
use crate::numerics::lookback::Lookback;
use crate::simd::bitmask::TILE;
use crate::simd::{self, InstructionSet, instruction_set, multiversion};

/// 1.5 * 2^52: adding it to a float below 2^51 leaves the nearest integer in its low bits.
const ROUNDER: f64 = 6_755_399_441_055_744.0;

#[derive(Debug)]
pub struct Grid {
    /// `coarse` counts multiples of 2^unit, `fine` multiples of 2^(unit - fine_bits).
    unit: i32,
    fine_bits: i32,
    /// Magnitudes that the grid holds: from `smallest` to below `limit`.
    smallest: f64,
    limit: f64,
    /// Prefix sums of both parts, and their last values.
    coarse: Lookback<i64>,
    fine: Lookback<i64>,
    total: (i64, i64),
}

impl Grid {
    /// A grid for values whose magnitudes are 0 or from `smallest` to `largest`, and windows of up to `longest`; none if they span too
    /// much.
    pub fn fitting(smallest: f64, largest: f64, longest: usize) -> Option<Self> {
        let length_bits = (usize::BITS - longest.leading_zeros()) as i32;
        // All values are 0, which any grid holds: expect prices to follow.
        let (smallest, largest) = if largest == 0.0 { (1.0, 1.0) } else { (smallest, largest) };
        let (bottom, top) = (exponent(smallest), exponent(largest) + 1);
        let unit = (top + bottom - 51).div_euclid(2);
        let smallest_exponent = unit + length_bits;
        let limit_exponent = unit + 51 - length_bits;
        if bottom < smallest_exponent || top > limit_exponent || smallest_exponent < -900 || limit_exponent > 900 {
            return None;
        }
        Some(Self {
            unit,
            fine_bits: 52 - length_bits,
            smallest: power_of_two(smallest_exponent),
            limit: power_of_two(limit_exponent),
            coarse: Lookback::new(longest, TILE, 0),
            fine: Lookback::new(longest, TILE, 0),
            total: (0, 0),
        })
    }

    /// Whether the grid holds values whose magnitudes are 0 or from `smallest` to `largest`.
    pub fn holds(&self, smallest: f64, largest: f64) -> bool {
        smallest >= self.smallest && largest < self.limit
    }

    pub fn push(&mut self, values: &[f64]) {
        let (coarse, fine) = (self.coarse.next_tile(values.len()), self.fine.next_tile(values.len()));
        split_on_grid(values, power_of_two(-self.unit), power_of_two(self.fine_bits), coarse, fine);
        self.total = (simd::running_sum(coarse, self.total.0), simd::running_sum(fine, self.total.1));
    }

    /// The last `longest` values, recovered from their prefix sums without loss.
    pub fn to_values(&self, longest: usize) -> Lookback<f64> {
        let mut lookback = Lookback::new(longest, TILE, 0.0);
        let (unit, fine_unit) = (power_of_two(self.unit), power_of_two(self.unit - self.fine_bits));
        let len = self.coarse.delayed(0).len();
        let mut values = Vec::with_capacity(longest);
        for back in (0..longest).rev() {
            let at = |sums: &Lookback<i64>, back: usize| sums.delayed(back)[len - 1];
            let coarse = at(&self.coarse, back).wrapping_sub(at(&self.coarse, back + 1));
            let fine = at(&self.fine, back).wrapping_sub(at(&self.fine, back + 1));
            values.push(coarse as f64 * unit + fine as f64 * fine_unit);
        }
        for chunk in values.chunks(TILE) {
            lookback.next_tile(chunk.len()).copy_from_slice(chunk);
        }
        lookback
    }

    /// Averages of the windows of `length` values that end at each value of the last tile.
    pub fn means(&self, length: usize, out: &mut [f64]) {
        let (unit, fine_unit) = (power_of_two(self.unit), power_of_two(self.unit - self.fine_bits));
        let means = if instruction_set() == InstructionSet::Baseline && cfg!(target_arch = "x86_64") { means_divided } else { means };
        means(
            (self.coarse.delayed(0), self.coarse.delayed(length)),
            (self.fine.delayed(0), self.fine.delayed(length)),
            (unit, fine_unit),
            length as f64,
            out,
        );
    }
}

multiversion! {
    fn split_on_grid(values: &[f64], scale: f64, fine_unit: f64, coarse: &mut [i64], fine: &mut [i64]) = split_on_grid_in;
}
#[inline(always)]
fn split_on_grid_in(values: &[f64], scale: f64, fine_unit: f64, coarse: &mut [i64], fine: &mut [i64]) {
    for ((&value, coarse), fine) in values.iter().zip(coarse).zip(fine) {
        let scaled = value * scale;
        let nearest = (scaled + ROUNDER) - ROUNDER;
        *coarse = to_integer(nearest);
        *fine = to_integer((scaled - nearest) * fine_unit);
    }
}

/// A whole number below 2^51 as an integer.
#[inline(always)]
fn to_integer(x: f64) -> i64 {
    (x + ROUNDER).to_bits().wrapping_sub(ROUNDER.to_bits()) as i64
}

/// The inverse of `to_integer`.
#[inline(always)]
fn to_float(x: i64) -> f64 {
    f64::from_bits(ROUNDER.to_bits().wrapping_add(x as u64)) - ROUNDER
}

/// Prefix sums at the ends of windows, and at their starts.
type Windows<'a> = (&'a [i64], &'a [i64]);

multiversion! {
    fn means(coarse: Windows<'_>, fine: Windows<'_>, units: (f64, f64), length: f64, out: &mut [f64]) = means_in;
}
#[inline(always)]
fn means_in(coarse: Windows<'_>, fine: Windows<'_>, units: (f64, f64), length: f64, out: &mut [f64]) {
    // Faster than a division and, for whole lengths below 2^30, with the same bits: the quotient from the reciprocal, corrected by its
    // remainder (Markstein 1990).
    let reciprocal = 1.0 / length;
    for_each_sum(coarse, fine, units, out, |sum| {
        let guess = sum * reciprocal;
        let remainder = (-guess).mul_add(length, sum);
        remainder.mul_add(reciprocal, guess)
    });
}

fn means_divided(coarse: Windows<'_>, fine: Windows<'_>, units: (f64, f64), length: f64, out: &mut [f64]) {
    for_each_sum(coarse, fine, units, out, |sum| sum / length);
}

#[inline(always)]
fn for_each_sum(coarse: Windows<'_>, fine: Windows<'_>, units: (f64, f64), out: &mut [f64], finish: impl Fn(f64) -> f64) {
    let n = out.len();
    let (coarse_end, coarse_start, fine_end, fine_start) = (&coarse.0[..n], &coarse.1[..n], &fine.0[..n], &fine.1[..n]);
    for i in 0..n {
        let coarse = to_float(coarse_end[i].wrapping_sub(coarse_start[i])) * units.0;
        let fine = to_float(fine_end[i].wrapping_sub(fine_start[i])) * units.1;
        out[i] = finish(coarse + fine);
    }
}
