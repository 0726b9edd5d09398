//! The operations of a plan over tiles; what each computes is documented with its Python twin, `python_core.signals`.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::indicators::{MAX_INPUTS, RunningIndicator};
use crate::market::Market;
use crate::market::columns::Columns;
use crate::market::frame::Frame;
use crate::market::higher_timeframe::{CloseTimes, HigherTimeframe};
use crate::numerics::elementwise::any_nan;
use crate::plan::Plan;
use crate::plan::op::{Indicator, Op, OpKey};
use crate::signals::operations::{State, output, pair_crossings, step};
use crate::signals::retained::{Kept, within};
use crate::signals::tile::{Inputs, Output, Truth};
use crate::simd::bitmask::{self, WORDS};

/// Evaluates operations tile by tile.
#[derive(Debug)]
pub struct Evaluator {
    ops: Vec<Op>,
    /// The timeframe that each operation runs on: 0 for the strategy's, then those of `higher`.
    timeframe_of: Vec<usize>,
    strategy_ms: i64,
    higher: Vec<HigherTimeframe>,
    states: Vec<State>,
    outputs: Vec<Output>,
    kept: Vec<Kept>,
    /// Indicators, in the order of the first operations that want them.
    running: Vec<RunningIndicator>,
}

impl Evaluator {
    /// `timeframes` are those of the operations, as in a plan.
    pub fn new(ops: &[Op], timeframes: &[i64], market: &Market<'_>, strategy_ms: i64) -> Result<Self> {
        let (mut higher, mut timeframe_of): (Vec<HigherTimeframe>, Vec<usize>) = (Vec::new(), Vec::new());
        for &length_ms in timeframes {
            let known = higher.iter().position(|one| one.length_ms() == length_ms);
            if length_ms > 0 && known.is_none() {
                if strategy_ms <= 0 || length_ms % strategy_ms != 0 {
                    return Err(Error::Input("a higher timeframe is no whole multiple of the strategy's".into()));
                }
                higher.push(HigherTimeframe::new(length_ms, market, columns_read(ops, timeframes, length_ms))?);
            }
            timeframe_of.push(if length_ms > 0 { known.map_or(higher.len(), |k| k + 1) } else { 0 });
        }
        let ops: Vec<Op> = ops.iter().map(|&op| within(op, market.len())).collect();
        let mut states: Vec<State> = ops.iter().map(State::of).collect();
        pair_crossings(&ops, &mut states);
        let mut outputs: Vec<Output> = ops.iter().map(output).collect();
        let running = share(&ops, &mut states, &mut outputs);
        Ok(Self { kept: Kept::all(&ops), ops, timeframe_of, strategy_ms, higher, states, outputs, running })
    }

    /// Run every operation over the next tile.
    pub fn run(&mut self, frame: &Frame<'_>) {
        for higher in &mut self.higher {
            higher.advance(frame.market(), frame.start..frame.end);
        }
        let strategy = frame.columns();
        for i in 0..self.ops.len() {
            let own = self.timeframe_of[i];
            let columns = if own == 0 { &strategy } else { &self.higher[own - 1].columns() };
            let n = columns.close.len();
            if n == 0 && own > 0 {
                continue;
            }
            if let Op::At(input) | Op::AtCondition(input) = self.ops[i] {
                self.look_up(i, input, &strategy);
                continue;
            }
            let (earlier, later) = self.outputs.split_at_mut(i);
            let (earlier_states, states) = self.states.split_at_mut(i);
            if let (Op::Indicator(indicator), State::Indicator(r)) = (self.ops[i], &states[0]) {
                let (before, this) = self.running.split_at_mut(*r);
                let inputs = Inputs { outputs: earlier, running: before, columns: *columns, n };
                let mut series = [&[][..]; MAX_INPUTS];
                series.iter_mut().zip(indicator.series()).for_each(|(series, &input)| *series = inputs.number(input).0);
                this[0].run(&series[..indicator.series().len()], n);
            } else {
                let inputs = Inputs { outputs: earlier, running: &self.running, columns: *columns, n };
                step(self.ops[i], &mut states[0], earlier_states, &inputs, &mut later[0], &self.kept);
            }
            if !self.kept[i].is_none() {
                let inputs = Inputs { outputs: &self.outputs[..=i], running: &self.running, columns: *columns, n };
                let (values, nan) = inputs.number(i);
                self.kept[i].push(values, nan);
            }
        }
    }

    /// What operation `i` sees of its input, which runs on a higher timeframe.
    fn look_up(&mut self, i: usize, input: usize, strategy: &Columns<'_>) {
        let columns_of = |frame: usize| if frame == 0 { *strategy } else { self.higher[frame - 1].columns() };
        let closes_of = |frame: usize| CloseTimes {
            time: columns_of(frame).time,
            length_ms: if frame == 0 { self.strategy_ms } else { self.higher[frame - 1].length_ms() },
        };
        let (fine, coarse) = (closes_of(self.timeframe_of[i]), closes_of(self.timeframe_of[input]));
        let (earlier, later) = self.outputs.split_at_mut(i);
        let inputs =
            Inputs { outputs: earlier, running: &self.running, columns: columns_of(self.timeframe_of[input]), n: coarse.time.len() };
        match (&mut self.states[i], &mut later[0]) {
            (State::LastNumber(seen), Output::Number { values, nan }) => {
                let coarse_values = inputs.number(input).0;
                seen.run(fine, coarse, |k| coarse_values[k], |range, value| values.0[range].fill(value));
                *nan = any_nan(&values.0[..fine.time.len()]);
            }
            (State::LastCondition(seen), Output::Truth(truth)) => {
                let coarse_truth = inputs.truth(input);
                (truth.value, truth.known) = ([0; WORDS], [0; WORDS]);
                seen.run(
                    fine,
                    coarse,
                    |k| (bitmask::get(&coarse_truth.value, k), bitmask::get(&coarse_truth.known, k)),
                    |range, (value, known)| {
                        for (mask, set) in [(&mut truth.value, value), (&mut truth.known, known)] {
                            if set {
                                bitmask::set_range(mask, &range);
                            }
                        }
                    },
                );
            }
            _ => {}
        }
        if !self.kept[i].is_none() {
            let inputs = Inputs { outputs: &self.outputs[..=i], running: &self.running, columns: *strategy, n: fine.time.len() };
            let (values, nan) = inputs.number(i);
            self.kept[i].push(values, nan);
        }
    }

    pub fn truth(&self, i: usize) -> &Truth {
        match &self.outputs[i] {
            Output::Truth(truth) => truth,
            _ => unreachable!("a plan's conditions were checked to be truths"),
        }
    }

    pub fn number<'a>(&'a self, i: usize, columns: &Columns<'a>) -> &'a [f64] {
        Inputs { outputs: &self.outputs, running: &self.running, columns: *columns, n: columns.close.len() }.number(i).0
    }
}

/// The running indicators: operations that differ in their output only share one, and the first of them runs it.
fn share(ops: &[Op], states: &mut [State], outputs: &mut [Output]) -> Vec<RunningIndicator> {
    let (mut running, mut seen): (Vec<RunningIndicator>, HashMap<OpKey, usize>) = (Vec::new(), HashMap::new());
    for (i, op) in ops.iter().enumerate() {
        if let Op::Indicator(indicator) = *op {
            let r = *seen.entry(Op::Indicator(Indicator { output: 0, ..indicator }).key()).or_insert_with(|| {
                states[i] = State::Indicator(running.len());
                running.push(RunningIndicator::new(indicator.row, &indicator.arguments));
                running.len() - 1
            });
            outputs[i] = Output::Indicator(r, indicator.output);
        }
    }
    running
}

/// Which columns the operations on a higher timeframe read.
fn columns_read(ops: &[Op], timeframes: &[i64], length_ms: i64) -> [bool; 5] {
    let mut wanted = [false; 5];
    for (op, &frame) in ops.iter().zip(timeframes) {
        if let (Op::Column(column), true) = (op, frame == length_ms) {
            wanted[*column as usize] = true;
        }
    }
    wanted
}

/// The values of the operations `wanted`, which are numbers, on every strategy bar of a market.
pub fn values(market: Market<'_>, plan: &Plan, wanted: &[usize], timeframe_ms: i64) -> Result<Vec<Vec<f64>>> {
    if wanted.iter().any(|&i| plan.ops.get(i).is_none_or(Op::is_condition) || plan.timeframes[i] != 0) {
        return Err(Error::Plan("what is wanted is no operation that gives numbers".into()));
    }
    let mut frame = Frame::new(market, timeframe_ms)?;
    let mut evaluator = Evaluator::new(&plan.ops, &plan.timeframes, &market, timeframe_ms)?;
    let mut values = vec![Vec::new(); wanted.len()];
    while frame.advance() {
        evaluator.run(&frame);
        let columns = frame.columns();
        for (values, &i) in values.iter_mut().zip(wanted) {
            values.extend_from_slice(evaluator.number(i, &columns));
        }
    }
    Ok(values)
}
