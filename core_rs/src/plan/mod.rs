//! Plans, the operations that a strategy compiles to: decoded from the nodes of `python_core.language.plan`, and checked once.

pub mod kind;
pub mod op;
pub mod template;

use crate::error::{Error, Result};
use crate::indicators::MAX_INPUTS;
use crate::plan::kind::Kind;
use crate::plan::op::Op;

/// The positions of the operations that give a plan's results.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outputs {
    /// entry_long, exit_long, entry_short, exit_short.
    pub conditions: [Option<usize>; 4],
    /// The series behind the levels of an execution, in the order of `LEVELS` in Python, long and short of each.
    pub levels: [Option<usize>; 10],
    /// In place of conditions: crossings of two series.
    pub crossings: Option<Crossings>,
}

/// Conditions that are all crossings of the same two series.
#[derive(Clone, Copy, Debug)]
pub struct Crossings {
    /// The positions of the series.
    pub a: usize,
    pub b: usize,
    /// Of each condition, whether it is where `a` rises above `b` (true) or falls below it (false).
    pub rises: [Option<bool>; 4],
}

#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub ops: Vec<Op>,
    /// The timeframe of each operation: the length of a higher one as in `market::timeframe`, or 0 for the strategy's.
    pub timeframes_ms: Vec<i64>,
    pub outputs: Outputs,
}

/// An operation as Python sends it: name, inputs, numbers, timeframe.
pub type RawNode = (String, Vec<usize>, Vec<f64>, i64);

impl Plan {
    pub fn decode(nodes: &[RawNode], conditions: [i64; 4], levels: [i64; 10]) -> Result<Self> {
        let mut ops: Vec<Op> = Vec::with_capacity(nodes.len());
        for (name, inputs, numbers, _) in nodes {
            let at = ops.len();
            let error = |what: &str| Error::Plan(format!("operation {at} ({name}): {what}"));
            let kind = Kind::parse(name).ok_or_else(|| error("unknown operation"))?;
            if inputs.len() != kind.inputs() || numbers.len() != kind.arguments() + kind.constants() {
                return Err(error("the count of inputs or numbers is wrong"));
            }
            let mut positions = [0; MAX_INPUTS];
            for (k, (position, &input)) in positions.iter_mut().zip(inputs).enumerate() {
                if ops.get(input).is_none_or(|op| op.is_condition() != kind.takes_condition(k)) {
                    return Err(error("an input is not an earlier operation of the right kind"));
                }
                *position = input;
            }
            let (arguments, constants) = numbers.split_at(kind.arguments());
            let constant = constants.first().copied().unwrap_or(0.0);
            ops.push(kind.build(&positions, arguments, constant).map_err(|what| error(&what))?);
        }
        let timeframes_ms = timeframes(nodes)?;
        let outputs = Outputs::decode(conditions, levels, |i| Some((ops.get(i)?.is_condition(), timeframes_ms[i])))?;
        Ok(Self { ops, timeframes_ms, outputs })
    }
}

impl Outputs {
    /// `operation` gives for a position whether its operation is a condition, and its timeframe.
    pub fn decode(conditions: [i64; 4], levels: [i64; 10], operation: impl Fn(usize) -> Option<(bool, i64)>) -> Result<Self> {
        let position = |i: i64| usize::try_from(i).ok();
        let outputs = Self { conditions: conditions.map(position), levels: levels.map(position), crossings: None };
        for (output, is_condition) in outputs.conditions.iter().map(|i| (i, true)).chain(outputs.levels.iter().map(|i| (i, false))) {
            if output.is_some_and(|i| operation(i) != Some((is_condition, 0))) {
                return Err(Error::Plan("an output is not an operation of the right kind on the strategy's bars".into()));
            }
        }
        Ok(outputs)
    }
}

/// The timeframes of operations: those of their inputs, except for operations that read a higher timeframe.
pub fn timeframes(nodes: &[RawNode]) -> Result<Vec<i64>> {
    for (at, (name, inputs, _, timeframe)) in nodes.iter().enumerate() {
        let reads_higher = name == "at" || name == "at_condition";
        if *timeframe < 0 || inputs.iter().any(|&i| nodes.get(i).is_none_or(|input| (input.3 == *timeframe) == reads_higher)) {
            return Err(Error::Plan(format!("operation {at} ({name}): an input has another timeframe")));
        }
    }
    Ok(nodes.iter().map(|node| node.3).collect())
}
