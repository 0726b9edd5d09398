//! Integers of any size, fast while they fit 128 bits.
//!
//! Sums of values, squares and products are exact as integers in a common unit, so that they neither drift nor lose small terms, whatever
//! is added and taken away again; they are rounded once, at the end.

use num_bigint::BigInt;

use crate::numerics::float_bits::{mantissa_and_exponent, power_of_two, round_to_float};

#[derive(Clone, Debug, PartialEq)]
pub enum Integer {
    Small(i128),
    Big(BigInt),
}

impl Default for Integer {
    fn default() -> Self {
        Self::ZERO
    }
}

impl Integer {
    pub const ZERO: Self = Self::Small(0);

    /// `value` as a multiple of 2^unit; it must be a whole one.
    #[inline(always)]
    pub fn from_float(value: f64, unit: i32) -> Self {
        let (mantissa, exponent) = mantissa_and_exponent(value);
        let shift = exponent - unit;
        if shift < 0 {
            // The bits shifted out are 0.
            return Self::Small(i128::from(mantissa.checked_shr(shift.unsigned_abs()).unwrap_or(0)));
        }
        if shift < 70 { Self::Small(i128::from(mantissa) << shift) } else { Self::from_big(BigInt::from(mantissa) << shift) }
    }

    fn from_big(big: BigInt) -> Self {
        i128::try_from(&big).map_or_else(|_| Self::Big(big), Self::Small)
    }

    fn to_big(&self) -> BigInt {
        match self {
            Self::Small(x) => BigInt::from(*x),
            Self::Big(x) => x.clone(),
        }
    }

    #[inline(always)]
    pub fn plus(&self, other: &Self) -> Self {
        if let (Self::Small(a), Self::Small(b)) = (self, other)
            && let Some(sum) = a.checked_add(*b)
        {
            return Self::Small(sum);
        }
        Self::from_big(self.to_big() + other.to_big())
    }

    #[inline(always)]
    pub fn minus(&self, other: &Self) -> Self {
        if let (Self::Small(a), Self::Small(b)) = (self, other)
            && let Some(difference) = a.checked_sub(*b)
        {
            return Self::Small(difference);
        }
        Self::from_big(self.to_big() - other.to_big())
    }

    #[inline(always)]
    pub fn times(&self, other: &Self) -> Self {
        // Most products are too small to overflow, and their sizes are checked faster than an overflow is.
        if let (Self::Small(a), Self::Small(b)) = (self, other)
            && a.unsigned_abs().leading_zeros() + b.unsigned_abs().leading_zeros() > 129
        {
            return Self::Small(a * b);
        }
        self.big_times(other)
    }

    #[cold]
    fn big_times(&self, other: &Self) -> Self {
        Self::from_big(self.to_big() * other.to_big())
    }

    #[inline(always)]
    pub fn times_count(&self, count: usize) -> Self {
        self.times(&Self::Small(count as i128))
    }

    fn shifted(&self, bits: u32) -> Self {
        Self::from_big(self.to_big() << bits)
    }

    /// `self * 2^exponent`, rounded once to the nearest float64, ties to even.
    #[inline(always)]
    pub fn to_float(&self, exponent: i32) -> f64 {
        match self {
            Self::Small(x) if x.unsigned_abs() < 1 << 120 && (-900..900).contains(&exponent) => *x as f64 * power_of_two(exponent),
            _ => self.big_to_float(exponent),
        }
    }

    fn big_to_float(&self, exponent: i32) -> f64 {
        rounded_quotient(&self.to_big(), &BigInt::from(1), exponent)
    }

    /// `self * 2^exponent / by`, rounded once to the nearest float64, ties to even.
    #[inline(always)]
    pub fn quotient(&self, exponent: i32, by: usize) -> f64 {
        if let Self::Small(x) = self
            && (-900..900).contains(&exponent)
            && let Some(quotient) = small_quotient(x.unsigned_abs(), by as u64)
        {
            let size = quotient * power_of_two(exponent);
            return if *x < 0 { -size } else { size };
        }
        rounded_quotient(&self.to_big(), &BigInt::from(by), exponent)
    }
}

/// `x / by`, rounded once; none in rare cases.
#[inline(always)]
fn small_quotient(x: u128, by: u64) -> Option<f64> {
    const WIDTH: u64 = 1 << 52;
    if x == 0 {
        return Some(0.0);
    }
    if x >> 105 != 0 || by >> 60 != 0 {
        return None;
    }
    let guess = ((x >> 52) as u64 as f64 * WIDTH as f64 + (x as u64 & (WIDTH - 1)) as f64) / by as f64;
    // The remainder, in whole numbers, tells how many units of its last digit the guess is off. It is at most a few times the divisor, which
    // is below 2^60 here, so that its lowest 64 bits are all of it.
    let (mantissa, exponent) = mantissa_and_exponent(guess);
    let product = (mantissa as u64).wrapping_mul(by);
    let (rest, divisor) = if exponent < 0 {
        ((x as u64).checked_shl(exponent.unsigned_abs()).unwrap_or(0).wrapping_sub(product) as i64, by as i64)
    } else {
        ((x as u64).wrapping_sub(product << exponent) as i64, (by << exponent) as i64)
    };
    let step = i64::from(2 * rest > divisor) - i64::from(2 * rest < -divisor);
    let (mantissa, rest) = (mantissa + step, rest - step * divisor);
    let twice = 2 * rest.abs();
    // Below a power of two the digits are half as large.
    let sure = twice < divisor && (mantissa > WIDTH as i64 || mantissa == WIDTH as i64 && rest >= 0);
    if sure {
        return Some(mantissa as f64 * power_of_two(exponent));
    }
    // Halfway, to the even one.
    (twice == divisor && mantissa > WIDTH as i64 + 1).then(|| (mantissa + (mantissa & 1) * rest.signum()) as f64 * power_of_two(exponent))
}

/// `dividend / by * 2^exponent`, rounded once to the nearest float64, ties to even; `by` must be positive.
#[cold]
pub fn rounded_quotient(dividend: &BigInt, by: &BigInt, exponent: i32) -> f64 {
    // A quotient of at least 64 bits, and at most 96.
    let shift = 80 + by.bits() as i32 - dividend.bits() as i32;
    let (size, by) = (dividend.magnitude(), by.magnitude());
    let (size, by) = if shift > 0 { (size << shift, by.clone()) } else { (size.clone(), by << shift.unsigned_abs()) };
    let quotient = &size / &by;
    let more = &quotient * &by != size;
    let rounded = round_to_float(u128::try_from(quotient).unwrap_or(0), more, exponent - shift);
    if dividend.sign() == num_bigint::Sign::Minus { -rounded } else { rounded }
}

/// The unit, a power of two, of which all values of a series so far are whole multiples.
#[derive(Clone, Debug, Default)]
pub struct Unit(Option<i32>);

impl Unit {
    pub fn exponent(&self) -> i32 {
        self.0.unwrap_or(0)
    }

    /// A value as an integer. If it needs a finer unit, `sums` are converted to that; each comes with its power of the unit, 2 for squares.
    #[inline(always)]
    pub fn convert(&mut self, value: f64, sums: &mut [(&mut Integer, u32)]) -> Integer {
        let (mantissa, exponent) = mantissa_and_exponent(value);
        if mantissa != 0 {
            let lowest = exponent + mantissa.trailing_zeros() as i32;
            if self.0.is_none_or(|unit| lowest < unit) {
                self.refine(lowest, sums);
            }
        }
        self.integer(value)
    }

    #[cold]
    fn refine(&mut self, lowest: i32, sums: &mut [(&mut Integer, u32)]) {
        if let Some(unit) = self.0 {
            for (sum, power) in sums {
                **sum = sum.shifted((unit - lowest) as u32 * *power);
            }
        }
        self.0 = Some(lowest);
    }

    /// A value that was converted before, as an integer again.
    #[inline(always)]
    pub fn integer(&self, value: f64) -> Integer {
        Integer::from_float(value, self.exponent())
    }
}

#[cfg(test)]
mod tests {
    use super::{Integer, Unit};
    use crate::random::Random;

    #[test]
    fn a_value_survives_the_conversion_in_any_unit() {
        for value in [1.0, -0.1, 5e-324, -2.5e-310, f64::MAX, 1e16, 0.0, 3.0] {
            let mut unit = Unit::default();
            let integer = unit.convert(value, &mut []);
            assert_eq!(integer.to_float(unit.exponent()), value);
            let mut sum = integer;
            unit.convert(5e-324, &mut [(&mut sum, 1)]);
            assert_eq!(sum.to_float(unit.exponent()), value);
        }
    }

    #[test]
    fn sums_of_squares_are_exact() {
        let values = [1e300, 0.1, -3e-300, 1e300, 123_456.789];
        let mut unit = Unit::default();
        let mut squares = Integer::ZERO;
        for value in values {
            let integer = unit.convert(value, &mut [(&mut squares, 2)]);
            squares = squares.plus(&integer.times(&integer));
        }
        for value in [1e300, 1e300, 123_456.789, -3e-300] {
            let integer = unit.integer(value);
            squares = squares.minus(&integer.times(&integer));
        }
        assert_eq!(squares.to_float(2 * unit.exponent()), 0.1 * 0.1);
    }

    #[test]
    fn rounding_is_to_the_nearest_even_down_to_the_smallest() {
        assert_eq!(Integer::Small((1 << 53) + 1).to_float(0), 2f64.powi(53));
        assert_eq!(Integer::Small((1 << 53) + 3).to_float(0), 2f64.powi(53) + 4.0);
        assert_eq!(Integer::Small(1).to_float(-1074), 5e-324);
        assert_eq!(Integer::Small(1).to_float(-1075), 0.0);
        assert_eq!(Integer::Small(3).to_float(-1075), 1e-323);
        assert_eq!(Integer::Small(3).to_float(-1076), 5e-324);
        assert_eq!(Integer::Small(-3).to_float(-2148), 0.0);
        assert_eq!(Integer::Small(1).to_float(1024), f64::INFINITY);
        assert_eq!(Integer::Small(1 << 126).to_float(-2100), 0.0);
    }

    #[test]
    fn quotients_are_rounded_once() {
        let (one, half) = (1_i128 << 52, 1_i128 << 51);
        for n in [1, 3, 6, 49, 1000, 1_000_000] {
            let count = n as i128;
            for (x, wanted) in [(2 * one + 1, 2 * one), (2 * one + 3, 2 * one + 4), (2 * one - 1, 2 * one - 1), (one, one), (half, half)] {
                for exponent in [-10, 0, 30, -1000] {
                    let quotient = |x: i128| Integer::Small(x).quotient(exponent, n);
                    let wanted = wanted as f64 * 2f64.powi(exponent);
                    assert_eq!((quotient(x * count), quotient(-x * count)), (wanted, -wanted), "{x} of {n}");
                }
            }
            assert_eq!(Integer::Small((2 * one + 1) * count + 1).quotient(0, n), (2 * one + 2) as f64);
            assert_eq!(Integer::Small((2 * one + 3) * count - 1).quotient(0, n), (2 * one + 2) as f64);
            assert_eq!(Integer::Small(0).quotient(0, n), 0.0);
        }
        let mut random = Random(7);
        for _ in 0..100_000 {
            let by = 1 + (random.next() * 2f64.powi((random.next() * 59.0) as i32)) as usize;
            let x = (random.next() * 2f64.powi(60)) as i128 * (random.next() * 2f64.powi((random.next() * 44.0) as i32)) as i128;
            let exact = super::rounded_quotient(&x.into(), &by.into(), 3);
            assert_eq!(Integer::Small(x).quotient(3, by), exact, "{x} / {by}");
        }
    }
}
