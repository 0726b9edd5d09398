//! Logarithm and exponential with the same bits on every machine, unlike those of C libraries: the twin of
//! `python_core.numerics.elementary`.
//!
//! Only + - * / and the exponent field are used, in the order written, so that the Python twin gives the same bits. Each result is within 1
//! ulp of the true value. The algorithms and constants are those of fdlibm 5.3, `e_log.c` and `e_exp.c` (<https://www.netlib.org/fdlibm/>),
//! whose notice says:
//!
//! > Copyright (C) 1993 by Sun Microsystems, Inc. All rights reserved.
//! > Developed at SunSoft, a Sun Microsystems, Inc. business. Permission to use, copy, modify, and distribute this
//! > software is freely granted, provided that this notice is preserved.

use std::f64::consts::{FRAC_1_SQRT_2, LOG2_E};

/// log(2) in two parts: the first has 21 trailing zero bits, so that its product with an exponent is exact.
const LN2_HIGH: f64 = 0.6931471803691238;
const LN2_LOW: f64 = 1.9082149292705877e-10;
const EXP_OVERFLOWS_ABOVE: f64 = 709.782712893384;
const EXP_VANISHES_BELOW: f64 = -745.1332191019411;
const TWO_TO_MINUS_1000: f64 = 9.332636185032189e-302;
const TWO_TO_54: f64 = 18_014_398_509_481_984.0;
const EXPONENT: u64 = 0x7ff << 52;

/// Natural logarithm: -inf at 0, NaN below it.
pub fn log(x: f64) -> f64 {
    if x < 0.0 || x.is_nan() {
        return f64::NAN;
    }
    if x == 0.0 {
        return f64::NEG_INFINITY;
    }
    if x == f64::INFINITY {
        return x;
    }
    let (mut mantissa, mut exponent) = split(x);
    if mantissa < FRAC_1_SQRT_2 {
        mantissa *= 2.0;
        exponent -= 1;
    }
    // x = 2^exponent * (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)); log(1 + f) is an odd series in s = f / (2 + f).
    let f = mantissa - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let w = z * z;
    let even = w * (0.3999999999940942 + w * (0.22222198432149784 + w * 0.15313837699209373));
    let odd = z * (0.6666666666666735 + w * (0.2857142874366239 + w * (0.1818357216161805 + w * 0.14798198605116586)));
    let half_square = 0.5 * f * f;
    let k = exponent as f64;
    k * LN2_HIGH - ((half_square - (s * (half_square + (even + odd)) + k * LN2_LOW)) - f)
}

/// The exponential of `x`: inf above 709.78, 0 below -745.13.
pub fn exp(x: f64) -> f64 {
    if x.is_nan() {
        return f64::NAN;
    }
    if x > EXP_OVERFLOWS_ABOVE {
        return f64::INFINITY;
    }
    if x < EXP_VANISHES_BELOW {
        return 0.0;
    }
    // x = k * log(2) + r with |r| <= log(2) / 2, and r = high - low.
    let k = (LOG2_E * x + if x > 0.0 { 0.5 } else { -0.5 }) as i64;
    let high = x - k as f64 * LN2_HIGH;
    let low = k as f64 * LN2_LOW;
    let r = high - low;
    let t = r * r;
    let series = -0.0027777777777015593 + t * (6.613756321437934e-05 + t * (-1.6533902205465252e-06 + t * 4.1381367970572385e-08));
    let c = r - t * (0.16666666666666602 + t * series);
    let y = 1.0 - ((low - (r * c) / (2.0 - c)) - high);
    if k >= -1021 { scale(y, k) } else { scale(y, k + 1000) * TWO_TO_MINUS_1000 }
}

/// `exp(y * log(x))` for x > 0; its relative error grows with |y * log(x)|.
pub fn power(x: f64, y: f64) -> f64 {
    exp(y * log(x))
}

/// Mantissa in [1/2, 1) and exponent of a finite x > 0.
fn split(x: f64) -> (f64, i64) {
    let (bits, shift) = if x < f64::MIN_POSITIVE { ((x * TWO_TO_54).to_bits(), 54) } else { (x.to_bits(), 0) };
    (f64::from_bits(bits & !EXPONENT | 1022 << 52), (bits >> 52) as i64 - 1022 - shift)
}

/// `y * 2^k` where both are normal.
fn scale(y: f64, k: i64) -> f64 {
    f64::from_bits(y.to_bits().wrapping_add((k as u64) << 52))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// How many floats two values of one sign are apart.
    fn ulps(a: f64, b: f64) -> u64 {
        if a == b { 0 } else { (a.to_bits() as i64).abs_diff(b.to_bits() as i64) }
    }

    #[test]
    fn log_and_exp_are_within_one_ulp_of_the_c_library() {
        let mut random = Random(1);
        for _ in 0..200_000 {
            let x = f64::from_bits((random.next() * f64::INFINITY.to_bits() as f64) as u64);
            assert!(x <= 0.0 || ulps(log(x), x.ln()) <= 1, "log({x:e})");
            let x = random.next() * 2.0 + 1e-3;
            assert!(ulps(log(x), x.ln()) <= 1, "log({x:e})");
            let x = random.next() * 1455.0 - 745.2;
            assert!(ulps(exp(x), x.exp()) <= 1, "exp({x:e})");
            let x = (random.next() - 0.5) * 1e-3;
            assert!(ulps(exp(x), x.exp()) <= 1, "exp({x:e})");
        }
    }

    #[test]
    fn log_and_exp_are_exact_at_the_edges_of_their_range() {
        assert_eq!((log(1.0), exp(0.0), exp(-0.0)), (0.0, 1.0, 1.0));
        assert_eq!((log(0.0), log(-0.0), log(f64::INFINITY)), (f64::NEG_INFINITY, f64::NEG_INFINITY, f64::INFINITY));
        assert!(log(-1.0).is_nan() && log(f64::NAN).is_nan() && exp(f64::NAN).is_nan());
        assert_eq!((exp(f64::INFINITY), exp(f64::NEG_INFINITY)), (f64::INFINITY, 0.0));
        assert_eq!((exp(710.0), exp(-746.0)), (f64::INFINITY, 0.0));
        assert_eq!(log(5e-324), 5e-324_f64.ln());
        assert_eq!(exp(-745.0), 5e-324);
        assert!(exp(EXP_OVERFLOWS_ABOVE).is_finite());
    }

    #[test]
    fn results_have_the_bits_that_the_python_twin_is_tested_for() {
        assert_eq!(log(3.7).to_bits(), 0x3ff4_eeee_650a_e550);
        assert_eq!(log(0.3).to_bits(), 0xbff3_4378_fcbd_a721);
        assert_eq!(log(1e-310).to_bits(), 0xc086_4e69_394d_9508);
        assert_eq!(exp(1.7).to_bits(), 0x4015_e552_770d_f8a6);
        assert_eq!(exp(-3.3).to_bits(), 0x3fa2_e259_bb85_be85);
        assert_eq!(exp(-740.25).to_bits(), 0x42);
        assert_eq!(power(1.37, 12.25).to_bits(), 0x4047_a5ec_6012_f648);
    }
}
