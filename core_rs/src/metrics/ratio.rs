//! Division with an undefined result where it makes no sense.

/// A quotient, NaN where it is undefined.
#[inline]
pub fn ratio(numerator: f64, denominator: f64) -> f64 {
    if denominator.is_finite() && denominator != 0.0 { numerator / denominator } else { f64::NAN }
}
