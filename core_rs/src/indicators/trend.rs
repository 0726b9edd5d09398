//! Followers of a trend: on one side of the price until it crosses them.

use crate::indicators::stream::Stream;
use crate::indicators::volatility::TrueRange;
use crate::numerics::smoothed::Smoothed;

#[derive(Debug)]
pub struct Psar {
    step: f64,
    most: f64,
    /// High and low of the bar before.
    before: Option<(f64, f64)>,
    position: Option<Position>,
}

#[derive(Clone, Copy, Debug)]
struct Position {
    long: bool,
    stop: f64,
    extreme: f64,
    factor: f64,
}

impl Psar {
    pub fn new(step: f64, most: f64) -> Self {
        Self { step, most, before: None, position: None }
    }

    fn next(&mut self, high: f64, low: f64) -> (f64, f64) {
        let Some((high_before, low_before)) = self.before.replace((high, low)) else { return (f64::NAN, f64::NAN) };
        let factor = if self.step < self.most { self.step } else { self.most };
        let first = self.position.is_none();
        let mut at = self.position.unwrap_or_else(|| {
            let (up, down) = (high - high_before, low_before - low);
            let long = !(down > 0.0 && down > up);
            let (stop, extreme) = if long { (low_before, high) } else { (high_before, low) };
            Position { long, stop, extreme, factor }
        });
        // The first bar bounds its own stop, as TA-Lib has it.
        let (top, bottom) = if first { (high, low) } else { (greater(high_before, high), lesser(low_before, low)) };
        let crossed = if at.long { low <= at.stop } else { high >= at.stop };
        if crossed {
            at.long = !at.long;
            at.stop = if at.long { lesser(at.extreme, bottom) } else { greater(at.extreme, top) };
            at.factor = factor;
            at.extreme = if at.long { high } else { low };
        } else if if at.long { high > at.extreme } else { low < at.extreme } {
            at.extreme = if at.long { high } else { low };
            at.factor = lesser(at.factor + self.step, self.most);
        }
        let stop = at.stop;
        let next = stop + at.factor * (at.extreme - stop);
        at.stop = if at.long { lesser(next, bottom) } else { greater(next, top) };
        self.position = Some(at);
        (stop, if at.long { 1.0 } else { -1.0 })
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
        *self = Self::new(self.step, self.most);
    }
}

#[derive(Debug)]
pub struct Supertrend {
    length: usize,
    multiple: f64,
    range: TrueRange,
    average: Smoothed,
    /// Both bands, whether the lower one holds, and the close of the bar before.
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
