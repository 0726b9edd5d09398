//! Elementwise operations on tiles: the twin of `python_core.numerics.elementwise`.

use crate::numerics::elementary;
use crate::simd::multiversion;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    Neg,
    Abs,
    Log,
    Exp,
    Sqrt,
    Sign,
}

impl Unary {
    #[inline(always)]
    pub fn of(self, x: f64) -> f64 {
        match self {
            Self::Neg => -x,
            Self::Abs => x.abs(),
            Self::Log => elementary::log(x),
            Self::Exp => elementary::exp(x),
            Self::Sqrt => x.sqrt(),
            Self::Sign if x > 0.0 => 1.0,
            Self::Sign if x < 0.0 => -1.0,
            Self::Sign => x,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Min,
    Max,
}

impl Binary {
    #[inline(always)]
    pub fn of(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Add => a + b,
            Self::Sub => a - b,
            Self::Mul => a * b,
            Self::Div => a / b,
            Self::Min => least(a, b),
            Self::Max => greatest(a, b),
        }
    }
}

/// The lesser of two numbers, the first of equals, NaN if either is.
#[inline(always)]
pub fn least(a: f64, b: f64) -> f64 {
    if b < a || b.is_nan() { b } else { a }
}

/// The greater of two numbers, the first of equals, NaN if either is.
#[inline(always)]
pub fn greatest(a: f64, b: f64) -> f64 {
    if b > a || b.is_nan() { b } else { a }
}

/// Write `function` of each value to `out`.
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
