//! Volume: the cumulative sums that its indicators use.

use crate::indicators::stream::Stream;
use crate::market::DAY_MS;
use crate::numerics::big_int::{Integer, Unit};

/// Sum of all values so far, exact and rounded once for each bar; with times as second input, of those since the UTC day began.
#[derive(Debug, Default)]
pub struct Cum {
    unit: Unit,
    sum: Integer,
    day: Option<f64>,
}

impl Stream for Cum {
    fn run(&mut self, inputs: &[&[f64]], outputs: &mut [&mut [f64]]) {
        for (i, (out, &x)) in outputs[0].iter_mut().zip(inputs[0]).enumerate() {
            if let Some(time) = inputs.get(1) {
                let day = (time[i] / DAY_MS as f64).floor();
                if self.day.replace(day) != Some(day) {
                    self.sum = Integer::ZERO;
                }
            }
            let new = self.unit.convert(x, &mut [(&mut self.sum, 1)]);
            self.sum = self.sum.plus(&new);
            *out = self.sum.to_float(self.unit.exponent());
        }
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}
