//! Oscillators: the speed and size of price moves.

use crate::indicators::stream::Stream;
use crate::numerics::big_int::{Integer, Unit};
use crate::numerics::smoothed::Smoothed;
use crate::simd::bitmask::TILE;

#[derive(Debug)]
pub struct Rsi {
    before: f64,
    up: Smoothed,
    down: Smoothed,
}

impl Rsi {
    pub fn new(length: usize) -> Self {
        let alpha = 1.0 / length as f64;
        Self { before: f64::NAN, up: Smoothed::new(length, alpha), down: Smoothed::new(length, alpha) }
    }

    #[inline(always)]
    pub fn next(&mut self, x: f64) -> f64 {
        let change = x - self.before;
        self.before = x;
        let (rise, fall) = if change.is_nan() {
            (f64::NAN, f64::NAN)
        } else {
            (if change > 0.0 { change } else { 0.0 }, if change < 0.0 { -change } else { 0.0 })
        };
        let (rise, fall) = (self.up.next(rise), self.down.next(fall));
        let total = rise + fall;
        if total == 0.0 { 50.0 } else { 100.0 * (rise / total) }
    }
}

/// Average distance of a window's values from their average, summed from the oldest to the newest as in the Python twin.
#[derive(Debug)]
pub struct MeanDeviation {
    length: usize,
    /// The last `length` of them are the window; those before it are removed many at a time.
    values: Vec<f64>,
    unit: Unit,
    sum: Integer,
}

impl MeanDeviation {
    pub fn new(length: usize) -> Self {
        Self { length, values: Vec::new(), unit: Unit::default(), sum: Integer::ZERO }
    }

    fn next(&mut self, x: f64) -> f64 {
        let new = self.unit.convert(x, &mut [(&mut self.sum, 1)]);
        self.sum = self.sum.plus(&new);
        self.values.push(x);
        let Some(first) = self.values.len().checked_sub(self.length) else { return f64::NAN };
        if first > 0 {
            self.sum = self.sum.minus(&self.unit.integer(self.values[first - 1]));
        }
        let mean = self.sum.quotient(self.unit.exponent(), self.length);
        let total: f64 = self.values[first..].iter().fold(0.0, |total, x| total + (x - mean).abs());
        if first > self.length + TILE {
            self.values.drain(..first);
        }
        total / self.length as f64
    }
}

impl Stream for MeanDeviation {
    fn run(&mut self, inputs: &[&[f64]], outputs: &mut [&mut [f64]]) {
        outputs[0].iter_mut().zip(inputs[0]).for_each(|(out, &x)| *out = self.next(x));
    }

    fn reset(&mut self) {
        *self = Self::new(self.length);
    }
}
