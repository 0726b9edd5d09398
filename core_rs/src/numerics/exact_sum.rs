//! Sums that are exact until they are divided and rounded once: they cannot drift, and the order of the values makes no difference to the
//! bits.

use num_bigint::BigInt;

use crate::numerics::big_int::rounded_quotient;
use crate::numerics::float_bits::{mantissa_and_exponent, power_of_two, round_to_float};

/// A fixed-point number that covers the whole range of products of two float64 values.
///
/// It is cut into limbs of 32 bits, each in an `i64`, so that adding a value touches a few limbs and propagates no carry. Carries pile up
/// in the upper halves of the limbs and are propagated before they could overflow, and when the sum is read.
#[derive(Clone, Debug)]
pub struct Accumulator {
    /// Limb `j` counts multiples of 2^(32 j + UNIT).
    limbs: [i64; LIMBS],
    /// The lowest and the highest limb in use.
    low: usize,
    high: usize,
    /// Values added since carries were last propagated.
    pending: u32,
}

const LIMBS: usize = 136;
const MASK: i64 = 0xffff_ffff;
/// The exponent of the smallest float64 other than 0, and of the smallest product of two.
const SMALLEST: i32 = -1074;
const UNIT: i32 = 2 * SMALLEST;

/// The leading 127 bits of a number other than 0, the first of them set: `bits * 2^exponent`.
struct Leading {
    bits: u128,
    exponent: i32,
}

impl Default for Accumulator {
    fn default() -> Self {
        Self { limbs: [0; LIMBS], low: LIMBS, high: 0, pending: 0 }
    }
}

impl Accumulator {
    /// `value` must be finite.
    #[inline(always)]
    pub fn add(&mut self, value: f64) {
        self.accumulate(value, 1);
    }

    #[inline(always)]
    pub fn subtract(&mut self, value: f64) {
        self.accumulate(value, -1);
    }

    /// Add the exact product of two finite values.
    #[inline(always)]
    pub fn add_product(&mut self, a: f64, b: f64) {
        self.accumulate_product(a, b, 1);
    }

    #[inline(always)]
    pub fn subtract_product(&mut self, a: f64, b: f64) {
        self.accumulate_product(a, b, -1);
    }

    #[inline(always)]
    fn accumulate(&mut self, value: f64, sign: i64) {
        if value == 0.0 {
            return; // it would use the limb of the smallest values
        }
        let (mantissa, exponent) = mantissa_and_exponent(value);
        let shift = (exponent - UNIT) as usize;
        self.add_bits(shift / 32, u128::from(mantissa.unsigned_abs()) << (shift % 32), sign * mantissa.signum());
        self.use_limbs(shift / 32, 3);
    }

    #[inline(always)]
    fn accumulate_product(&mut self, a: f64, b: f64, sign: i64) {
        if a == 0.0 || b == 0.0 {
            return;
        }
        let ((a, exponent_a), (b, exponent_b)) = (mantissa_and_exponent(a), mantissa_and_exponent(b));
        let product = u128::from(a.unsigned_abs()) * u128::from(b.unsigned_abs());
        let sign = sign * a.signum() * b.signum();
        let shift = (exponent_a + exponent_b - UNIT) as usize;
        let (limb, rest) = (shift / 32, shift % 32);
        self.add_bits(limb, (product & u128::from(u64::MAX)) << rest, sign);
        self.add_bits(limb + 2, (product >> 64) << rest, sign);
        self.use_limbs(limb, 5);
    }

    /// Add 96 bits to the three limbs from `limb` on.
    #[inline(always)]
    fn add_bits(&mut self, limb: usize, bits: u128, sign: i64) {
        for (k, limb) in self.limbs[limb..limb + 3].iter_mut().enumerate() {
            *limb += sign * ((bits >> (32 * k)) as i64 & MASK);
        }
    }

    #[inline(always)]
    fn use_limbs(&mut self, first: usize, count: usize) {
        self.low = self.low.min(first);
        self.high = self.high.max(first + count - 1);
        self.pending += 1;
        if self.pending == 1 << 28 {
            self.carry();
        }
    }

    /// Propagate carries: all limbs in use but the highest become values of 32 bits, and the highest, which has the sign, is not 0 or -1
    /// unless it is the lowest.
    fn carry(&mut self) {
        self.pending = 0;
        if self.low > self.high {
            return;
        }
        let mut carry = 0;
        for limb in &mut self.limbs[self.low..self.high] {
            let value = *limb + carry;
            *limb = value & MASK;
            carry = value >> 32;
        }
        self.limbs[self.high] += carry;
        while self.limbs[self.high].unsigned_abs() > MASK as u64 {
            let value = self.limbs[self.high];
            self.limbs[self.high] = value & MASK;
            self.high += 1;
            self.limbs[self.high] = value >> 32;
        }
        while self.high > self.low && matches!(self.limbs[self.high], 0 | -1) {
            let sign = self.limbs[self.high];
            self.limbs[self.high] = 0;
            self.high -= 1;
            self.limbs[self.high] += sign << 32;
        }
    }

    /// After `carry`.
    fn signum(&self) -> i64 {
        if self.low > self.high { 0 } else { self.limbs[self.high].signum() }
    }

    fn negated(&self) -> Self {
        let mut negated = self.clone();
        negated.limbs.iter_mut().for_each(|limb| *limb = -*limb);
        negated.carry();
        negated
    }

    /// Of a positive number, after `carry`.
    #[inline(always)]
    fn leading(&self) -> Leading {
        let at = |k: usize| self.high.checked_sub(k).map_or(0, |j| self.limbs[j] as u128);
        let bits = at(0) << 96 | at(1) << 64 | at(2) << 32 | at(3);
        let zeros = bits.leading_zeros();
        let bits = if zeros == 0 { bits >> 1 } else { bits << (zeros - 1) | at(4) << (zeros - 1) >> 32 };
        Leading { bits, exponent: 32 * (self.high as i32 - 3) + UNIT + 1 - zeros as i32 }
    }

    /// Whether a number has more bits than `leading` gives.
    fn has_more_than(&self, leading: &Leading) -> bool {
        let position = (leading.exponent - UNIT).max(0) as usize;
        let (limb, rest) = (position / 32, position % 32);
        self.limbs[limb] & ((1 << rest) - 1) != 0 || (self.low..limb).any(|j| self.limbs[j] != 0)
    }

    /// The sum over `count`, rounded once to the nearest float64, ties to even.
    pub fn mean(&mut self, count: usize) -> f64 {
        self.carry();
        match self.signum() {
            0 => 0.0,
            1 => {
                let (leading, count) = (self.leading(), count as u128);
                let quotient = leading.bits / count;
                round_to_float(quotient, self.has_more_than(&leading) || quotient * count != leading.bits, leading.exponent)
            }
            _ => -self.negated().mean(count),
        }
    }

    /// The quotient of two sums, rounded once; NaN if the second is 0. It must not be negative.
    pub fn quotient(&mut self, by: &mut Self) -> f64 {
        self.carry();
        by.carry();
        match (self.signum(), by.signum()) {
            (_, 0) => f64::NAN,
            (0, _) => 0.0,
            (1, _) => self.positive_quotient(by),
            _ => -self.negated().positive_quotient(by),
        }
    }

    /// Of positive numbers, after `carry`.
    #[inline(always)]
    fn positive_quotient(&self, by: &Self) -> f64 {
        let (dividend, divisor) = (self.leading(), by.leading());
        let exponent = dividend.exponent - divisor.exponent - 63;
        if (-950..950).contains(&exponent) {
            let high = divisor.bits >> 63;
            // At least 62 bits, so that a last bit stands for all that follow.
            let quotient = (dividend.bits / high) as u64;
            if divisor.bits == high << 63 && !by.has_more_than(&divisor) {
                let more = u128::from(quotient) * high != dividend.bits || self.has_more_than(&dividend);
                return (quotient | u64::from(more)) as f64 * power_of_two(exponent);
            }
            // The true quotient lies between these two, as `high` has 64 bits.
            let (least, most) = ((quotient - 2) as f64, quotient.saturating_add(1) as f64);
            if least == most {
                return least * power_of_two(exponent);
            }
        }
        rounded_quotient(&self.to_big(), &by.to_big(), 0)
    }

    /// A positive number in multiples of 2^UNIT, after `carry`.
    #[cold]
    fn to_big(&self) -> BigInt {
        let limbs = (0..=self.high).map(|j| self.limbs[j] as u32).collect();
        BigInt::from_biguint(num_bigint::Sign::Plus, num_bigint::BigUint::new(limbs))
    }
}

#[cfg(test)]
mod tests {
    use super::Accumulator;

    fn mean(values: &[f64], count: usize) -> f64 {
        let mut accumulator = Accumulator::default();
        values.iter().for_each(|&value| accumulator.add(value));
        accumulator.mean(count)
    }

    fn sum(values: &[f64]) -> f64 {
        mean(values, 1)
    }

    /// The quotient of a sum of products and a sum of values.
    fn quotient(products: &[(f64, f64)], values: &[f64]) -> f64 {
        let (mut dividend, mut divisor) = (Accumulator::default(), Accumulator::default());
        products.iter().for_each(|&(a, b)| dividend.add_product(a, b));
        values.iter().for_each(|&value| divisor.add(value));
        dividend.quotient(&mut divisor)
    }

    #[test]
    fn the_sum_of_one_value_is_that_value() {
        for value in [0.0, 1.0, -1.0, 0.1, f64::MAX, f64::MIN_POSITIVE, 5e-324, -5e-324, 1e300, 2.2e-308, 1.5e-310, 123_456_789.123] {
            assert_eq!(sum(&[value]), value, "{value}");
        }
    }

    #[test]
    fn sums_are_rounded_once() {
        assert_eq!(sum(&[0.1; 10]), 1.0);
        assert_eq!(sum(&[1e100, 1.0, -1e100]), 1.0);
        assert_eq!(sum(&[1.0, 2f64.powi(-53)]), 1.0);
        assert_eq!(sum(&[1.0, 2f64.powi(-53), 5e-324]), 1.0 + f64::EPSILON);
        assert_eq!(sum(&[1.0 + f64::EPSILON, 2f64.powi(-53)]), 1.0 + 2.0 * f64::EPSILON);
        assert_eq!(sum(&[-1.0 - f64::EPSILON, -2f64.powi(-53)]), -1.0 - 2.0 * f64::EPSILON);
        assert_eq!(sum(&[f64::MAX, f64::MAX]), f64::INFINITY);
        assert_eq!(sum(&[f64::MAX, f64::MAX, -f64::MAX]), f64::MAX);
        assert_eq!(sum(&[5e-324; 3]), 1.5e-323);
    }

    #[test]
    fn means_of_equal_values_are_that_value() {
        for value in [1.467e-5, 0.1, 1e-9, 123_456.789, -0.3, f64::MAX, 5e-324, 1.7e-310] {
            for count in [1, 2, 3, 7, 49, 1000] {
                assert_eq!(mean(&vec![value; count], count), value, "{value} of {count}");
            }
        }
    }

    #[test]
    fn means_are_rounded_once() {
        // Halfway between two floats, and just beside.
        let next = 1.0 + f64::EPSILON;
        assert_eq!(mean(&[1.0, 1.0, 1.0, next, next, next], 6), 1.0);
        assert_eq!(mean(&[1.0, 1.0, 1.0, next, next, next, 5e-324], 6), next);
        assert_eq!(mean(&[next, next, next, next + f64::EPSILON, next + f64::EPSILON, next + f64::EPSILON], 6), next + f64::EPSILON);
        assert_eq!(mean(&[5e-324], 2), 0.0);
        assert_eq!(mean(&[1.5e-323], 2), 1e-323);
        assert_eq!(mean(&[-1.5e-323, -5e-324], 3), -5e-324);
    }

    #[test]
    fn subtracting_a_value_undoes_adding_it() {
        let values: Vec<f64> = (0..500).map(|i| f64::from(i).sin() * 10f64.powi(i % 40 - 20)).collect();
        let mut accumulator = Accumulator::default();
        for (i, &value) in values.iter().enumerate() {
            accumulator.add(value);
            accumulator.add_product(value, 1e9);
            if i % 100 == 0 {
                accumulator.mean(3);
            }
        }
        for &value in &values {
            accumulator.subtract_product(value, 1e9);
        }
        values[..400].iter().for_each(|&value| accumulator.subtract(value));
        assert_eq!(accumulator.mean(1), sum(&values[400..]));
        values[400..].iter().for_each(|&value| accumulator.subtract(value));
        assert_eq!(accumulator.mean(7), 0.0);
    }

    #[test]
    fn quotients_of_sums_are_rounded_once() {
        for price in [1.467e-5, 0.1, 1e-9, 123_456.789, -0.3, 1e300, 3e-310] {
            for volumes in [&[0.1, 0.7, 1e-9][..], &[123.456, 7e11, 0.0], &[1e300, 3e-5, 1e-300], &[5e-324], &[f64::MAX, f64::MAX]] {
                let products: Vec<(f64, f64)> = volumes.iter().map(|&volume| (price, volume)).collect();
                assert_eq!(quotient(&products, volumes), price, "{price}, {volumes:?}");
            }
        }
        let next = 1.0 + f64::EPSILON;
        assert_eq!(quotient(&[(1.0, 0.1), (next, 0.1)], &[0.1, 0.1]), 1.0);
        assert_eq!(quotient(&[(1.0, 0.1), (next, 0.1), (5e-324, 5e-324)], &[0.1, 0.1]), next);
        // Halfway, with a divisor of more than 64 bits.
        assert_eq!(quotient(&[(1.0, 1e30), (next, 1e30), (1.0, 0.1), (next, 0.1)], &[1e30, 1e30, 0.1, 0.1]), 1.0);
        assert!(quotient(&[(1.0, 0.0)], &[0.0]).is_nan());
        assert_eq!(quotient(&[(2.0, 3.0), (-2.0, 3.0)], &[3.0, 3.0]), 0.0);
    }
}
