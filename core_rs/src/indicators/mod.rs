//! Indicators over tiles: the twin of `python_core.indicators`, whose modules of the same names document what each one computes.
//!
//! An indicator is a `Stream` and a row of the table below. Where an input is not finite, every indicator is NaN and starts again on the
//! next bar; that rule is applied here, so streams see finite values only.

pub mod averages;
pub mod conditions;
pub mod oscillators;
pub mod statistics;
pub mod stream;
pub mod trend;
pub mod volatility;
pub mod volume;

use crate::indicators::averages::Weighted;
use crate::indicators::stream::Stream;
use crate::simd::bitmask::TILE;

/// The largest numbers of inputs and arguments of a row.
pub const MAX_INPUTS: usize = 5;
pub const MAX_ARGUMENTS: usize = 4;
/// The longest lookback, as in Python.
pub const MAX_LOOKBACK: f64 = 1e6;

/// An argument of an indicator: its bounds, and whether it must be a whole number.
#[derive(Clone, Copy, Debug)]
pub struct Argument {
    pub name: &'static str,
    pub minimum: f64,
    pub maximum: f64,
    pub integer: bool,
}

impl Argument {
    pub fn allows(&self, x: f64) -> bool {
        (self.minimum..=self.maximum).contains(&x) && !(self.integer && x.fract() != 0.0)
    }
}

const LENGTH: Argument = length("length");

const fn length(name: &'static str) -> Argument {
    Argument { name, minimum: 1.0, maximum: MAX_LOOKBACK, integer: true }
}

const fn number(name: &'static str) -> Argument {
    Argument { name, minimum: 0.0, maximum: 1e6, integer: false }
}

/// An indicator of the table.
#[derive(Debug)]
pub struct Row {
    pub name: &'static str,
    pub inputs: usize,
    pub arguments: &'static [Argument],
    pub outputs: usize,
    new: fn(&[f64]) -> Box<dyn Stream>,
}

macro_rules! row {
    ($name:literal, $inputs:literal, [$($argument:expr),*], $outputs:literal, $new:expr) => {
        Row { name: $name, inputs: $inputs, arguments: &[$($argument),*], outputs: $outputs, new: $new }
    };
}

pub static TABLE: &[Row] = &[
    row!("wma", 1, [LENGTH], 1, |a| Box::new(averages::Wma(Weighted::new(a[0] as usize)))),
    row!("linreg", 1, [LENGTH], 2, |a| Box::new(averages::Linreg(Weighted::new(a[0] as usize)))),
    row!("hma", 1, [LENGTH], 1, |a| Box::new(averages::Hma::new(a[0] as usize))),
    row!("vwma", 2, [LENGTH], 1, |a| Box::new(averages::Vwma::new(a[0] as usize))),
    row!("kama", 1, [LENGTH, length("fast"), length("slow")], 1, |a| Box::new(averages::Kama::new(a[0] as usize, a[1], a[2]))),
    row!("mean_deviation", 1, [Argument { maximum: 10_000.0, ..LENGTH }], 1, |a| Box::new(oscillators::MeanDeviation::new(a[0] as usize))),
    row!("psar", 2, [number("step"), number("maximum")], 2, |a| Box::new(trend::Psar::new(a[0], a[1]))),
    row!("supertrend", 3, [LENGTH, number("multiple")], 2, |a| Box::new(trend::Supertrend::new(a[0] as usize, a[1]))),
    row!("cum", 1, [], 1, |_| Box::new(volume::Cum::default())),
    row!("session_cum", 2, [], 1, |_| Box::new(volume::Cum::default())),
    row!("vwap", 3, [], 1, |_| Box::new(volume::Vwap::default())),
    row!("highest", 1, [LENGTH], 2, |a| Box::new(statistics::Extreme::highest(a[0] as usize))),
    row!("lowest", 1, [LENGTH], 2, |a| Box::new(statistics::Extreme::lowest(a[0] as usize))),
    row!("stdev", 1, [LENGTH], 1, |a| Box::new(statistics::Stdev::new(a[0] as usize))),
    row!("correlation", 2, [LENGTH], 1, |a| Box::new(statistics::Correlation::new(a[0] as usize))),
    row!("percentrank", 1, [LENGTH], 1, |a| Box::new(statistics::PercentRank::new(a[0] as usize))),
    row!("bars_since", 1, [], 1, |_| Box::new(conditions::BarsSince::default())),
    row!("value_when", 2, [], 1, |_| Box::new(conditions::ValueWhen::default())),
];

/// Position in the table.
pub fn find(name: &str) -> Option<usize> {
    TABLE.iter().position(|row| row.name == name)
}

/// An indicator's stream and the outputs of the current tile. Operations that read different outputs share it.
#[derive(Debug)]
pub struct RunningIndicator {
    stream: Box<dyn Stream>,
    pub outputs: Vec<Vec<f64>>,
}

impl RunningIndicator {
    pub fn new(row: usize, arguments: &[f64]) -> Self {
        let row = &TABLE[row];
        Self { stream: (row.new)(&arguments[..row.arguments.len()]), outputs: vec![vec![0.0; TILE]; row.outputs] }
    }

    /// Compute the next tile, of `n` bars.
    pub fn run(&mut self, inputs: &[&[f64]], n: usize) {
        let mut start = 0;
        while start < n {
            let end = (start..n).find(|&i| inputs.iter().any(|input| !input[i].is_finite())).unwrap_or(n);
            if start < end {
                let mut parts = [&[][..]; MAX_INPUTS];
                parts.iter_mut().zip(inputs).for_each(|(part, input)| *part = &input[start..end]);
                let mut outputs: Vec<&mut [f64]> = self.outputs.iter_mut().map(|output| &mut output[start..end]).collect();
                self.stream.run(&parts[..inputs.len()], &mut outputs);
            }
            if end < n {
                self.outputs.iter_mut().for_each(|output| output[end] = f64::NAN);
                self.stream.reset();
            }
            start = end + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_ARGUMENTS, MAX_INPUTS, RunningIndicator, TABLE};

    #[test]
    fn every_indicator_starts_again_after_a_value_that_is_not_finite() {
        let values: Vec<f64> = (1..200).map(|i| 50.0 + f64::from(i * i % 37)).collect();
        for (row, entry) in TABLE.iter().enumerate() {
            assert!(entry.inputs <= MAX_INPUTS && entry.arguments.len() <= MAX_ARGUMENTS);
            let run = |values: &[f64]| {
                let mut running = RunningIndicator::new(row, &[3.0, 2.0, 5.0, 0.0]);
                running.run(&vec![values; entry.inputs], values.len());
                running.outputs.iter().map(|output| output[..values.len()].to_vec()).collect::<Vec<_>>()
            };
            for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                let joined = [&values[..], &[bad], &values[..]].concat();
                for (joined, alone) in run(&joined).iter().zip(run(&values)) {
                    let bits = |values: &[f64]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                    assert_eq!(bits(&joined[..values.len()]), bits(&alone), "{}", entry.name);
                    assert!(joined[values.len()].is_nan());
                    assert_eq!(bits(&joined[values.len() + 1..]), bits(&alone), "{}", entry.name);
                }
            }
        }
    }
}
