//! Indicators of when a condition was last true.

use crate::indicators::stream::Stream;

#[derive(Debug, Default)]
pub struct BarsSince(Option<f64>);

impl Stream for BarsSince {
    fn run(&mut self, inputs: &[&[f64]], outputs: &mut [&mut [f64]]) {
        for (out, &condition) in outputs[0].iter_mut().zip(inputs[0]) {
            self.0 = if condition == 1.0 { Some(0.0) } else { self.0.map(|bars| bars + 1.0) };
            *out = self.0.unwrap_or(f64::NAN);
        }
    }

    fn reset(&mut self) {
        self.0 = None;
    }
}

#[derive(Debug, Default)]
pub struct ValueWhen(Option<f64>);

impl Stream for ValueWhen {
    fn run(&mut self, inputs: &[&[f64]], outputs: &mut [&mut [f64]]) {
        for ((out, &condition), &x) in outputs[0].iter_mut().zip(inputs[0]).zip(inputs[1]) {
            if condition == 1.0 {
                self.0 = Some(x);
            }
            *out = self.0.unwrap_or(f64::NAN);
        }
    }

    fn reset(&mut self) {
        self.0 = None;
    }
}
