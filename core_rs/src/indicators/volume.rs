//! Volume: cumulative sums, and the average price of a day.

use crate::indicators::stream::Stream;
use crate::market::DAY_MS;
use crate::numerics::big_int::{Integer, Unit};
use crate::numerics::exact_sum::Accumulator;

/// Whether a bar is the first of its day, UTC; `day` is that of the bar before.
fn starts_day(day: &mut Option<f64>, time_ms: f64) -> bool {
    let this = (time_ms / DAY_MS as f64).floor();
    day.replace(this) != Some(this)
}

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
            if let Some(time) = inputs.get(1)
                && starts_day(&mut self.day, time[i])
            {
                self.sum = Integer::ZERO;
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

/// The exact sum of price * volume over that of the volume, both since the UTC day began.
#[derive(Debug, Default)]
pub struct Vwap {
    products: Accumulator,
    volume: Accumulator,
    day: Option<f64>,
}

impl Stream for Vwap {
    fn run(&mut self, inputs: &[&[f64]], outputs: &mut [&mut [f64]]) {
        for (i, out) in outputs[0].iter_mut().enumerate() {
            if starts_day(&mut self.day, inputs[2][i]) {
                (self.products, self.volume) = (Accumulator::default(), Accumulator::default());
            }
            self.products.add_product(inputs[0][i], inputs[1][i]);
            self.volume.add(inputs[1][i]);
            *out = self.products.quotient(&mut self.volume);
        }
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}
