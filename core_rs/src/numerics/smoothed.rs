//! Exponential moving averages.

use crate::numerics::exact_sum::Accumulator;

/// `value + alpha * (new - value)`, which starts with the simple average of the first `length` values, and again so after a value that is
/// not finite.
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
            self.value = step(self.value, x, self.alpha);
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
        self.value = self.seed.mean(self.length);
        self.value
    }
}

/// `value + alpha * (new - value)`, for 0 < alpha <= 2 / 3 or alpha = 1.
///
/// It is never outside `value` and `new`: the rounded product is at most the true distance, as alpha leaves more room than rounding takes,
/// and rounding a sum that is not beyond `new` does not take it there.
#[inline(always)]
fn step(value: f64, new: f64, alpha: f64) -> f64 {
    let distance = new - value;
    if alpha == 1.0 {
        new
    } else if distance.is_finite() {
        value + alpha * distance
    } else {
        // The distance of two huge values of opposite sign.
        alpha * new + (1.0 - alpha) * value
    }
}

#[cfg(test)]
mod tests {
    use super::{Smoothed, step};
    use crate::random::Random;

    #[test]
    fn a_step_never_leaves_the_range_of_old_and_new_value() {
        let mut random = Random(5);
        for _ in 0..500_000 {
            let mut any = || (random.next() - 0.5) * 2f64.powi((random.next() * 120.0) as i32 - 60);
            let (value, other) = (any(), any());
            let near = f64::from_bits(value.to_bits() + (random.next() * 9.0) as u64);
            for new in [other, near, value, other * 1e-310, f64::MAX] {
                for alpha in [1.0, 2.0 / 3.0, 0.5, 0.1, 1e-6] {
                    let moved = step(value, new, alpha);
                    assert!(moved >= value.min(new) && moved <= value.max(new), "{value:e} to {new:e} by {alpha}: {moved:e}");
                }
            }
        }
        assert_eq!(step(-f64::MAX, f64::MAX, 0.5), 0.0);
        assert_eq!(step(0.0, 5e-324, 2.0 / 3.0), 5e-324);
    }

    #[test]
    fn an_average_of_equal_values_is_that_value() {
        for value in [1.467e-5, 0.1, 1e-9, 123_456.789, -0.3, f64::MAX, 5e-324] {
            for length in [1, 3, 14, 49] {
                let mut average = Smoothed::new(length, 2.0 / (length as f64 + 1.0));
                let last = (0..3 * length).map(|_| average.next(value)).last();
                assert_eq!(last, Some(value));
            }
        }
    }
}
