//! Exponential moving averages.

use crate::numerics::exact_sum::Accumulator;

/// `alpha * x + (1 - alpha) * previous`, which starts with the simple average of the first `length` values, and again so after a value that
/// is not finite.
#[derive(Debug)]
pub struct Smoothed {
    length: usize,
    alpha: f64,
    known: usize,
    value: f64,
    seed: Accumulator,
}

impl Smoothed {
    pub fn new(length: usize, alpha: f64) -> Self {
        Self { length, alpha, known: 0, value: 0.0, seed: Accumulator::default() }
    }

    #[inline(always)]
    pub fn next(&mut self, x: f64) -> f64 {
        if self.known >= self.length && x.is_finite() {
            self.value = self.alpha * x + (1.0 - self.alpha) * self.value;
            return self.value;
        }
        self.warm_up(x)
    }

    #[cold]
    fn warm_up(&mut self, x: f64) -> f64 {
        if !x.is_finite() {
            self.known = 0;
            self.seed = Accumulator::default();
            return f64::NAN;
        }
        self.known += 1;
        self.seed.add(x);
        if self.known < self.length {
            return f64::NAN;
        }
        self.value = self.seed.round() / self.length as f64;
        self.value
    }
}
