//! Arithmetic on tiles, value by value.

use crate::simd::multiversion;

/// `function` of each value.
pub fn each(values: &[f64], out: &mut [f64], function: impl Fn(f64) -> f64) {
    out.iter_mut().zip(values).for_each(|(out, &x)| *out = function(x));
}

multiversion! {
    pub fn add(a: &[f64], b: &[f64], out: &mut [f64]) = add_in;
}
#[inline(always)]
fn add_in(a: &[f64], b: &[f64], out: &mut [f64]) {
    out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = a + b);
}

multiversion! {
    pub fn subtract(a: &[f64], b: &[f64], out: &mut [f64]) = subtract_in;
}
#[inline(always)]
fn subtract_in(a: &[f64], b: &[f64], out: &mut [f64]) {
    out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = a - b);
}

multiversion! {
    pub fn multiply(a: &[f64], b: &[f64], out: &mut [f64]) = multiply_in;
}
#[inline(always)]
fn multiply_in(a: &[f64], b: &[f64], out: &mut [f64]) {
    out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = a * b);
}

multiversion! {
    pub fn divide(a: &[f64], b: &[f64], out: &mut [f64]) = divide_in;
}
#[inline(always)]
fn divide_in(a: &[f64], b: &[f64], out: &mut [f64]) {
    out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = a / b);
}

multiversion! {
    pub fn any_nan(values: &[f64]) -> bool = any_nan_in;
}
#[inline(always)]
fn any_nan_in(values: &[f64]) -> bool {
    values.iter().fold(false, |any, x| any | x.is_nan())
}
