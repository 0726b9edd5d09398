//! Sums that are exact until they are rounded once: they cannot drift, and the order of the values makes no difference to the bits.

/// A fixed-point number that covers the whole range of float64.
///
/// It is cut into limbs of 32 bits, each in an `i64`, so that adding a value touches three limbs and propagates no carry. Carries pile up
/// in the upper halves of the limbs and are propagated before they could overflow, and when the sum is rounded.
#[derive(Clone, Debug)]
pub struct Accumulator {
    /// Limb `j` counts multiples of 2^(32 j - 1074).
    limbs: [i64; LIMBS],
    /// The lowest and the highest limb in use.
    low: usize,
    high: usize,
    /// Values added since carries were last propagated.
    pending: u32,
}

const LIMBS: usize = 70;
const MASK: i64 = 0xffff_ffff;

impl Default for Accumulator {
    fn default() -> Self {
        Self { limbs: [0; LIMBS], low: LIMBS, high: 0, pending: 0 }
    }
}

impl Accumulator {
    /// `value` must be finite.
    pub fn add(&mut self, value: f64) {
        self.accumulate(value, false);
    }

    pub fn subtract(&mut self, value: f64) {
        self.accumulate(value, true);
    }

    fn accumulate(&mut self, value: f64, negate: bool) {
        let bits = value.to_bits();
        let exponent = (bits >> 52 & 0x7ff) as usize;
        let fraction = bits & ((1 << 52) - 1);
        let mantissa = if exponent == 0 { fraction } else { fraction | 1 << 52 };
        let shift = exponent.saturating_sub(1);
        let (limb, rest) = (shift / 32, shift % 32);
        let wide = u128::from(mantissa) << rest;
        let sign = if (bits >> 63 != 0) != negate { -1 } else { 1 };
        for (k, limb) in self.limbs[limb..limb + 3].iter_mut().enumerate() {
            *limb += sign * ((wide >> (32 * k)) as i64 & MASK);
        }
        self.low = self.low.min(limb);
        self.high = self.high.max(limb + 2);
        self.pending += 1;
        if self.pending == 1 << 29 {
            self.carry();
        }
    }

    fn carry(&mut self) {
        let mut carry = 0;
        for limb in &mut self.limbs[self.low..LIMBS - 1] {
            let value = *limb + carry;
            *limb = value & MASK;
            carry = value >> 32;
        }
        self.limbs[LIMBS - 1] += carry;
        self.high = LIMBS - 1;
        self.pending = 0;
    }

    /// The sum, rounded once to the nearest float64, ties to even.
    pub fn round(&self) -> f64 {
        if self.low > self.high {
            return 0.0;
        }
        let mut limbs = [0_i64; LIMBS + 1];
        let mut carry = 0;
        for (limb, pending) in limbs.iter_mut().zip(&self.limbs).take(self.high + 1).skip(self.low) {
            let value = pending + carry;
            *limb = value & MASK;
            carry = value >> 32;
        }
        let negative = carry < 0;
        limbs[self.high + 1] = carry & MASK;
        if negative {
            // Two's complement, 32 bits at a time.
            let mut borrow = 1;
            for limb in &mut limbs[self.low..=self.high + 1] {
                let value = (!*limb & MASK) + borrow;
                *limb = value & MASK;
                borrow = value >> 32;
            }
        }
        let Some(top) = (self.low..=self.high + 1).rev().find(|&j| limbs[j] != 0) else {
            return 0.0;
        };
        // The upper 96 bits, and whether any bit below them is set.
        let at = |j: usize| limbs[j] as u128;
        let below = |k: usize| if top >= k { at(top - k) } else { 0 };
        let window = below(0) << 64 | below(1) << 32 | below(2);
        let sticky = (self.low..top.saturating_sub(2)).any(|j| limbs[j] != 0);
        let magnitude = round_to_float(window, sticky, 32 * (top as i32 - 2) - 1074);
        if negative { -magnitude } else { magnitude }
    }
}

/// `window * 2^exponent`, rounded to nearest, ties to even. `window` has at most 127 bits; `sticky` says that the number has bits below
/// them.
pub fn round_to_float(window: u128, sticky: bool, exponent: i32) -> f64 {
    let length = 128 - window.leading_zeros() as i32;
    if window == 0 || length + exponent < -1074 {
        return 0.0; // less than half of the smallest float
    }
    // Drop all but 53 bits; more if the result is subnormal.
    let drop = (length - 53).max(-1074 - exponent);
    let mut mantissa = if drop <= 0 { (window << -drop) as u64 } else { (window >> drop) as u64 };
    if drop > 0 {
        let half = 1_u128 << (drop - 1);
        let rest = window & ((half << 1) - 1);
        if rest > half || (rest == half && (sticky || mantissa & 1 == 1)) {
            mantissa += 1;
        }
    }
    let exponent = exponent + drop;
    if mantissa == 0 {
        return 0.0;
    }
    // The mantissa is at most 2^53, so the product with a power of two is exact or infinite.
    let biased = exponent + 1074;
    if biased == 0 {
        return f64::from_bits(mantissa);
    }
    let (mantissa, biased) = if mantissa == 1 << 53 { (1 << 52, biased + 1) } else { (mantissa, biased) };
    if biased + 1 >= 0x7ff {
        return f64::INFINITY;
    }
    // Adding, not setting: the mantissa's leading bit adds 1 to the exponent field.
    f64::from_bits(((biased as u64) << 52) + mantissa)
}

#[cfg(test)]
mod tests {
    use super::Accumulator;

    fn sum(values: &[f64]) -> f64 {
        let mut accumulator = Accumulator::default();
        values.iter().for_each(|&value| accumulator.add(value));
        accumulator.round()
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
        assert_eq!(sum(&[f64::MAX, f64::MAX]), f64::INFINITY);
        assert_eq!(sum(&[f64::MAX, f64::MAX, -f64::MAX]), f64::MAX);
        assert_eq!(sum(&[5e-324; 3]), 1.5e-323);
    }

    #[test]
    fn subtracting_a_value_undoes_adding_it() {
        let values: Vec<f64> = (0..500).map(|i| f64::from(i).sin() * 10f64.powi(i % 40 - 20)).collect();
        let mut accumulator = Accumulator::default();
        values.iter().for_each(|&value| accumulator.add(value));
        values[..400].iter().for_each(|&value| accumulator.subtract(value));
        assert_eq!(accumulator.round(), sum(&values[400..]));
    }
}
