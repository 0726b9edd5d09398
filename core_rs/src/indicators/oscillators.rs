//! Oscillators: how fast and how far a price has moved.

use crate::average::Smoothed;

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
        if total == 0.0 { 50.0 } else { 100.0 * rise / total }
    }
}
