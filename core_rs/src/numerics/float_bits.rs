//! Mantissas and exponents of float64 values, and rounding to one.

/// 2^exponent, which must be a normal number.
#[inline(always)]
pub fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// The exponent e with 2^e <= x < 2^(e + 1) for a normal x > 0; less than that for a subnormal one.
pub fn exponent(x: f64) -> i32 {
    let field = (x.to_bits() >> 52 & 0x7ff) as i32;
    if field == 0 { -1075 } else { field - 1023 }
}

/// Mantissa and exponent of a finite float64: mantissa * 2^exponent.
#[inline(always)]
pub fn mantissa_and_exponent(value: f64) -> (i64, i32) {
    let bits = value.to_bits();
    let field = (bits >> 52 & 0x7ff) as i32;
    let fraction = (bits & ((1 << 52) - 1)) as i64;
    let mantissa = if field == 0 { fraction } else { fraction | 1 << 52 };
    (if bits >> 63 == 0 { mantissa } else { -mantissa }, field.max(1) - 1075)
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
