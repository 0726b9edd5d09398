//! Moving averages.

use std::collections::VecDeque;

use crate::indicators::stream::Stream;
use crate::numerics::big_int::{Integer, Unit};
use crate::numerics::elementwise::{greatest, least};
use crate::numerics::exact_sum::Accumulator;

/// A window's sum, and its sum with the weights 1, 2, ... from the oldest value to the newest, both exact.
#[derive(Debug)]
pub struct Weighted {
    length: usize,
    values: VecDeque<f64>,
    unit: Unit,
    sum: Integer,
    weighted: Integer,
}

impl Weighted {
    pub fn new(length: usize) -> Self {
        Self { length, values: VecDeque::new(), unit: Unit::default(), sum: Integer::ZERO, weighted: Integer::ZERO }
    }

    /// Add a finite value; returns whether the window is full.
    #[inline(always)]
    fn push(&mut self, x: f64) -> bool {
        let new = self.unit.convert(x, &mut [(&mut self.sum, 1), (&mut self.weighted, 1)]);
        self.values.push_back(x);
        if self.values.len() > self.length {
            // Lowering all weights by one removes the oldest value.
            self.weighted = self.weighted.minus(&self.sum).plus(&new.times_count(self.length));
            let old = self.unit.integer(self.values.pop_front().unwrap_or(0.0));
            self.sum = self.sum.plus(&new).minus(&old);
        } else {
            self.weighted = self.weighted.plus(&new.times_count(self.values.len()));
            self.sum = self.sum.plus(&new);
        }
        self.values.len() == self.length
    }

    /// Weighted average up to the next value; NaN until the window is full, and it starts again after a value that is not finite.
    #[inline(always)]
    fn average(&mut self, x: f64) -> f64 {
        if !x.is_finite() {
            self.reset();
            return f64::NAN;
        }
        if !self.push(x) {
            return f64::NAN;
        }
        self.weighted.quotient(self.unit.exponent(), self.length * (self.length + 1) / 2)
    }

    fn reset(&mut self) {
        *self = Self::new(self.length);
    }
}

#[derive(Debug)]
pub struct Wma(pub Weighted);

impl Stream for Wma {
    fn run(&mut self, inputs: &[&[f64]], outputs: &mut [&mut [f64]]) {
        outputs[0].iter_mut().zip(inputs[0]).for_each(|(out, &x)| *out = self.0.average(x));
    }

    fn reset(&mut self) {
        self.0.reset();
    }
}

#[derive(Debug)]
pub struct Linreg(pub Weighted);

impl Stream for Linreg {
    fn run(&mut self, inputs: &[&[f64]], outputs: &mut [&mut [f64]]) {
        let [value, slope] = outputs else { return };
        let n = self.0.length;
        for ((&x, value), slope) in inputs[0].iter().zip(value.iter_mut()).zip(slope.iter_mut()) {
            if !self.0.push(x) {
                (*value, *slope) = (f64::NAN, f64::NAN);
                continue;
            }
            let (unit, sum, weighted) = (self.0.unit.exponent(), &self.0.sum, &self.0.weighted);
            *value = weighted.times_count(6).minus(&sum.times_count(2 * (n + 1))).quotient(unit, n * (n + 1));
            *slope =
                if n == 1 { 0.0 } else { weighted.times_count(12).minus(&sum.times_count(6 * (n + 1))).quotient(unit, n * (n * n - 1)) };
        }
    }

    fn reset(&mut self) {
        self.0.reset();
    }
}

#[derive(Debug)]
pub struct Hma {
    half: Weighted,
    full: Weighted,
    root: Weighted,
}

impl Hma {
    pub fn new(length: usize) -> Self {
        Self { half: Weighted::new((length / 2).max(1)), full: Weighted::new(length), root: Weighted::new(length.isqrt()) }
    }
}

impl Stream for Hma {
    fn run(&mut self, inputs: &[&[f64]], outputs: &mut [&mut [f64]]) {
        for (out, &x) in outputs[0].iter_mut().zip(inputs[0]) {
            let (half, full) = (self.half.average(x), self.full.average(x));
            *out = self.root.average(2.0 * half - full);
        }
    }

    fn reset(&mut self) {
        self.half.reset();
        self.full.reset();
        self.root.reset();
    }
}

/// The exact sum of value * weight over that of the weights.
#[derive(Debug)]
pub struct Vwma {
    length: usize,
    values: VecDeque<(f64, f64)>,
    products: Accumulator,
    weights: Accumulator,
}

impl Vwma {
    pub fn new(length: usize) -> Self {
        Self { length, values: VecDeque::new(), products: Accumulator::default(), weights: Accumulator::default() }
    }

    fn next(&mut self, x: f64, weight: f64) -> f64 {
        self.products.add_product(x, weight);
        self.weights.add(weight);
        self.values.push_back((x, weight));
        if self.values.len() > self.length
            && let Some((x, weight)) = self.values.pop_front()
        {
            self.products.subtract_product(x, weight);
            self.weights.subtract(weight);
        }
        if self.values.len() == self.length { self.products.quotient(&mut self.weights) } else { f64::NAN }
    }
}

impl Stream for Vwma {
    fn run(&mut self, inputs: &[&[f64]], outputs: &mut [&mut [f64]]) {
        for ((out, &x), &weight) in outputs[0].iter_mut().zip(inputs[0]).zip(inputs[1]) {
            *out = self.next(x, weight);
        }
    }

    fn reset(&mut self) {
        *self = Self::new(self.length);
    }
}

#[derive(Debug)]
pub struct Kama {
    length: usize,
    fast: f64,
    slow: f64,
    values: VecDeque<f64>,
    unit: Unit,
    path: Integer,
    value: f64,
}

impl Kama {
    pub fn new(length: usize, fast: f64, slow: f64) -> Self {
        Self { length, fast, slow, values: VecDeque::new(), unit: Unit::default(), path: Integer::ZERO, value: f64::NAN }
    }

    fn next(&mut self, x: f64) -> f64 {
        if let Some(before) = self.values.back() {
            let step = (x - before).abs();
            if !step.is_finite() {
                self.reset();
                self.values.push_back(x);
                return f64::NAN;
            }
            self.path = self.path_plus(step);
        }
        let before = self.values.back().copied();
        self.values.push_back(x);
        if self.values.len() <= self.length {
            return f64::NAN;
        }
        let first = self.values[0];
        if self.values.len() > self.length + 1 {
            let leaving = self.unit.integer((self.values[1] - first).abs());
            self.path = self.path.minus(&leaving);
            self.values.pop_front();
        } else {
            self.value = before.unwrap_or(x);
        }
        let (change, path) = ((x - self.values[0]).abs(), self.path.to_float(self.unit.exponent()));
        let efficiency = if path <= change { 1.0 } else { change / path };
        let (fast, slow) = (2.0 / (self.fast + 1.0), 2.0 / (self.slow + 1.0));
        let rate = efficiency * (fast - slow) + slow;
        let moved = self.value + rate * rate * (x - self.value);
        self.value = moved.clamp(least(self.value, x), greatest(self.value, x));
        self.value
    }

    fn path_plus(&mut self, step: f64) -> Integer {
        let new = self.unit.convert(step, &mut [(&mut self.path, 1)]);
        self.path.plus(&new)
    }
}

impl Stream for Kama {
    fn run(&mut self, inputs: &[&[f64]], outputs: &mut [&mut [f64]]) {
        outputs[0].iter_mut().zip(inputs[0]).for_each(|(out, &x)| *out = self.next(x));
    }

    fn reset(&mut self) {
        *self = Self::new(self.length, self.fast, self.slow);
    }
}
