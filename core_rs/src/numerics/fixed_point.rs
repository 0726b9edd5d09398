//! Prefix sums of floats, held as integers on a fixed grid.
//!
//! A value is split in two: `coarse`, the nearest multiple of a unit, and `fine`, the rest as a multiple of a much smaller unit. Both are
//! integers, so their sums are exact, and a window is the difference of two prefix sums. `Grid::fitting` chooses the units such that no bit
//! of a value is lost and each part of a window's sum stays below 2^51: then both convert to floats exactly, and the window's average is
//! rounded once. The prefix sums may wrap around; the difference of two is still right.

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
    /// Whether it may hold values below 0.
    signed: bool,
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
            signed: false,
            coarse: Lookback::new(longest, TILE, 0),
            fine: Lookback::new(longest, TILE, 0),
            total: (0, 0),
        })
    }

    /// Whether the grid holds values whose magnitudes are 0 or from `smallest` to `largest`.
    pub fn holds(&self, smallest: f64, largest: f64) -> bool {
        smallest >= self.smallest && largest < self.limit
    }

    /// Add the next tile of values; `signed` says that some may be below 0.
    pub fn push(&mut self, values: &[f64], signed: bool) {
        self.signed |= signed;
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

    /// Averages of the windows of `length` values that end at each value of the last tile, each rounded once.
    pub fn means(&self, length: usize, out: &mut [f64]) {
        let means = if instruction_set() == InstructionSet::Baseline && cfg!(target_arch = "x86_64") { means_divided } else { means };
        means(
            (self.coarse.delayed(0), self.coarse.delayed(length)),
            (self.fine.delayed(0), self.fine.delayed(length)),
            (power_of_two(self.unit), power_of_two(-self.fine_bits)),
            self.signed,
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
    shifted_float(x) - ROUNDER
}

/// A whole number below 2^51 as a float, plus `ROUNDER`.
#[inline(always)]
fn shifted_float(x: i64) -> f64 {
    f64::from_bits(ROUNDER.to_bits().wrapping_add(x as u64))
}

/// Prefix sums at the ends of windows, and at their starts.
type Windows<'a> = (&'a [i64], &'a [i64]);

multiversion! {
    /// `units`: the coarse unit, and the fine one as a fraction of it. `signed`: values may be below 0.
    fn means(coarse: Windows<'_>, fine: Windows<'_>, units: (f64, f64), signed: bool, length: f64, out: &mut [f64]) = means_in;
}
#[inline(always)]
fn means_in(coarse: Windows<'_>, fine: Windows<'_>, units: (f64, f64), signed: bool, length: f64, out: &mut [f64]) {
    // A guess, and a correction by its remainder over the length. The remainder is exact. So is a correction that leads to the middle between
    // two floats, as it has few digits: the low part of the reciprocal makes up for what the reciprocal itself is off.
    let (reciprocal, scaled_length) = (units.0 / length, length / units.0);
    let reciprocal_low = (-reciprocal).mul_add(scaled_length, 1.0) * reciprocal;
    let fine_sum = |fine| shifted_float(fine).mul_add(units.1, -ROUNDER * units.1);
    let quotient = |guess: f64, remainder: f64| guess + remainder.mul_add(reciprocal, remainder * reciprocal_low);
    if signed {
        for_each_sum(coarse, fine, fine_sum, out, |coarse, fine| {
            let (sum, rest) = rounded_sum(coarse, fine);
            let guess = sum * reciprocal;
            quotient(guess, (-guess).mul_add(scaled_length, sum) + rest)
        });
    } else {
        // Nothing cancels out, so that the guess is close to the coarse part, and what remains of that is exact.
        for_each_sum(coarse, fine, fine_sum, out, |coarse, fine| {
            let guess = (coarse + fine) * reciprocal;
            quotient(guess, (-guess).mul_add(scaled_length, coarse) + fine)
        });
    }
}

/// `means` on machines without fused multiply-add.
fn means_divided(coarse: Windows<'_>, fine: Windows<'_>, units: (f64, f64), _signed: bool, length: f64, out: &mut [f64]) {
    let scaled_length = length / units.0;
    let fine_sum = |fine| to_float(fine) * units.1;
    for_each_sum(coarse, fine, fine_sum, out, |coarse, fine| {
        let (sum, rest) = rounded_sum(coarse, fine);
        let guess = sum / scaled_length;
        // The products of both halves of the guess with a length are exact.
        let upper = f64::from_bits(guess.to_bits() & !0x1f_ffff);
        let remainder = (sum - upper * scaled_length) - (guess - upper) * scaled_length;
        guess + (remainder + rest) / scaled_length
    });
}

/// The sum of both parts, rounded, and what rounding has cut off: exact, as the last digit of `fine` divides the coarse unit (Dekker 1971).
#[inline(always)]
fn rounded_sum(coarse: f64, fine: f64) -> (f64, f64) {
    let sum = coarse + fine;
    (sum, fine - (sum - coarse))
}

/// Writes `finish` of the two parts of each window's sum, in coarse units.
#[inline(always)]
fn for_each_sum(coarse: Windows<'_>, fine: Windows<'_>, fine_sum: impl Fn(i64) -> f64, out: &mut [f64], finish: impl Fn(f64, f64) -> f64) {
    let n = out.len();
    let (coarse_end, coarse_start, fine_end, fine_start) = (&coarse.0[..n], &coarse.1[..n], &fine.0[..n], &fine.1[..n]);
    for i in 0..n {
        let coarse = to_float(coarse_end[i].wrapping_sub(coarse_start[i]));
        out[i] = finish(coarse, fine_sum(fine_end[i].wrapping_sub(fine_start[i])));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::exact_sum::Accumulator;
    use crate::random::Random;

    /// Values of one sign or both that are a few last digits apart, so that many averages lie halfway between two floats, or further.
    fn values(random: &mut Random, n: usize, signed: bool) -> Vec<f64> {
        let scale = 2f64.powi(random.below(200) as i32 - 100) * (1.0 + random.next());
        let spread = 2f64.powi([-51, -50, -40, -20, 0, 8][random.below(6)]);
        let mut value = || {
            let size = scale * (1.0 + random.next() * spread);
            match random.below(20) {
                0 => 0.0,
                k if k < 10 && signed => -size,
                _ => size,
            }
        };
        (0..n).map(|_| value()).collect()
    }

    #[test]
    fn averages_are_rounded_once() {
        let mut random = Random(11);
        for _ in 0..3_000 {
            let longest = [10, 130, 1000][random.below(3)];
            let length = 1 + random.below(longest);
            let signed = random.below(2) == 1;
            let values = values(&mut random, (length + 20).min(TILE), signed);
            let sizes = || values.iter().map(|x: &f64| x.abs()).filter(|&x| x > 0.0);
            let (smallest, largest) = (sizes().fold(f64::INFINITY, f64::min), sizes().fold(0.0, f64::max));
            let mut grid = Grid::fitting(smallest, largest, length).expect("the values are close together");
            grid.push(&values, signed);
            let (mut fused, mut divided) = (vec![0.0; values.len()], vec![0.0; values.len()]);
            grid.means(length, &mut fused);
            let windows = |sums: &Lookback<i64>| (sums.delayed(0).to_vec(), sums.delayed(length).to_vec());
            let (coarse, fine) = (windows(&grid.coarse), windows(&grid.fine));
            let units = (power_of_two(grid.unit), power_of_two(-grid.fine_bits));
            means_divided((&coarse.0, &coarse.1), (&fine.0, &fine.1), units, signed, length as f64, &mut divided);
            let mut sum = Accumulator::default();
            for (i, &value) in values.iter().enumerate() {
                sum.add(value);
                if i >= length {
                    sum.subtract(values[i - length]);
                }
                let exact = sum.clone().mean(length);
                assert_eq!((fused[i], divided[i]), (exact, exact), "{length} values to {i}: {values:?}");
            }
        }
    }

    #[test]
    fn averages_of_equal_values_are_that_value() {
        for value in [1.467e-5_f64, 0.1, 1e-9, 123_456.789, -0.3] {
            for length in 1..300 {
                let mut grid = Grid::fitting(value.abs(), value.abs(), length).expect("one magnitude fits");
                grid.push(&vec![value; length], value < 0.0);
                let mut means = vec![0.0; length];
                grid.means(length, &mut means);
                assert_eq!(means[length - 1], value, "{length} times {value}");
            }
        }
    }
}
