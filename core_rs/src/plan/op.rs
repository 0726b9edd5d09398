//! The operations of a plan.

use crate::indicators::{MAX_ARGUMENTS, MAX_INPUTS, TABLE};
use crate::market::columns::Column;
use crate::numerics::elementwise::{Binary, Unary};

/// Of a bar's open time, UTC; weekday 0 is Monday.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TimePart {
    /// The time itself, epoch milliseconds.
    Integer,
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

/// One operation; numbers name earlier operations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    Column(Column),
    Time(TimePart),
    Const(f64),
    Unary(Unary, usize),
    Binary(Binary, usize, usize),
    /// Condition, value where it holds, value where it does not.
    Select(usize, usize, usize),
    Sma(usize, usize),
    /// Input, length, alpha.
    Smoothed(usize, usize, f64),
    Rsi(usize, usize),
    TrueRange(usize, usize, usize),
    Shift(usize, usize),
    Indicator(Indicator),
    Truth(bool),
    Compare(Comparison, usize, usize),
    And(usize, usize),
    Or(usize, usize),
    Not(usize),
    Crossover(usize, usize),
    Crossunder(usize, usize),
    /// Input, length.
    Rising(usize, usize),
    Falling(usize, usize),
    /// What the last closed bar of a higher timeframe says, a number or a truth.
    At(usize),
    AtTruth(usize),
}

/// An indicator of the table, by its position there: inputs and arguments, as many as it takes, and which output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Indicator {
    pub row: usize,
    pub inputs: [usize; MAX_INPUTS],
    pub arguments: [f64; MAX_ARGUMENTS],
    pub output: usize,
}

impl Indicator {
    /// The positions of its inputs.
    pub fn series(&self) -> &[usize] {
        &self.inputs[..TABLE[self.row].inputs]
    }
}

impl Op {
    pub fn is_truth(&self) -> bool {
        matches!(
            self,
            Self::Truth(_)
                | Self::Compare(..)
                | Self::And(..)
                | Self::Or(..)
                | Self::Not(_)
                | Self::Crossover(..)
                | Self::Crossunder(..)
                | Self::Rising(..)
                | Self::Falling(..)
                | Self::AtTruth(_)
        )
    }
}

/// Equal for equal operations.
pub type Key = [u64; 3 + MAX_INPUTS + MAX_ARGUMENTS];

pub fn key(op: &Op) -> Key {
    let at = |i: usize| i as u64;
    let parts = |kind: u64, parts: &[u64]| {
        let mut key = Key::default();
        key[0] = kind;
        key[1..=parts.len()].copy_from_slice(parts);
        key
    };
    match *op {
        Op::Column(column) => parts(0, &[column as u64]),
        Op::Const(x) => parts(1, &[x.to_bits()]),
        Op::Binary(kind, a, b) => parts(2, &[kind as u64, at(a), at(b)]),
        Op::Unary(kind, a) => parts(3, &[kind as u64, at(a)]),
        Op::Sma(a, length) => parts(4, &[at(a), at(length)]),
        Op::Smoothed(a, length, alpha) => parts(5, &[at(a), at(length), alpha.to_bits()]),
        Op::Rsi(a, length) => parts(6, &[at(a), at(length)]),
        Op::TrueRange(a, b, c) => parts(7, &[at(a), at(b), at(c)]),
        Op::Shift(a, bars) => parts(8, &[at(a), at(bars)]),
        Op::Indicator(Indicator { row, inputs, arguments, output }) => {
            let mut key = parts(20, &[row as u64, output as u64]);
            key[3..].iter_mut().zip(inputs.iter().map(|&i| at(i)).chain(arguments.map(f64::to_bits))).for_each(|(key, part)| *key = part);
            key
        }
        Op::Truth(value) => parts(9, &[u64::from(value)]),
        Op::Compare(kind, a, b) => parts(10, &[kind as u64, at(a), at(b)]),
        Op::And(a, b) => parts(11, &[at(a), at(b)]),
        Op::Or(a, b) => parts(12, &[at(a), at(b)]),
        Op::Not(a) => parts(13, &[at(a)]),
        Op::Crossover(a, b) => parts(14, &[at(a), at(b)]),
        Op::Crossunder(a, b) => parts(15, &[at(a), at(b)]),
        Op::Time(part) => parts(16, &[part as u64]),
        Op::Select(condition, a, b) => parts(17, &[at(condition), at(a), at(b)]),
        Op::Rising(a, length) => parts(18, &[at(a), at(length)]),
        Op::Falling(a, length) => parts(19, &[at(a), at(length)]),
        Op::At(a) => parts(21, &[at(a)]),
        Op::AtTruth(a) => parts(22, &[at(a)]),
    }
}
