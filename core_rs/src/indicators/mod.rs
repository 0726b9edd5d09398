//! Indicators over tiles; what each computes is documented with its Python twin, `python_core.indicators`.
//!
//! An indicator is a `Stream` and a row of the table below. The rule for what is not known is kept here, once: on a bar where an input is
//! not finite the indicator is not known, and on the next bar it starts anew. So a stream sees finite values only.

pub mod oscillators;
pub mod statistics;
pub mod volatility;

use std::fmt::Debug;

use crate::bits::TILE;

/// Most inputs and arguments that a row has.
pub const INPUTS: usize = 5;
pub const ARGUMENTS: usize = 4;
/// The longest look-back, as in Python.
pub const MAX_LOOKBACK: f64 = 1e6;

/// Computes an indicator from tile to tile.
pub trait Stream: Debug {
    /// Take in the next values, all finite, and give as many of each output; NaN where it is not known yet.
    fn run(&mut self, inputs: &[&[f64]], outputs: &mut [&mut [f64]]);

    /// Forget everything.
    fn reset(&mut self);
}

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

const LENGTH: Argument = Argument { name: "length", least: 1.0, most: MAX_LOOKBACK, whole: true };

/// An indicator of the table.
#[derive(Debug)]
pub struct Row {
    pub name: &'static str,
    pub inputs: usize,
    pub arguments: &'static [Argument],
    pub outputs: usize,
    new: fn(&[f64]) -> Box<dyn Stream>,
}

pub static TABLE: &[Row] = &[
    Row { name: "highest", inputs: 1, arguments: &[LENGTH], outputs: 2, new: |a| Box::new(statistics::Extreme::highest(a[0] as usize)) },
    Row { name: "lowest", inputs: 1, arguments: &[LENGTH], outputs: 2, new: |a| Box::new(statistics::Extreme::lowest(a[0] as usize)) },
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
