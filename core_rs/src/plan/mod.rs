//! The op list that a strategy compiles to, decoded and checked once.

pub mod template;

use crate::error::{Error, Result};
use crate::indicators::{self, ARGUMENTS, INPUTS, MAX_LOOKBACK, TABLE};
use crate::market::columns::Column;
use crate::numerics::elementwise::{Binary, Unary};

/// Of a bar's open time, UTC; weekday 0 is Monday.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TimePart {
    /// The time itself, epoch milliseconds.
    Whole,
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
    pub inputs: [usize; INPUTS],
    pub arguments: [f64; ARGUMENTS],
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

/// Where a plan's results are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outputs {
    /// Positions of entry_long, exit_long, entry_short, exit_short.
    pub conditions: [Option<usize>; 4],
    /// Positions of the series behind stop_loss, take_profit, trailing_stop.
    pub levels: [Option<usize>; 3],
}

#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub ops: Vec<Op>,
    /// The bars that each operation runs on: the length of a higher timeframe's in milliseconds, or 0 for the strategy's.
    pub frames: Vec<i64>,
    pub outputs: Outputs,
}

/// An operation as Python sends it: name, inputs, numbers, frame.
pub type RawNode = (String, Vec<usize>, Vec<f64>, i64);

/// What an operation is, before it has its inputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Column(Column),
    Time(TimePart),
    Const,
    /// A parameter of a template.
    Param,
    Truth,
    Unary(Unary),
    Binary(Binary),
    Select,
    Sma,
    Ema,
    Rma,
    Rsi,
    TrueRange,
    Shift,
    Indicator(usize),
    Compare(Comparison),
    And,
    Or,
    Not,
    Crossover,
    Crossunder,
    Rising,
    Falling,
    At,
    AtTruth,
}

impl Kind {
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "open" => Self::Column(Column::Open),
            "high" => Self::Column(Column::High),
            "low" => Self::Column(Column::Low),
            "close" => Self::Column(Column::Close),
            "volume" => Self::Column(Column::Volume),
            "time" => Self::Time(TimePart::Whole),
            "hour" => Self::Time(TimePart::Hour),
            "weekday" => Self::Time(TimePart::Weekday),
            "minute" => Self::Time(TimePart::Minute),
            "const" => Self::Const,
            "param" => Self::Param,
            "truth" => Self::Truth,
            "neg" => Self::Unary(Unary::Neg),
            "abs" => Self::Unary(Unary::Abs),
            "log" => Self::Unary(Unary::Log),
            "exp" => Self::Unary(Unary::Exp),
            "sqrt" => Self::Unary(Unary::Sqrt),
            "sign" => Self::Unary(Unary::Sign),
            "add" => Self::Binary(Binary::Add),
            "sub" => Self::Binary(Binary::Sub),
            "mul" => Self::Binary(Binary::Mul),
            "div" => Self::Binary(Binary::Div),
            "min" => Self::Binary(Binary::Min),
            "max" => Self::Binary(Binary::Max),
            "select" => Self::Select,
            "sma" => Self::Sma,
            "ema" => Self::Ema,
            "rma" => Self::Rma,
            "rsi" => Self::Rsi,
            "true_range" => Self::TrueRange,
            "shift" => Self::Shift,
            "lt" => Self::Compare(Comparison::Lt),
            "le" => Self::Compare(Comparison::Le),
            "gt" => Self::Compare(Comparison::Gt),
            "ge" => Self::Compare(Comparison::Ge),
            "eq" => Self::Compare(Comparison::Eq),
            "ne" => Self::Compare(Comparison::Ne),
            "and" => Self::And,
            "or" => Self::Or,
            "not" => Self::Not,
            "crossover" => Self::Crossover,
            "crossunder" => Self::Crossunder,
            "rising" => Self::Rising,
            "falling" => Self::Falling,
            "at" => Self::At,
            "at_truth" => Self::AtTruth,
            _ => Self::Indicator(indicators::find(name)?),
        })
    }

    /// What an error calls it.
    pub fn name(self) -> String {
        match self {
            Self::Indicator(row) => TABLE[row].name.into(),
            _ => format!("{self:?}"),
        }
    }

    pub fn inputs(self) -> usize {
        match self {
            Self::Column(_) | Self::Time(_) | Self::Const | Self::Param | Self::Truth => 0,
            Self::Unary(_) | Self::Sma | Self::Ema | Self::Rma | Self::Rsi | Self::Shift | Self::Rising | Self::Falling => 1,
            Self::Not | Self::At | Self::AtTruth => 1,
            Self::Binary(_) | Self::Compare(_) | Self::Crossover | Self::Crossunder | Self::And | Self::Or => 2,
            Self::TrueRange | Self::Select => 3,
            Self::Indicator(row) => TABLE[row].inputs,
        }
    }

    /// Whether it gives truths; the others give numbers.
    pub fn is_truth(self) -> bool {
        matches!(
            self,
            Self::Truth
                | Self::Compare(_)
                | Self::And
                | Self::Or
                | Self::Not
                | Self::Crossover
                | Self::Crossunder
                | Self::Rising
                | Self::Falling
                | Self::AtTruth
        )
    }

    /// Whether its input `k` is a truth.
    pub fn takes_truth(self, k: usize) -> bool {
        match self {
            Self::Not | Self::And | Self::Or | Self::AtTruth => true,
            Self::Select => k == 0,
            _ => false,
        }
    }

    /// Whether it takes one whole number of bars.
    fn takes_length(self) -> bool {
        matches!(self, Self::Sma | Self::Ema | Self::Rma | Self::Rsi | Self::Shift | Self::Rising | Self::Falling)
    }

    /// Numbers that decide what it computes.
    pub fn arguments(self) -> usize {
        match self {
            Self::Indicator(row) => TABLE[row].arguments.len(),
            _ => usize::from(self.takes_length()),
        }
    }

    /// Numbers that are none of its arguments: a value, or which output.
    fn constants(self) -> usize {
        match self {
            Self::Indicator(row) => usize::from(TABLE[row].outputs > 1),
            _ => usize::from(matches!(self, Self::Const | Self::Param | Self::Truth)),
        }
    }

    /// The operation over `inputs`, as many as it takes, with its arguments and its constant; or what is wrong with the numbers.
    pub fn build(self, inputs: &[usize; INPUTS], arguments: &[f64], constant: f64) -> std::result::Result<Op, String> {
        let [a, b, c, ..] = *inputs;
        let length = if self.takes_length() { whole(arguments[0])? } else { 0 };
        Ok(match self {
            Self::Column(column) => Op::Column(column),
            Self::Time(part) => Op::Time(part),
            Self::Const => Op::Const(constant),
            Self::Param => return Err("is no operation by itself".into()),
            Self::Truth => Op::Truth(constant != 0.0),
            Self::Unary(kind) => Op::Unary(kind, a),
            Self::Binary(kind) => Op::Binary(kind, a, b),
            Self::Select => Op::Select(a, b, c),
            Self::Sma => Op::Sma(a, length),
            Self::Ema => Op::Smoothed(a, length, 2.0 / (length as f64 + 1.0)),
            Self::Rma => Op::Smoothed(a, length, 1.0 / length as f64),
            Self::Rsi => Op::Rsi(a, length),
            Self::TrueRange => Op::TrueRange(a, b, c),
            Self::Shift => Op::Shift(a, length),
            Self::Indicator(row) => Op::Indicator(indicator(row, inputs, arguments, constant)?),
            Self::Compare(kind) => Op::Compare(kind, a, b),
            Self::And => Op::And(a, b),
            Self::Or => Op::Or(a, b),
            Self::Not => Op::Not(a),
            Self::Crossover => Op::Crossover(a, b),
            Self::Crossunder => Op::Crossunder(a, b),
            Self::Rising => Op::Rising(a, length),
            Self::Falling => Op::Falling(a, length),
            Self::At => Op::At(a),
            Self::AtTruth => Op::AtTruth(a),
        })
    }
}

fn whole(number: f64) -> std::result::Result<usize, String> {
    if number.fract() == 0.0 && (1.0..=MAX_LOOKBACK).contains(&number) {
        return Ok(number as usize);
    }
    Err(format!("gets the length {number}, which is not a whole number from 1 to {MAX_LOOKBACK}"))
}

fn indicator(row: usize, inputs: &[usize; INPUTS], arguments: &[f64], output: f64) -> std::result::Result<Indicator, String> {
    for (argument, &x) in TABLE[row].arguments.iter().zip(arguments) {
        if !argument.allows(x) {
            let kind = if argument.whole { "whole number" } else { "number" };
            let (least, most) = (argument.least, argument.most);
            return Err(format!("gets the {} {x}, which is not a {kind} from {least} to {most}", argument.name));
        }
    }
    if !(0..TABLE[row].outputs).contains(&(output as usize)) {
        return Err(format!("has no output {output}"));
    }
    let mut numbers = [0.0; ARGUMENTS];
    numbers[..arguments.len()].copy_from_slice(arguments);
    Ok(Indicator { row, inputs: *inputs, arguments: numbers, output: output as usize })
}

impl Plan {
    pub fn decode(nodes: &[RawNode], conditions: [i64; 4], levels: [i64; 3]) -> Result<Self> {
        let mut ops: Vec<Op> = Vec::with_capacity(nodes.len());
        for (name, inputs, numbers, _) in nodes {
            let at = ops.len();
            let fault = |what: &str| Error::Plan(format!("operation {at} ({name}): {what}"));
            let kind = Kind::parse(name).ok_or_else(|| fault("unknown"))?;
            if inputs.len() != kind.inputs() || numbers.len() != kind.arguments() + kind.constants() {
                return Err(fault("takes other inputs or numbers"));
            }
            let mut positions = [0; INPUTS];
            for (k, (position, &input)) in positions.iter_mut().zip(inputs).enumerate() {
                if ops.get(input).is_none_or(|op| op.is_truth() != kind.takes_truth(k)) {
                    return Err(fault("an input is no earlier operation of the right kind"));
                }
                *position = input;
            }
            let (arguments, constants) = numbers.split_at(kind.arguments());
            let constant = constants.first().copied().unwrap_or(0.0);
            ops.push(kind.build(&positions, arguments, constant).map_err(|what| fault(&what))?);
        }
        let frames = frames(nodes)?;
        let outputs = Outputs::decode(conditions, levels, |i| Some((ops.get(i)?.is_truth(), frames[i])))?;
        Ok(Self { ops, frames, outputs })
    }
}

impl Outputs {
    /// `operation` says whether the one at a position gives truths, and on which bars.
    pub fn decode(conditions: [i64; 4], levels: [i64; 3], operation: impl Fn(usize) -> Option<(bool, i64)>) -> Result<Self> {
        let position = |i: i64| usize::try_from(i).ok();
        let outputs = Self { conditions: conditions.map(position), levels: levels.map(position) };
        for (wanted, truth) in outputs.conditions.iter().map(|i| (i, true)).chain(outputs.levels.iter().map(|i| (i, false))) {
            if wanted.is_some_and(|i| operation(i) != Some((truth, 0))) {
                return Err(Error::Plan("an output is no operation of the right kind on the strategy's bars".into()));
            }
        }
        Ok(outputs)
    }
}

/// The frames of operations, which run on the bars of their inputs but for those that look at a higher timeframe.
pub fn frames(nodes: &[RawNode]) -> Result<Vec<i64>> {
    for (at, (name, inputs, _, frame)) in nodes.iter().enumerate() {
        let looks_up = name == "at" || name == "at_truth";
        if *frame < 0 || inputs.iter().any(|&i| nodes.get(i).is_none_or(|input| (input.3 == *frame) == looks_up)) {
            return Err(Error::Plan(format!("operation {at} ({name}): an input runs on other bars")));
        }
    }
    Ok(nodes.iter().map(|node| node.3).collect())
}

/// Equal for equal operations.
pub type Key = [u64; 3 + INPUTS + ARGUMENTS];

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
