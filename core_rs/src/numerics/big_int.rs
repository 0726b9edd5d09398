//! Whole numbers of any size, fast where they are small: sums of products that are exact before their one rounding.

use num_bigint::BigInt;

use crate::numerics::exact_sum::scale;
use crate::numerics::float_bits::{parts, power_of_two};

#[derive(Clone, Debug, PartialEq)]
pub enum Whole {
    Small(i128),
    Big(BigInt),
}

impl Default for Whole {
    fn default() -> Self {
        Self::ZERO
    }
}

impl Whole {
    pub const ZERO: Self = Self::Small(0);

    /// `value` in units of 2^unit, of which it must be a whole multiple.
    #[inline(always)]
    pub fn of(value: f64, unit: i32) -> Self {
        let (mantissa, exponent) = parts(value);
        let shift = exponent - unit;
        if shift < 0 {
            // The bits that go are zero.
            return Self::Small(i128::from(mantissa.checked_shr(shift.unsigned_abs()).unwrap_or(0)));
        }
        if shift < 70 { Self::Small(i128::from(mantissa) << shift) } else { Self::from_big(BigInt::from(mantissa) << shift) }
    }

    fn from_big(big: BigInt) -> Self {
        i128::try_from(&big).map_or_else(|_| Self::Big(big), Self::Small)
    }

    fn big(&self) -> BigInt {
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
        Self::from_big(self.big() + other.big())
    }

    #[inline(always)]
    pub fn minus(&self, other: &Self) -> Self {
        if let (Self::Small(a), Self::Small(b)) = (self, other)
            && let Some(difference) = a.checked_sub(*b)
        {
            return Self::Small(difference);
        }
        Self::from_big(self.big() - other.big())
    }

    #[inline(always)]
    pub fn times(&self, other: &Self) -> Self {
        // Sizes that can't overflow are the usual case, and are faster to tell than an overflow.
        if let (Self::Small(a), Self::Small(b)) = (self, other)
            && a.unsigned_abs().leading_zeros() + b.unsigned_abs().leading_zeros() > 129
        {
            return Self::Small(a * b);
        }
        self.times_slowly(other)
    }

    #[cold]
    fn times_slowly(&self, other: &Self) -> Self {
        Self::from_big(self.big() * other.big())
    }

    #[inline(always)]
    pub fn multiple(&self, count: usize) -> Self {
        self.times(&Self::Small(count as i128))
    }

    fn shifted(&self, bits: u32) -> Self {
        Self::from_big(self.big() << bits)
    }

    /// `self * 2^exponent`, rounded once to the nearest float64, ties to even.
    #[inline(always)]
    pub fn rounded(&self, exponent: i32) -> f64 {
        match self {
            Self::Small(x) if x.unsigned_abs() < 1 << 120 && (-900..900).contains(&exponent) => *x as f64 * power_of_two(exponent),
            _ => self.rounded_slowly(exponent),
        }
    }

    fn rounded_slowly(&self, exponent: i32) -> f64 {
        let big = self.big();
        let drop = big.bits().saturating_sub(96);
        let top = u128::try_from(big.magnitude() >> drop).unwrap_or(0);
        let sticky = big.trailing_zeros().is_some_and(|zeros| zeros < drop);
        let size = scale(top, sticky, exponent + drop as i32);
        if big.sign() == num_bigint::Sign::Minus { -size } else { size }
    }
}

/// The unit, a power of two, in which all values of a series so far are whole.
#[derive(Clone, Debug, Default)]
pub struct Unit(Option<i32>);

impl Unit {
    pub fn exponent(&self) -> i32 {
        self.0.unwrap_or(0)
    }

    /// A value as a whole number. Where it needs a finer unit, each of `sums`, which go with the given power of the unit, is put into it.
    #[inline(always)]
    pub fn admit(&mut self, value: f64, sums: &mut [(&mut Whole, u32)]) -> Whole {
        let (mantissa, exponent) = parts(value);
        if mantissa != 0 {
            let lowest = exponent + mantissa.trailing_zeros() as i32;
            if self.0.is_none_or(|unit| lowest < unit) {
                self.refine(lowest, sums);
            }
        }
        self.whole(value)
    }

    #[cold]
    fn refine(&mut self, lowest: i32, sums: &mut [(&mut Whole, u32)]) {
        if let Some(unit) = self.0 {
            for (sum, power) in sums {
                **sum = sum.shifted((unit - lowest) as u32 * *power);
            }
        }
        self.0 = Some(lowest);
    }

    /// A value that was admitted before.
    #[inline(always)]
    pub fn whole(&self, value: f64) -> Whole {
        Whole::of(value, self.exponent())
    }
}

#[cfg(test)]
mod tests {
    use super::{Unit, Whole};

    #[test]
    fn a_value_comes_back_from_any_unit() {
        for value in [1.0, -0.1, 5e-324, -2.5e-310, f64::MAX, 1e16, 0.0, 3.0] {
            let mut unit = Unit::default();
            let whole = unit.admit(value, &mut []);
            assert_eq!(whole.rounded(unit.exponent()), value);
            let mut sum = whole;
            unit.admit(5e-324, &mut [(&mut sum, 1)]);
            assert_eq!(sum.rounded(unit.exponent()), value);
        }
    }

    #[test]
    fn sums_of_squares_are_exact() {
        let values = [1e300, 0.1, -3e-300, 1e300, 123_456.789];
        let mut unit = Unit::default();
        let mut squares = Whole::ZERO;
        for value in values {
            let whole = unit.admit(value, &mut [(&mut squares, 2)]);
            squares = squares.plus(&whole.times(&whole));
        }
        for value in [1e300, 1e300, 123_456.789, -3e-300] {
            let whole = unit.whole(value);
            squares = squares.minus(&whole.times(&whole));
        }
        assert_eq!(squares.rounded(2 * unit.exponent()), 0.1 * 0.1);
    }

    #[test]
    fn rounding_is_to_the_nearest_even_down_to_the_smallest() {
        assert_eq!(Whole::Small((1 << 53) + 1).rounded(0), 2f64.powi(53));
        assert_eq!(Whole::Small((1 << 53) + 3).rounded(0), 2f64.powi(53) + 4.0);
        assert_eq!(Whole::Small(1).rounded(-1074), 5e-324);
        assert_eq!(Whole::Small(1).rounded(-1075), 0.0);
        assert_eq!(Whole::Small(3).rounded(-1075), 1e-323);
        assert_eq!(Whole::Small(3).rounded(-1076), 5e-324);
        assert_eq!(Whole::Small(-3).rounded(-2148), 0.0);
        assert_eq!(Whole::Small(1).rounded(1024), f64::INFINITY);
        assert_eq!(Whole::Small(1 << 126).rounded(-2100), 0.0);
    }
}
