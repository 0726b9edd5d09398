//! Plans with parameters left open, and their operations for many combinations of these, each distinct one once.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::indicators::{MAX_ARGUMENTS, MAX_INPUTS};
use crate::plan::kind::Kind;
use crate::plan::op::{Key, Op, key};
use crate::plan::{Outputs, RawNode, frames};

/// A plan with parameters left open. Numbers that depend on them, and the arguments of indicators, are nodes too: the arguments are the
/// last inputs.
#[derive(Clone, Debug)]
pub struct Template {
    nodes: Vec<(Kind, Vec<usize>, f64)>,
    frames: Vec<i64>,
    outputs: Outputs,
    pub params: usize,
}

/// More than any strategy has.
const MAX_PARAMS: usize = 1_000;

/// A template's node with its parameters filled in: a number, or an operation of the joint plan.
#[derive(Clone, Copy)]
enum Filled {
    Number(f64),
    Op(usize),
}

impl Template {
    pub fn decode(nodes: &[RawNode], conditions: [i64; 4], levels: [i64; 3], params: usize) -> Result<Self> {
        if params > MAX_PARAMS {
            return Err(Error::Plan("there are too many parameters".into()));
        }
        let mut decoded: Vec<(Kind, Vec<usize>, f64)> = Vec::with_capacity(nodes.len());
        for (name, inputs, numbers, _) in nodes {
            let at = decoded.len();
            let fault = |what: &str| Error::Plan(format!("operation {at} ({name}): {what}"));
            let kind = Kind::parse(name).ok_or_else(|| fault("unknown"))?;
            let number = numbers.first().copied().unwrap_or(0.0);
            let wanted = kind.inputs() + kind.arguments();
            let fits = |(k, &i): (usize, &usize)| decoded.get(i).is_some_and(|(input, ..)| input.is_truth() == kind.takes_truth(k));
            if inputs.len() != wanted || !inputs.iter().enumerate().all(fits) {
                return Err(fault("takes other inputs"));
            }
            if kind == Kind::Param && !(0.0..params as f64).contains(&number) {
                return Err(fault("there is no such parameter"));
            }
            decoded.push((kind, inputs.clone(), number));
        }
        let frames = frames(nodes)?;
        let outputs = Outputs::decode(conditions, levels, |i| Some((decoded.get(i)?.0.is_truth(), frames[i])))?;
        Ok(Self { nodes: decoded, frames, outputs, params })
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
                    let mut positions = [0; MAX_INPUTS];
                    for (position, &input) in positions.iter_mut().zip(&inputs[..count]) {
                        *position = joint.operand(filled[input], self.frames[input]);
                    }
                    let mut arguments = [0.0; MAX_ARGUMENTS];
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
        Ok(Outputs { conditions: self.outputs.conditions.map(&mut output), levels: self.outputs.levels.map(&mut output) })
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
