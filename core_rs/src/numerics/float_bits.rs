//! Mantissas and exponents of float64 values.

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
