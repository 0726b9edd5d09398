//! The kinds of operations by the names that Python sends, and what each takes.

use crate::indicators::{self, MAX_ARGUMENTS, MAX_INPUTS, MAX_LOOKBACK, TABLE};
use crate::market::columns::Column;
use crate::numerics::elementwise::{Binary, Unary};
use crate::plan::op::{Comparison, Indicator, Op, TimePart};

/// An operation without its inputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Column(Column),
    Time(TimePart),
    Const,
    /// A parameter of a template.
    Param,
    ConstCondition,
    Unary(Unary),
    Binary(Binary),
    Select,
    MeanOfThree,
    MeanOfFour,
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
    AtCondition,
}

impl Kind {
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "open" => Self::Column(Column::Open),
            "high" => Self::Column(Column::High),
            "low" => Self::Column(Column::Low),
            "close" => Self::Column(Column::Close),
            "volume" => Self::Column(Column::Volume),
            "time" => Self::Time(TimePart::Epoch),
            "hour" => Self::Time(TimePart::Hour),
            "weekday" => Self::Time(TimePart::Weekday),
            "minute" => Self::Time(TimePart::Minute),
            "const" => Self::Const,
            "param" => Self::Param,
            "const_condition" => Self::ConstCondition,
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
            "hlc3" => Self::MeanOfThree,
            "ohlc4" => Self::MeanOfFour,
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
            "at_condition" => Self::AtCondition,
            _ => Self::Indicator(indicators::find(name)?),
        })
    }

    /// Its name in error messages.
    pub fn name(self) -> String {
        match self {
            Self::Indicator(row) => TABLE[row].name.into(),
            _ => format!("{self:?}").to_lowercase(),
        }
    }

    pub fn inputs(self) -> usize {
        match self {
            Self::Column(_) | Self::Time(_) | Self::Const | Self::Param | Self::ConstCondition => 0,
            Self::Unary(_) | Self::Sma | Self::Ema | Self::Rma | Self::Rsi | Self::Shift | Self::Rising | Self::Falling => 1,
            Self::Not | Self::At | Self::AtCondition => 1,
            Self::Binary(_) | Self::Compare(_) | Self::Crossover | Self::Crossunder | Self::And | Self::Or => 2,
            Self::TrueRange | Self::Select | Self::MeanOfThree => 3,
            Self::MeanOfFour => 4,
            Self::Indicator(row) => TABLE[row].inputs,
        }
    }

    /// Whether it gives a condition; the others give numbers.
    pub fn is_condition(self) -> bool {
        matches!(
            self,
            Self::ConstCondition
                | Self::Compare(_)
                | Self::And
                | Self::Or
                | Self::Not
                | Self::Crossover
                | Self::Crossunder
                | Self::Rising
                | Self::Falling
                | Self::AtCondition
        )
    }

    /// Whether its input `k` is a condition.
    pub fn takes_condition(self, k: usize) -> bool {
        match self {
            Self::Not | Self::And | Self::Or | Self::AtCondition => true,
            Self::Select => k == 0,
            _ => false,
        }
    }

    /// Whether its only argument is a whole number of bars.
    fn takes_length(self) -> bool {
        matches!(self, Self::Sma | Self::Ema | Self::Rma | Self::Rsi | Self::Shift | Self::Rising | Self::Falling)
    }

    /// How many arguments it takes: numbers that parameters may set.
    pub fn arguments(self) -> usize {
        match self {
            Self::Indicator(row) => TABLE[row].arguments.len(),
            _ => usize::from(self.takes_length()),
        }
    }

    /// How many other numbers it takes: a constant value, a parameter's position or an output's.
    pub fn constants(self) -> usize {
        match self {
            Self::Indicator(row) => usize::from(TABLE[row].outputs > 1),
            _ => usize::from(matches!(self, Self::Const | Self::Param | Self::ConstCondition)),
        }
    }

    /// The operation over `inputs` with its arguments and its constant; or what is wrong with one of these.
    pub fn build(self, inputs: &[usize; MAX_INPUTS], arguments: &[f64], constant: f64) -> std::result::Result<Op, String> {
        let [a, b, c, d, ..] = *inputs;
        let length = if self.takes_length() { length_from(arguments[0])? } else { 0 };
        Ok(match self {
            Self::Column(column) => Op::Column(column),
            Self::Time(part) => Op::Time(part),
            Self::Const => Op::Const(constant),
            Self::Param => return Err("is not an operation by itself".into()),
            Self::ConstCondition => Op::ConstCondition(constant != 0.0),
            Self::Unary(kind) => Op::Unary(kind, a),
            Self::Binary(kind) => Op::Binary(kind, a, b),
            Self::Select => Op::Select(a, b, c),
            Self::MeanOfThree => Op::MeanOfThree(a, b, c),
            Self::MeanOfFour => Op::MeanOfFour(a, b, c, d),
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
            Self::AtCondition => Op::AtCondition(a),
        })
    }
}

fn length_from(number: f64) -> std::result::Result<usize, String> {
    if number.fract() == 0.0 && (1.0..=MAX_LOOKBACK).contains(&number) {
        return Ok(number as usize);
    }
    Err(format!("length {number} is not a whole number from 1 to {MAX_LOOKBACK}"))
}

fn indicator(row: usize, inputs: &[usize; MAX_INPUTS], arguments: &[f64], output: f64) -> std::result::Result<Indicator, String> {
    for (argument, &x) in TABLE[row].arguments.iter().zip(arguments) {
        if !argument.allows(x) {
            let kind = if argument.integer { "whole number" } else { "number" };
            let (minimum, maximum) = (argument.minimum, argument.maximum);
            return Err(format!("{} {x} is not a {kind} from {minimum} to {maximum}", argument.name));
        }
    }
    if !(0..TABLE[row].outputs).contains(&(output as usize)) {
        return Err(format!("has no output {output}"));
    }
    let mut numbers = [0.0; MAX_ARGUMENTS];
    numbers[..arguments.len()].copy_from_slice(arguments);
    Ok(Indicator { row, inputs: *inputs, arguments: numbers, output: output as usize })
}
