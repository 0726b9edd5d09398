//! Trend: lines that stay on one side of the price until it crosses them.

use crate::indicators::stream::Stream;
use crate::indicators::volatility::TrueRange;
use crate::numerics::smoothed::Smoothed;

#[derive(Debug)]
pub struct Psar {
    step: f64,
    maximum: f64,
    /// High and low of the previous bar.
    before: Option<(f64, f64)>,
    state: Option<SarState>,
}

#[derive(Clone, Copy, Debug)]
struct SarState {
    long: bool,
    stop: f64,
    extreme: f64,
    factor: f64,
}

impl Psar {
    pub fn new(step: f64, maximum: f64) -> Self {
        Self { step, maximum, before: None, state: None }
    }

    fn next(&mut self, high: f64, low: f64) -> (f64, f64) {
        let Some((high_before, low_before)) = self.before.replace((high, low)) else { return (f64::NAN, f64::NAN) };
        let factor = if self.step < self.maximum { self.step } else { self.maximum };
        let first = self.state.is_none();
        let mut state = self.state.unwrap_or_else(|| {
            let (up, down) = (high - high_before, low_before - low);
            let long = !(down > 0.0 && down > up);
            let (stop, extreme) = if long { (low_before, high) } else { (high_before, low) };
            SarState { long, stop, extreme, factor }
        });
        // The first bar limits its own stop, as in TA-Lib.
        let (top, bottom) = if first { (high, low) } else { (greater(high_before, high), lesser(low_before, low)) };
        let crossed = if state.long { low <= state.stop } else { high >= state.stop };
        if crossed {
            state.long = !state.long;
            state.stop = if state.long { lesser(state.extreme, bottom) } else { greater(state.extreme, top) };
            state.factor = factor;
            state.extreme = if state.long { high } else { low };
        } else if if state.long { high > state.extreme } else { low < state.extreme } {
            state.extreme = if state.long { high } else { low };
            state.factor = lesser(state.factor + self.step, self.maximum);
        }
        let stop = state.stop;
        let next = stop + state.factor * (state.extreme - stop);
        state.stop = if state.long { lesser(next, bottom) } else { greater(next, top) };
        self.state = Some(state);
        (stop, if state.long { 1.0 } else { -1.0 })
    }
}

fn lesser(a: f64, b: f64) -> f64 {
    if b < a { b } else { a }
}

fn greater(a: f64, b: f64) -> f64 {
    if b > a { b } else { a }
}

impl Stream for Psar {
    fn run(&mut self, inputs: &[&[f64]], outputs: &mut [&mut [f64]]) {
        let [value, direction] = outputs else { return };
        for (i, (value, direction)) in value.iter_mut().zip(direction.iter_mut()).enumerate() {
            (*value, *direction) = self.next(inputs[0][i], inputs[1][i]);
        }
    }

    fn reset(&mut self) {
        *self = Self::new(self.step, self.maximum);
    }
}

#[derive(Debug)]
pub struct Supertrend {
    length: usize,
    multiple: f64,
    range: TrueRange,
    average: Smoothed,
    /// Of the previous bar: upper and lower band, whether the trend was up, and the close.
    before: Option<(f64, f64, bool, f64)>,
}

impl Supertrend {
    pub fn new(length: usize, multiple: f64) -> Self {
        let average = Smoothed::new(length, 1.0 / length as f64);
        Self { length, multiple, range: TrueRange::default(), average, before: None }
    }

    fn next(&mut self, high: f64, low: f64, close: f64) -> (f64, f64) {
        let average = self.average.next(self.range.next(high, low, close));
        if average.is_nan() {
            self.before = None;
            return (f64::NAN, f64::NAN);
        }
        let (middle, width) = ((high + low) / 2.0, self.multiple * average);
        let (mut upper, mut lower, mut rising) = (middle + width, middle - width, false);
        if let Some((upper_before, lower_before, rising_before, close_before)) = self.before {
            if !(upper < upper_before || close_before > upper_before) {
                upper = upper_before;
            }
            if !(lower > lower_before || close_before < lower_before) {
                lower = lower_before;
            }
            rising = if rising_before { close >= lower } else { close > upper };
        }
        self.before = Some((upper, lower, rising, close));
        if rising { (lower, 1.0) } else { (upper, -1.0) }
    }
}

impl Stream for Supertrend {
    fn run(&mut self, inputs: &[&[f64]], outputs: &mut [&mut [f64]]) {
        let [line, direction] = outputs else { return };
        for (i, (line, direction)) in line.iter_mut().zip(direction.iter_mut()).enumerate() {
            (*line, *direction) = self.next(inputs[0][i], inputs[1][i], inputs[2][i]);
        }
    }

    fn reset(&mut self) {
        *self = Self::new(self.length, self.multiple);
    }
}
