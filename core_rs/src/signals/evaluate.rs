//! Evaluates the operations of a plan tile by tile: the twin of `python_core.engine.evaluate`.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::indicators::{MAX_INPUTS, RunningIndicator};
use crate::market::Market;
use crate::market::columns::Columns;
use crate::market::frame::Frame;
use crate::market::higher_timeframe::HigherTimeframe;
use crate::market::timeframe::fits;
use crate::numerics::elementwise::any_nan;
use crate::plan::Plan;
use crate::plan::op::{Indicator, Op, OpKey};
use crate::signals::operations::{State, compute, share_comparisons, tile};
use crate::signals::retained::{Retained, limit_lookback};
use crate::signals::tile::{Condition, Inputs, Tile};
use crate::simd::bitmask::{self, WORDS};

#[derive(Debug)]
pub struct Evaluator {
    ops: Vec<Op>,
    /// The timeframe of each operation: 0 for the strategy's, k + 1 for `higher[k]`.
    timeframe_of: Vec<usize>,
    fill_at_close: bool,
    higher: Vec<HigherTimeframe>,
    states: Vec<State>,
    tiles: Vec<Tile>,
    retained: Vec<Retained>,
    /// Indicators, in the order of the first operations that read them.
    running: Vec<RunningIndicator>,
}

impl Evaluator {
    /// `timeframes_ms` are those of the operations, as in a plan. `fill_at_close`: whether orders fill at a close, so that a bar of a higher
    /// timeframe is visible only if it ends no later than the strategy bar.
    pub fn new(ops: &[Op], timeframes_ms: &[i64], market: &Market<'_>, strategy_ms: i64, fill_at_close: bool) -> Result<Self> {
        let (mut higher, mut timeframe_of): (Vec<HigherTimeframe>, Vec<usize>) = (Vec::new(), Vec::new());
        for &length_ms in timeframes_ms {
            let known = higher.iter().position(|one| one.length_ms() == length_ms);
            if length_ms > 0 && known.is_none() {
                if strategy_ms <= 0 || !fits(strategy_ms, length_ms) {
                    return Err(Error::Input("the strategy's timeframe does not fit into a higher one".into()));
                }
                higher.push(HigherTimeframe::new(length_ms, market, columns_read(ops, timeframes_ms, length_ms))?);
            }
            timeframe_of.push(if length_ms > 0 { known.map_or(higher.len(), |k| k + 1) } else { 0 });
        }
        let ops: Vec<Op> = ops.iter().map(|&op| limit_lookback(op, market.len())).collect();
        let mut states: Vec<State> = ops.iter().map(State::of).collect();
        share_comparisons(&ops, &mut states);
        let mut tiles: Vec<Tile> = ops.iter().map(tile).collect();
        let running = share_indicators(&ops, &mut states, &mut tiles);
        Ok(Self { retained: Retained::for_ops(&ops), ops, timeframe_of, fill_at_close, higher, states, tiles, running })
    }

    /// Run every operation over the next tile.
    pub fn run(&mut self, frame: &Frame<'_>) {
        for higher in &mut self.higher {
            higher.advance(frame.market(), frame.start..frame.end);
        }
        let strategy = frame.columns();
        for i in 0..self.ops.len() {
            if self.timeframe_of[i] > 0 && self.higher[self.timeframe_of[i] - 1].is_empty() {
                continue;
            }
            match self.ops[i] {
                Op::At(input) | Op::AtCondition(input) => self.read_higher(i, input, frame),
                op => self.run_one(i, op, &strategy),
            }
            if !self.retained[i].is_empty() {
                self.retain(i, &strategy);
            }
        }
    }

    #[inline(always)]
    fn run_one(&mut self, i: usize, op: Op, strategy: &Columns<'_>) {
        let columns = columns_of(self.timeframe_of[i], strategy, &self.higher);
        let n = columns.close.len();
        let (earlier, later) = self.tiles.split_at_mut(i);
        let (earlier_states, states) = self.states.split_at_mut(i);
        if let (Op::Indicator(indicator), State::Indicator(r)) = (op, &states[0]) {
            let (before, this) = self.running.split_at_mut(*r);
            let inputs = Inputs { tiles: earlier, running: before, columns, n };
            let mut series = [&[][..]; MAX_INPUTS];
            series.iter_mut().zip(indicator.series()).for_each(|(series, &input)| *series = inputs.number(input).0);
            this[0].run(&series[..indicator.series().len()], n);
        } else {
            let inputs = Inputs { tiles: earlier, running: &self.running, columns, n };
            compute(op, &mut states[0], earlier_states, &inputs, &mut later[0], &self.retained);
        }
    }

    /// Retain the values of operation `i` for operations that look back to them.
    fn retain(&mut self, i: usize, strategy: &Columns<'_>) {
        let columns = columns_of(self.timeframe_of[i], strategy, &self.higher);
        let inputs = Inputs { tiles: &self.tiles[..=i], running: &self.running, columns, n: columns.close.len() };
        let (values, may_have_nan) = inputs.number(i);
        self.retained[i].push(values, may_have_nan);
    }

    /// Compute operation `i`, which reads `input` on a higher timeframe: the value of that one's last ended bar.
    fn read_higher(&mut self, i: usize, input: usize, frame: &Frame<'_>) {
        let moments = |timeframe: usize| match timeframe {
            0 => frame.moments(self.fill_at_close),
            _ => self.higher[timeframe - 1].moments(self.fill_at_close),
        };
        let (fine, coarse) = (moments(self.timeframe_of[i]), moments(self.timeframe_of[input]));
        let (earlier, later) = self.tiles.split_at_mut(i);
        let columns = columns_of(self.timeframe_of[input], &frame.columns(), &self.higher);
        let inputs = Inputs { tiles: earlier, running: &self.running, columns, n: coarse.count() };
        match (&mut self.states[i], &mut later[0]) {
            (State::LastNumber(last_ended), Tile::Number { values, may_have_nan }) => {
                let coarse_values = inputs.number(input).0;
                last_ended.run(fine, coarse, |k| coarse_values[k], |range, value| values.0[range].fill(value));
                *may_have_nan = any_nan(&values.0[..fine.count()]);
            }
            (State::LastCondition(last_ended), Tile::Condition(condition)) => {
                let coarse_condition = inputs.condition(input);
                (condition.value, condition.known) = ([0; WORDS], [0; WORDS]);
                last_ended.run(
                    fine,
                    coarse,
                    |k| (bitmask::get(&coarse_condition.value, k), bitmask::get(&coarse_condition.known, k)),
                    |range, (value, known)| {
                        for (mask, set) in [(&mut condition.value, value), (&mut condition.known, known)] {
                            if set {
                                bitmask::set_range(mask, &range);
                            }
                        }
                    },
                );
            }
            _ => {}
        }
    }

    pub fn condition(&self, i: usize) -> &Condition {
        match &self.tiles[i] {
            Tile::Condition(condition) => condition,
            _ => unreachable!("a plan's conditions were checked"),
        }
    }

    /// The numbers of operation `i`, and whether any may be NaN.
    pub fn number<'a>(&'a self, i: usize, columns: &Columns<'a>) -> (&'a [f64], bool) {
        Inputs { tiles: &self.tiles, running: &self.running, columns: *columns, n: columns.close.len() }.number(i)
    }
}

/// The columns of a timeframe, numbered as in `Evaluator::timeframe_of`.
fn columns_of<'a>(timeframe: usize, strategy: &Columns<'a>, higher: &'a [HigherTimeframe]) -> Columns<'a> {
    if timeframe == 0 { *strategy } else { higher[timeframe - 1].columns() }
}

/// The running indicators. Operations that differ only in the output they read share one, and the first of them runs it.
fn share_indicators(ops: &[Op], states: &mut [State], tiles: &mut [Tile]) -> Vec<RunningIndicator> {
    let (mut running, mut positions): (Vec<RunningIndicator>, HashMap<OpKey, usize>) = (Vec::new(), HashMap::new());
    for (i, op) in ops.iter().enumerate() {
        if let Op::Indicator(indicator) = *op {
            let r = *positions.entry(Op::Indicator(Indicator { output: 0, ..indicator }).key()).or_insert_with(|| {
                states[i] = State::Indicator(running.len());
                running.push(RunningIndicator::new(indicator.row, &indicator.arguments));
                running.len() - 1
            });
            tiles[i] = Tile::Indicator(r, indicator.output);
        }
    }
    running
}

/// Which columns the operations on a higher timeframe read.
fn columns_read(ops: &[Op], timeframes_ms: &[i64], length_ms: i64) -> [bool; 5] {
    let mut read = [false; 5];
    for (op, &timeframe_ms) in ops.iter().zip(timeframes_ms) {
        if let (Op::Column(column), true) = (op, timeframe_ms == length_ms) {
            read[*column as usize] = true;
        }
    }
    read
}

/// Values of the operations at `positions`, which must give numbers, on every strategy bar. `fill_at_close` as in `Evaluator::new`.
pub fn node_values(market: Market<'_>, plan: &Plan, positions: &[usize], strategy_ms: i64, fill_at_close: bool) -> Result<Vec<Vec<f64>>> {
    if positions.iter().any(|&i| plan.ops.get(i).is_none_or(Op::is_condition) || plan.timeframes_ms[i] != 0) {
        return Err(Error::Plan("an operation to be returned does not give numbers on the strategy's bars".into()));
    }
    let mut frame = Frame::new(market, strategy_ms, 0)?;
    let mut evaluator = Evaluator::new(&plan.ops, &plan.timeframes_ms, &market, strategy_ms, fill_at_close)?;
    let mut values = vec![Vec::new(); positions.len()];
    while frame.advance() {
        evaluator.run(&frame);
        let columns = frame.columns();
        for (values, &i) in values.iter_mut().zip(positions) {
            values.extend_from_slice(evaluator.number(i, &columns).0);
        }
    }
    Ok(values)
}
