//! The operations of a plan.

use crate::indicators::{MAX_ARGUMENTS, MAX_INPUTS, TABLE};
use crate::market::columns::Column;
use crate::numerics::elementwise::{Binary, Unary};

/// What `Op::key` returns.
pub type OpKey = [u64; 3 + MAX_INPUTS + MAX_ARGUMENTS];

/// A part of a bar's open time, UTC; weekday 0 is Monday.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TimePart {
    /// The time itself, epoch milliseconds.
    Epoch,
    Hour,
    Weekday,
    Minute,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Comparison {
    Lt,
    Le,
    Gt,
    Ge,
    Eq,
    Ne,
}

/// One operation; inputs are positions of earlier operations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    Column(Column),
    Time(TimePart),
    Const(f64),
    Unary(Unary, usize),
    Binary(Binary, usize, usize),
    /// Condition, value where it is true, value where it is false.
    Select(usize, usize, usize),
    /// Averages of their inputs.
    MeanOfThree(usize, usize, usize),
    MeanOfFour(usize, usize, usize, usize),
    Sma(usize, usize),
    /// Input, length, alpha.
    Smoothed(usize, usize, f64),
    Rsi(usize, usize),
    TrueRange(usize, usize, usize),
    Shift(usize, usize),
    Indicator(Indicator),
    ConstCondition(bool),
    Compare(Comparison, usize, usize),
    And(usize, usize),
    Or(usize, usize),
    Not(usize),
    Crossover(usize, usize),
    Crossunder(usize, usize),
    /// Input, length.
    Rising(usize, usize),
    Falling(usize, usize),
    /// The last visible value of an operation on a higher timeframe.
    At(usize),
    AtCondition(usize),
}

/// An output of an indicator, which is a row of `TABLE`; inputs and arguments beyond those it takes are 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Indicator {
    pub row: usize,
    pub inputs: [usize; MAX_INPUTS],
    pub arguments: [f64; MAX_ARGUMENTS],
    pub output: usize,
}

impl Indicator {
    /// The inputs that it takes.
    pub fn series(&self) -> &[usize] {
        &self.inputs[..TABLE[self.row].inputs]
    }
}

impl Op {
    pub fn is_condition(&self) -> bool {
        matches!(
            self,
            Self::ConstCondition(_)
                | Self::Compare(..)
                | Self::And(..)
                | Self::Or(..)
                | Self::Not(_)
                | Self::Crossover(..)
                | Self::Crossunder(..)
                | Self::Rising(..)
                | Self::Falling(..)
                | Self::AtCondition(_)
        )
    }

    /// The same for equal operations, different for others.
    pub fn key(&self) -> OpKey {
        let at = |i: usize| i as u64;
        let parts = |kind: u64, parts: &[u64]| {
            let mut key = OpKey::default();
            key[0] = kind;
            key[1..=parts.len()].copy_from_slice(parts);
            key
        };
        match *self {
            Self::Column(column) => parts(0, &[column as u64]),
            Self::Const(x) => parts(1, &[x.to_bits()]),
            Self::Binary(kind, a, b) => parts(2, &[kind as u64, at(a), at(b)]),
            Self::Unary(kind, a) => parts(3, &[kind as u64, at(a)]),
            Self::Sma(a, length) => parts(4, &[at(a), at(length)]),
            Self::Smoothed(a, length, alpha) => parts(5, &[at(a), at(length), alpha.to_bits()]),
            Self::Rsi(a, length) => parts(6, &[at(a), at(length)]),
            Self::TrueRange(a, b, c) => parts(7, &[at(a), at(b), at(c)]),
            Self::Shift(a, bars) => parts(8, &[at(a), at(bars)]),
            Self::Indicator(Indicator { row, inputs, arguments, output }) => {
                let mut key = parts(20, &[row as u64, output as u64]);
                key[3..]
                    .iter_mut()
                    .zip(inputs.iter().map(|&i| at(i)).chain(arguments.map(f64::to_bits)))
                    .for_each(|(key, part)| *key = part);
                key
            }
            Self::ConstCondition(value) => parts(9, &[u64::from(value)]),
            Self::Compare(kind, a, b) => parts(10, &[kind as u64, at(a), at(b)]),
            Self::And(a, b) => parts(11, &[at(a), at(b)]),
            Self::Or(a, b) => parts(12, &[at(a), at(b)]),
            Self::Not(a) => parts(13, &[at(a)]),
            Self::Crossover(a, b) => parts(14, &[at(a), at(b)]),
            Self::Crossunder(a, b) => parts(15, &[at(a), at(b)]),
            Self::Time(part) => parts(16, &[part as u64]),
            Self::Select(condition, a, b) => parts(17, &[at(condition), at(a), at(b)]),
            Self::Rising(a, length) => parts(18, &[at(a), at(length)]),
            Self::Falling(a, length) => parts(19, &[at(a), at(length)]),
            Self::At(a) => parts(21, &[at(a)]),
            Self::AtCondition(a) => parts(22, &[at(a)]),
            Self::MeanOfThree(a, b, c) => parts(23, &[at(a), at(b), at(c)]),
            Self::MeanOfFour(a, b, c, d) => parts(24, &[at(a), at(b), at(c), at(d)]),
        }
    }
}
