//! Elementwise operations on tiles: the twin of `python_core.numerics.elementwise`.

use crate::numerics::elementary;
use crate::numerics::exact_sum::Accumulator;
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

/// The average of three or four numbers, rounded once; NaN where one is not finite.
pub fn mean<const N: usize>(columns: [&[f64]; N], out: &mut [f64]) {
    let ordinary = match N {
        3 => mean_of_three(columns[0], columns[1], columns[2], out),
        _ => mean_of_four(columns[0], columns[1], columns[2], columns[N - 1], out),
    };
    if !ordinary {
        for (i, out) in out.iter_mut().enumerate() {
            let values = columns.map(|column| column[i]);
            let mut sum = Accumulator::default();
            values.iter().filter(|x| x.is_finite()).for_each(|&x| sum.add(x));
            *out = if values.iter().all(|x| x.is_finite()) { sum.mean(N) } else { f64::NAN };
        }
    }
}

multiversion! {
    /// `mean` of positive numbers that are not too far apart; returns whether all are.
    fn mean_of_three(a: &[f64], b: &[f64], c: &[f64], out: &mut [f64]) -> bool = mean_of_three_in;
}
#[inline(always)]
fn mean_of_three_in(a: &[f64], b: &[f64], c: &[f64], out: &mut [f64]) -> bool {
    let mut ordinary = true;
    for (((out, &a), &b), &c) in out.iter_mut().zip(a).zip(b).zip(c) {
        ordinary &= is_ordinary(pick(a < b, a, b), pick(a < b, b, a)) & is_ordinary(pick(a < c, a, c), pick(a < c, c, a));
        let (sum, rest_a) = two_sum(a, b);
        let (sum, rest_b) = two_sum(sum, c);
        // A guess, and a correction by its remainder, which is exact, over three: as in `fixed_point`.
        let guess = sum * (1.0 / 3.0);
        let remainder = (sum - 2.0 * guess) - guess;
        *out = guess + (remainder + (rest_a + rest_b)) * (1.0 / 3.0);
    }
    ordinary
}

multiversion! {
    fn mean_of_four(a: &[f64], b: &[f64], c: &[f64], d: &[f64], out: &mut [f64]) -> bool = mean_of_four_in;
}
#[inline(always)]
fn mean_of_four_in(a: &[f64], b: &[f64], c: &[f64], d: &[f64], out: &mut [f64]) -> bool {
    let mut ordinary = true;
    for ((((out, &a), &b), &c), &d) in out.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        ordinary &= is_ordinary(pick(a < b, a, b), pick(a < b, b, a))
            & is_ordinary(pick(a < c, a, c), pick(a < c, c, a))
            & is_ordinary(pick(a < d, a, d), pick(a < d, d, a));
        let (sum, rest_a) = two_sum(a, b);
        let (sum, rest_b) = two_sum(sum, c);
        let (sum, rest_c) = two_sum(sum, d);
        *out = (sum + (rest_a + rest_b + rest_c)) * 0.25;
    }
    ordinary
}

#[inline(always)]
fn pick(condition: bool, a: f64, b: f64) -> f64 {
    if condition { a } else { b }
}

/// Whether all the parts of sums of such numbers are exact: the numbers are positive, at most 2^20 apart, and far from overflow.
#[inline(always)]
fn is_ordinary(smaller: f64, larger: f64) -> bool {
    (smaller > 1e-250) & (larger < smaller * 1_048_576.0) & (larger < 1e250)
}

/// The sum of two numbers, rounded, and what rounding has cut off (Knuth 1969).
#[inline(always)]
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let part = sum - a;
    (sum, (a - (sum - part)) + (b - part))
}

multiversion! {
    pub fn any_nan(values: &[f64]) -> bool = any_nan_in;
}
#[inline(always)]
fn any_nan_in(values: &[f64]) -> bool {
    values.iter().fold(false, |any, x| any | x.is_nan())
}

#[cfg(test)]
mod tests {
    use super::{mean, mean_of_three};
    use crate::numerics::exact_sum::Accumulator;
    use crate::random::Random;

    fn exact<const N: usize>(values: [f64; N]) -> f64 {
        let mut sum = Accumulator::default();
        values.iter().for_each(|&x| sum.add(x));
        sum.mean(N)
    }

    #[test]
    fn means_are_rounded_once() {
        let mut random = Random(3);
        for _ in 0..200 {
            let (middle, spread) = (2f64.powi((random.next() * 60.0) as i32 - 30), 2f64.powi(-((random.next() * 54.0) as i32)));
            let mut column = || (0..500).map(|_| middle * (1.0 + random.next() * spread)).collect::<Vec<_>>();
            let columns = [column(), column(), column(), column()];
            let [a, b, c, d] = columns.each_ref().map(Vec::as_slice);
            let mut out = vec![0.0; 500];
            assert!(mean_of_three(a, b, c, &mut out));
            for i in 0..500 {
                assert_eq!(out[i].to_bits(), exact([a[i], b[i], c[i]]).to_bits(), "{} {} {}", a[i], b[i], c[i]);
            }
            mean([a, b, c, d], &mut out);
            for i in 0..500 {
                assert_eq!(out[i].to_bits(), exact([a[i], b[i], c[i], d[i]]).to_bits());
            }
        }
    }

    #[test]
    fn means_of_numbers_of_any_size_are_rounded_once() {
        let columns = [[1e300, 1e-9, 0.1, f64::MAX, 5e-324], [-1e300, 1e9, 0.1, f64::MAX, 0.0], [3.0, 1e18, 0.1, f64::MAX, 1e-323]];
        let mut out = [0.0; 5];
        mean([&columns[0][..], &columns[1], &columns[2]], &mut out);
        assert_eq!(out, [1.0, exact([1e-9, 1e9, 1e18]), 0.1, f64::MAX, 5e-324]);
        mean([&[1.0, 2.0][..], &[f64::NAN, 2.0], &[f64::INFINITY, 5.0]], &mut out[..2]);
        assert!(out[0].is_nan() && out[1] == 3.0);
    }
}
