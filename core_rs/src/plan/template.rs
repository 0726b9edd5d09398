//! Plans with open parameters, and joined plans of many combinations of these, in which equal operations appear once.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::indicators::{MAX_ARGUMENTS, MAX_INPUTS};
use crate::plan::kind::Kind;
use crate::plan::op::{Op, OpKey};
use crate::plan::{Crossings, Outputs, RawNode, timeframes};

/// A plan with open parameters. Numbers that depend on them and the arguments of indicators are nodes, too; the arguments are the last
/// inputs.
#[derive(Clone, Debug)]
pub struct Template {
    /// Kind, inputs and constant of each node.
    nodes: Vec<(Kind, Vec<usize>, f64)>,
    timeframes_ms: Vec<i64>,
    pub outputs: Outputs,
    pub params: usize,
}

/// More than any strategy has.
const MAX_PARAMS: usize = 1_000;

/// What a node becomes with given parameters: a number, or an operation of the joined plan.
#[derive(Clone, Copy)]
enum Value {
    Number(f64),
    Op(usize),
}

impl Template {
    pub fn decode(nodes: &[RawNode], conditions: [i64; 4], levels: [i64; 10], params: usize) -> Result<Self> {
        if params > MAX_PARAMS {
            return Err(Error::Plan(format!("more than {MAX_PARAMS} parameters")));
        }
        let mut decoded: Vec<(Kind, Vec<usize>, f64)> = Vec::with_capacity(nodes.len());
        for (name, inputs, numbers, _) in nodes {
            let at = decoded.len();
            let error = |what: &str| Error::Plan(format!("operation {at} ({name}): {what}"));
            let kind = Kind::parse(name).ok_or_else(|| error("unknown operation"))?;
            let number = numbers.first().copied().unwrap_or(0.0);
            let expected = kind.inputs() + kind.arguments();
            let fits = |(k, &i): (usize, &usize)| decoded.get(i).is_some_and(|(input, ..)| input.is_condition() == kind.takes_condition(k));
            if inputs.len() != expected || !inputs.iter().enumerate().all(fits) {
                return Err(error("the inputs are wrong"));
            }
            if kind == Kind::Param && !(0.0..params as f64).contains(&number) {
                return Err(error("the parameter does not exist"));
            }
            decoded.push((kind, inputs.clone(), number));
        }
        let timeframes_ms = timeframes(nodes)?;
        let outputs = Outputs::decode(conditions, levels, |i| Some((decoded.get(i)?.0.is_condition(), timeframes_ms[i])))?;
        Ok(Self { nodes: decoded, timeframes_ms, outputs, params })
    }

    /// The same template with `Outputs::crossings`, if all its conditions are crossings of the same two series and nothing else reads them.
    pub fn with_crossings(&self) -> Option<Self> {
        let (mut series, mut rises) = (None, [None; 4]);
        for (rises, condition) in rises.iter_mut().zip(self.outputs.conditions) {
            let Some(at) = condition else { continue };
            let (kind, inputs, _) = &self.nodes[at];
            let is_over = match kind {
                Kind::Crossover => true,
                Kind::Crossunder => false,
                _ => return None,
            };
            let (a, b) = *series.get_or_insert((inputs[0], inputs[1]));
            *rises = match (inputs[0], inputs[1]) {
                pair if pair == (a, b) => Some(is_over),
                pair if pair == (b, a) => Some(!is_over),
                _ => return None,
            };
        }
        let is_read = |at: usize| self.nodes.iter().any(|(_, inputs, _)| inputs.contains(&at));
        if self.outputs.conditions.into_iter().flatten().any(is_read) {
            return None;
        }
        let (a, b) = series?;
        let outputs = Outputs { crossings: Some(Crossings { a, b, rises }), ..self.outputs };
        Some(Self { outputs, ..self.clone() })
    }

    /// Add the operations for one combination of parameters to a joined plan; returns their outputs there.
    pub fn instantiate(&self, params: &[f64], joined: &mut JoinedPlan) -> Result<Outputs> {
        let mut values: Vec<Value> = Vec::with_capacity(self.nodes.len());
        let crossings = self.outputs.crossings;
        for (at, ((kind, inputs, number), &timeframe)) in self.nodes.iter().zip(&self.timeframes_ms).enumerate() {
            if crossings.is_some() && self.outputs.conditions.contains(&Some(at)) {
                values.push(Value::Number(f64::NAN)); // not needed: orders are made from the series that cross
                continue;
            }
            let number_of = |k: usize| match values[inputs[k]] {
                Value::Number(x) => Some(x),
                Value::Op(_) => None,
            };
            let value = match kind {
                Kind::Const => Value::Number(*number),
                Kind::Param => Value::Number(params[*number as usize]),
                Kind::Unary(op) if number_of(0).is_some() => Value::Number(op.of(number_of(0).unwrap_or(f64::NAN))),
                Kind::Binary(op) if number_of(0).is_some() && number_of(1).is_some() => {
                    Value::Number(op.of(number_of(0).unwrap_or(f64::NAN), number_of(1).unwrap_or(f64::NAN)))
                }
                _ => {
                    let count = kind.inputs();
                    let mut positions = [0; MAX_INPUTS];
                    for (position, &input) in positions.iter_mut().zip(&inputs[..count]) {
                        *position = joined.operand(values[input], self.timeframes_ms[input]);
                    }
                    let mut arguments = [0.0; MAX_ARGUMENTS];
                    for (k, argument) in arguments.iter_mut().enumerate().take(kind.arguments()) {
                        *argument = number_of(count + k).ok_or_else(|| Error::Plan("an argument is not a number".into()))?;
                    }
                    let op = kind.build(&positions, &arguments[..kind.arguments()], *number);
                    let op = op.map_err(|what| Error::Input(format!("{}: {what}", kind.name())))?;
                    Value::Op(joined.add(op, timeframe))
                }
            };
            values.push(value);
        }
        let mut output = |i: Option<usize>| i.map(|i| joined.operand(values[i], self.timeframes_ms[i]));
        let levels = self.outputs.levels.map(&mut output);
        if let Some(Crossings { a, b, rises }) = crossings {
            let [a, b] = [a, b].map(|i| joined.operand(values[i], self.timeframes_ms[i]));
            return Ok(Outputs { conditions: [None; 4], levels, crossings: Some(Crossings { a, b, rises }) });
        }
        Ok(Outputs { conditions: self.outputs.conditions.map(&mut output), levels, crossings: None })
    }
}

/// The operations of many plans; equal ones appear once.
#[derive(Debug, Default)]
pub struct JoinedPlan {
    pub ops: Vec<Op>,
    pub timeframes_ms: Vec<i64>,
    positions: HashMap<(OpKey, i64), usize>,
}

impl JoinedPlan {
    fn operand(&mut self, value: Value, timeframe: i64) -> usize {
        match value {
            Value::Op(i) => i,
            Value::Number(x) => self.add(Op::Const(x), timeframe),
        }
    }

    fn add(&mut self, op: Op, timeframe: i64) -> usize {
        *self.positions.entry((op.key(), timeframe)).or_insert_with(|| {
            self.ops.push(op);
            self.timeframes_ms.push(timeframe);
            self.ops.len() - 1
        })
    }
}
