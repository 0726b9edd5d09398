//! The op list that a strategy compiles to, decoded and checked once.

pub mod kind;
pub mod op;
pub mod template;

use crate::error::{Error, Result};
use crate::indicators::MAX_INPUTS;
use crate::plan::kind::Kind;
use crate::plan::op::Op;

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
            let mut positions = [0; MAX_INPUTS];
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
