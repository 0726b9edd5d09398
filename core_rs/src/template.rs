//! Plans with parameters left open, and their operations for many combinations of these, each distinct one once.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::indicators::{ARGUMENTS, INPUTS};
use crate::plan::{Key, Kind, Op, Outputs, RawNode, frames, key, position};

/// A plan with parameters left open. Numbers that depend on them, and the arguments of indicators, are nodes too: the arguments are the
/// last inputs.
#[derive(Clone, Debug)]
pub struct Template {
    nodes: Vec<(Kind, Vec<usize>, f64)>,
    frames: Vec<i64>,
    conditions: [Option<usize>; 4],
    levels: [Option<usize>; 3],
    pub params: usize,
}

/// A template's node with its parameters filled in: a number, or an operation of the joint plan.
#[derive(Clone, Copy)]
enum Filled {
    Number(f64),
    Op(usize),
}

impl Template {
    pub fn decode(nodes: &[RawNode], conditions: [i64; 4], levels: [i64; 3], params: usize) -> Result<Self> {
        let mut decoded: Vec<(Kind, Vec<usize>, f64)> = Vec::with_capacity(nodes.len());
        for (name, inputs, numbers, _) in nodes {
            let at = decoded.len();
            let fault = |what: &str| Error::Plan(format!("operation {at} ({name}): {what}"));
            let kind = Kind::parse(name).ok_or_else(|| fault("unknown"))?;
            let number = numbers.first().copied().unwrap_or(0.0);
            let wanted = kind.inputs() + kind.arguments();
            if inputs.len() != wanted || inputs.iter().any(|&i| i >= at) {
                return Err(fault("takes other inputs"));
            }
            if kind == Kind::Param && !(0.0..params as f64).contains(&number) {
                return Err(fault("there is no such parameter"));
            }
            decoded.push((kind, inputs.clone(), number));
        }
        let (conditions, levels) = (conditions.map(position), levels.map(position));
        if conditions.iter().chain(&levels).flatten().any(|&i| i >= decoded.len()) {
            return Err(Error::Plan("an output is no operation".into()));
        }
        Ok(Self { nodes: decoded, frames: frames(nodes)?, conditions, levels, params })
    }

    /// Add the operations of one combination of parameters to a joint plan, each distinct one once; gives its outputs.
    pub fn fill(&self, params: &[f64], joint: &mut Joint) -> Result<Outputs> {
        let mut filled: Vec<Filled> = Vec::with_capacity(self.nodes.len());
        for ((kind, inputs, number), &frame) in self.nodes.iter().zip(&self.frames) {
            let numbers = |k: usize| match filled[inputs[k]] {
                Filled::Number(x) => Some(x),
                Filled::Op(_) => None,
            };
            let value = match kind {
                Kind::Const => Filled::Number(*number),
                Kind::Param => Filled::Number(params[*number as usize]),
                Kind::Unary(op) if numbers(0).is_some() => Filled::Number(op.of(numbers(0).unwrap_or(f64::NAN))),
                Kind::Binary(op) if numbers(0).is_some() && numbers(1).is_some() => {
                    Filled::Number(op.of(numbers(0).unwrap_or(f64::NAN), numbers(1).unwrap_or(f64::NAN)))
                }
                _ => {
                    let count = kind.inputs();
                    let mut positions = [0; INPUTS];
                    for (position, &input) in positions.iter_mut().zip(&inputs[..count]) {
                        *position = joint.operand(filled[input], self.frames[input]);
                    }
                    let mut arguments = [0.0; ARGUMENTS];
                    for (k, argument) in arguments.iter_mut().enumerate().take(kind.arguments()) {
                        *argument = numbers(count + k).ok_or_else(|| Error::Plan("an argument is no number".into()))?;
                    }
                    let op = kind.build(&positions, &arguments[..kind.arguments()], *number);
                    let op = op.map_err(|what| Error::Input(format!("{} {what}", kind.name())))?;
                    Filled::Op(joint.add(op, frame))
                }
            };
            filled.push(value);
        }
        let mut output = |i: Option<usize>| i.map(|i| joint.operand(filled[i], self.frames[i]));
        Ok(Outputs { conditions: self.conditions.map(&mut output), levels: self.levels.map(&mut output) })
    }
}

/// Operations of many plans, each distinct one once.
#[derive(Debug, Default)]
pub struct Joint {
    pub ops: Vec<Op>,
    pub frames: Vec<i64>,
    seen: HashMap<(Key, i64), usize>,
}

impl Joint {
    fn operand(&mut self, filled: Filled, frame: i64) -> usize {
        match filled {
            Filled::Op(i) => i,
            Filled::Number(x) => self.add(Op::Const(x), frame),
        }
    }

    fn add(&mut self, op: Op, frame: i64) -> usize {
        *self.seen.entry((key(&op), frame)).or_insert_with(|| {
            self.ops.push(op);
            self.frames.push(frame);
            self.ops.len() - 1
        })
    }
}
