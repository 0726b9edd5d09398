//! Indicators over tiles; what each computes is documented with its Python twin, `python_core.indicators`.
//!
//! An indicator is a `Stream` and a row of the table below. The rule for what is not known is kept here, once: on a bar where an input is
//! not finite the indicator is not known, and on the next bar it starts anew. So a stream sees finite values only.

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

/// Most inputs and arguments that a row has.
pub const INPUTS: usize = 5;
pub const ARGUMENTS: usize = 4;
/// The longest look-back, as in Python.
pub const MAX_LOOKBACK: f64 = 1e6;

/// A number that an indicator takes: its bounds, and whether it must be whole.
#[derive(Clone, Copy, Debug)]
pub struct Argument {
    pub name: &'static str,
    pub least: f64,
    pub most: f64,
    pub whole: bool,
}

impl Argument {
    pub fn allows(&self, x: f64) -> bool {
        (self.least..=self.most).contains(&x) && !(self.whole && x.fract() != 0.0)
    }
}

const LENGTH: Argument = length("length");

const fn length(name: &'static str) -> Argument {
    Argument { name, least: 1.0, most: MAX_LOOKBACK, whole: true }
}

const fn number(name: &'static str) -> Argument {
    Argument { name, least: 0.0, most: 1e6, whole: false }
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
    row!("kama", 1, [LENGTH, length("fast"), length("slow")], 1, |a| Box::new(averages::Kama::new(a[0] as usize, a[1], a[2]))),
    row!("mean_deviation", 1, [Argument { most: 10_000.0, ..LENGTH }], 1, |a| Box::new(oscillators::MeanDeviation::new(a[0] as usize))),
    row!("psar", 2, [number("step"), number("most")], 2, |a| Box::new(trend::Psar::new(a[0], a[1]))),
    row!("supertrend", 3, [LENGTH, number("multiple")], 2, |a| Box::new(trend::Supertrend::new(a[0] as usize, a[1]))),
    row!("cum", 1, [], 1, |_| Box::new(volume::Cum::default())),
    row!("session_cum", 2, [], 1, |_| Box::new(volume::Cum::default())),
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

/// A stream with its outputs, kept from tile to tile; operations that want different outputs of it share it.
#[derive(Debug)]
pub struct Running {
    stream: Box<dyn Stream>,
    pub outputs: Vec<Vec<f64>>,
}

impl Running {
    pub fn new(row: usize, arguments: &[f64]) -> Self {
        let row = &TABLE[row];
        Self { stream: (row.new)(&arguments[..row.arguments.len()]), outputs: vec![vec![0.0; TILE]; row.outputs] }
    }

    /// Compute the next tile, of `n` bars.
    pub fn run(&mut self, inputs: &[&[f64]], n: usize) {
        let mut start = 0;
        while start < n {
            let bad = (start..n).find(|&i| inputs.iter().any(|input| !input[i].is_finite())).unwrap_or(n);
            if start < bad {
                let mut parts = [&[][..]; INPUTS];
                parts.iter_mut().zip(inputs).for_each(|(part, input)| *part = &input[start..bad]);
                let mut outputs: Vec<&mut [f64]> = self.outputs.iter_mut().map(|output| &mut output[start..bad]).collect();
                self.stream.run(&parts[..inputs.len()], &mut outputs);
            }
            if bad < n {
                self.outputs.iter_mut().for_each(|output| output[bad] = f64::NAN);
                self.stream.reset();
            }
            start = bad + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ARGUMENTS, INPUTS, Running, TABLE};

    #[test]
    fn every_indicator_starts_anew_after_what_is_not_finite() {
        let values: Vec<f64> = (1..200).map(|i| 50.0 + f64::from(i * i % 37)).collect();
        for (row, described) in TABLE.iter().enumerate() {
            assert!(described.inputs <= INPUTS && described.arguments.len() <= ARGUMENTS);
            let run = |values: &[f64]| {
                let mut running = Running::new(row, &[3.0, 2.0, 5.0, 0.0]);
                running.run(&vec![values; described.inputs], values.len());
                running.outputs.iter().map(|output| output[..values.len()].to_vec()).collect::<Vec<_>>()
            };
            for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                let joined = [&values[..], &[bad], &values[..]].concat();
                for (joined, alone) in run(&joined).iter().zip(run(&values)) {
                    let bits = |values: &[f64]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                    assert_eq!(bits(&joined[..values.len()]), bits(&alone), "{}", described.name);
                    assert!(joined[values.len()].is_nan());
                    assert_eq!(bits(&joined[values.len() + 1..]), bits(&alone), "{}", described.name);
                }
            }
        }
    }
}
