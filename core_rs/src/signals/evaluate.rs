//! The operations of a plan over tiles; what each computes is documented with its Python twin, `python_core.signals`.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::indicators::oscillators::Rsi;
use crate::indicators::volatility::TrueRange;
use crate::indicators::{INPUTS, Running};
use crate::market::Market;
use crate::market::columns::{Column, Columns};
use crate::market::frame::Frame;
use crate::market::higher_timeframe::{Closes, Higher, Seen};
use crate::numerics::elementwise::{Binary, Unary, add, any_nan, divide, each, multiply, subtract};
use crate::numerics::rolling::{Sma, Smoothed};
use crate::plan::{self, Indicator, Key, Op, Plan, TimePart};
use crate::signals::conditions::{self, Crossing, Streak, Truth};
use crate::signals::retained::{Kept, within};
use crate::simd::bitmask::{self, TILE, WORDS};

/// What an operation keeps from tile to tile.
#[derive(Debug)]
pub enum State {
    None,
    Sma(Sma),
    Smoothed(Box<Smoothed>),
    Rsi(Box<Rsi>),
    TrueRange(TrueRange),
    Crossing(Box<Crossing>),
    SeenNumber(Seen<f64>),
    /// A truth, and whether it is known.
    SeenTruth(Seen<(bool, bool)>),
    /// Runs this indicator, for itself and for those that share it.
    Running(usize),
    Streak(Streak),
}

#[derive(Debug)]
enum Output {
    Column(Column),
    /// An output of a running indicator.
    Running(usize, usize),
    Number {
        values: Box<Values>,
        nan: bool,
    },
    Truth(Box<Truth>),
}

/// A tile of numbers that begins with a cache line, so that no vector straddles two.
#[derive(Debug)]
#[repr(align(64))]
struct Values([f64; TILE]);

impl Values {
    fn all(value: f64) -> Box<Self> {
        Box::new(Self([value; TILE]))
    }
}

/// Evaluates operations tile by tile.
#[derive(Debug)]
pub struct Evaluator {
    ops: Vec<Op>,
    /// The timeframe that each operation runs on: 0 for the strategy's, then those of `higher`.
    frame_of: Vec<usize>,
    strategy_ms: i64,
    higher: Vec<Higher>,
    states: Vec<State>,
    outputs: Vec<Output>,
    kept: Vec<Kept>,
    /// Indicators, in the order of the first operations that want them.
    running: Vec<Running>,
}

impl Evaluator {
    /// `frames` are those of the operations, as in a plan.
    pub fn new(ops: &[Op], frames: &[i64], market: &Market<'_>, strategy_ms: i64) -> Result<Self> {
        let (mut higher, mut frame_of): (Vec<Higher>, Vec<usize>) = (Vec::new(), Vec::new());
        for &length_ms in frames {
            let known = higher.iter().position(|one| one.length_ms() == length_ms);
            if length_ms > 0 && known.is_none() {
                if strategy_ms <= 0 || length_ms % strategy_ms != 0 {
                    return Err(Error::Input("a higher timeframe is no whole multiple of the strategy's".into()));
                }
                higher.push(Higher::new(length_ms, market, columns_wanted(ops, frames, length_ms))?);
            }
            frame_of.push(if length_ms > 0 { known.map_or(higher.len(), |k| k + 1) } else { 0 });
        }
        let ops: Vec<Op> = ops.iter().map(|&op| within(op, market.len())).collect();
        let mut states: Vec<State> = ops.iter().map(state).collect();
        conditions::pair_crossings(&ops, &mut states);
        let mut outputs: Vec<Output> = ops.iter().map(output).collect();
        let running = share(&ops, &mut states, &mut outputs);
        Ok(Self { kept: Kept::all(&ops), ops, frame_of, strategy_ms, higher, states, outputs, running })
    }

    /// Run every operation over the next tile.
    pub fn run(&mut self, frame: &Frame<'_>) {
        for higher in &mut self.higher {
            higher.advance(frame.market(), frame.start..frame.end);
        }
        let strategy = frame.columns();
        for i in 0..self.ops.len() {
            let own = self.frame_of[i];
            let columns = if own == 0 { &strategy } else { &self.higher[own - 1].columns() };
            let n = columns.close.len();
            if n == 0 && own > 0 {
                continue;
            }
            if let Op::At(input) | Op::AtTruth(input) = self.ops[i] {
                self.look_up(i, input, &strategy);
                continue;
            }
            let (earlier, later) = self.outputs.split_at_mut(i);
            let (earlier_states, states) = self.states.split_at_mut(i);
            if let (Op::Indicator(indicator), State::Running(r)) = (self.ops[i], &states[0]) {
                let (before, this) = self.running.split_at_mut(*r);
                let inputs = Inputs { outputs: earlier, running: before, columns: *columns, n };
                let mut series = [&[][..]; INPUTS];
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
        let closes_of = |frame: usize| Closes {
            time: columns_of(frame).time,
            length_ms: if frame == 0 { self.strategy_ms } else { self.higher[frame - 1].length_ms() },
        };
        let (fine, coarse) = (closes_of(self.frame_of[i]), closes_of(self.frame_of[input]));
        let (earlier, later) = self.outputs.split_at_mut(i);
        let inputs = Inputs { outputs: earlier, running: &self.running, columns: columns_of(self.frame_of[input]), n: coarse.time.len() };
        match (&mut self.states[i], &mut later[0]) {
            (State::SeenNumber(seen), Output::Number { values, nan }) => {
                let coarse_values = inputs.number(input).0;
                seen.run(fine, coarse, |k| coarse_values[k], |range, value| values.0[range].fill(value));
                *nan = any_nan(&values.0[..fine.time.len()]);
            }
            (State::SeenTruth(seen), Output::Truth(truth)) => {
                let coarse_truth = inputs.truth(input);
                (truth.value, truth.known) = ([0; WORDS], [0; WORDS]);
                seen.run(
                    fine,
                    coarse,
                    |k| (bitmask::get(&coarse_truth.value, k), bitmask::get(&coarse_truth.known, k)),
                    |range, (value, known)| {
                        for (mask, set) in [(&mut truth.value, value), (&mut truth.known, known)] {
                            if set {
                                bitmask::set_all(mask, &range);
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
fn share(ops: &[Op], states: &mut [State], outputs: &mut [Output]) -> Vec<Running> {
    let (mut running, mut seen): (Vec<Running>, HashMap<Key, usize>) = (Vec::new(), HashMap::new());
    for (i, op) in ops.iter().enumerate() {
        if let Op::Indicator(indicator) = *op {
            let r = *seen.entry(plan::key(&Op::Indicator(Indicator { output: 0, ..indicator }))).or_insert_with(|| {
                states[i] = State::Running(running.len());
                running.push(Running::new(indicator.row, &indicator.arguments));
                running.len() - 1
            });
            outputs[i] = Output::Running(r, indicator.output);
        }
    }
    running
}

/// Which columns the operations on a higher timeframe read.
fn columns_wanted(ops: &[Op], frames: &[i64], length_ms: i64) -> [bool; 5] {
    let mut wanted = [false; 5];
    for (op, &frame) in ops.iter().zip(frames) {
        if let (Op::Column(column), true) = (op, frame == length_ms) {
            wanted[*column as usize] = true;
        }
    }
    wanted
}

fn state(op: &Op) -> State {
    match *op {
        Op::Sma(_, length) => State::Sma(Sma::new(length)),
        Op::Smoothed(_, length, alpha) => State::Smoothed(Box::new(Smoothed::new(length, alpha))),
        Op::Rsi(_, length) => State::Rsi(Box::new(Rsi::new(length))),
        Op::TrueRange(..) => State::TrueRange(TrueRange::default()),
        Op::Crossover(..) | Op::Crossunder(..) => State::Crossing(Box::default()),
        Op::Rising(..) | Op::Falling(..) => State::Streak(Streak::default()),
        Op::At(_) => State::SeenNumber(Seen::new(f64::NAN)),
        Op::AtTruth(_) => State::SeenTruth(Seen::new((false, false))),
        _ => State::None,
    }
}

fn output(op: &Op) -> Output {
    match *op {
        Op::Column(column) => Output::Column(column),
        Op::Const(value) => Output::Number { values: Values::all(value), nan: value.is_nan() },
        Op::Truth(value) => Output::Truth(Box::new(Truth { value: if value { [!0; WORDS] } else { [0; WORDS] }, known: [!0; WORDS] })),
        _ if op.is_truth() => Output::Truth(Box::default()),
        _ => Output::Number { values: Values::all(0.0), nan: false },
    }
}

pub struct Inputs<'a> {
    outputs: &'a [Output],
    running: &'a [Running],
    columns: Columns<'a>,
    pub n: usize,
}

impl<'a> Inputs<'a> {
    /// Values, and whether one may be NaN.
    pub fn number(&self, i: usize) -> (&'a [f64], bool) {
        match &self.outputs[i] {
            Output::Running(r, output) => (&self.running[*r].outputs[*output][..self.n], true),
            Output::Column(column) => (self.columns.get(*column), false),
            Output::Number { values, nan } => (&values.0[..self.n], *nan),
            Output::Truth(_) => unreachable!("a plan's inputs were checked to be numbers"),
        }
    }

    pub fn truth(&self, i: usize) -> &'a Truth {
        match &self.outputs[i] {
            Output::Truth(truth) => truth,
            _ => unreachable!("a plan's inputs were checked to be truths"),
        }
    }
}

fn step(op: Op, state: &mut State, earlier: &[State], inputs: &Inputs<'_>, output: &mut Output, kept: &[Kept]) {
    match output {
        Output::Column(_) | Output::Running(..) => {}
        Output::Number { values, nan } => {
            if let Some(any) = number(op, state, inputs, &mut values.0[..inputs.n], kept) {
                *nan = any;
            }
        }
        Output::Truth(truth) => conditions::run(op, state, earlier, inputs, truth),
    }
}

/// Compute a number's tile; says whether it holds NaN, nothing where the tile is constant.
fn number(op: Op, state: &mut State, inputs: &Inputs<'_>, out: &mut [f64], kept: &[Kept]) -> Option<bool> {
    match (op, state) {
        (Op::Time(part), _) => {
            out.iter_mut().zip(inputs.columns.time).for_each(|(out, &time)| *out = part_of_time(part, time));
            Some(false)
        }
        (Op::Unary(kind, a), _) => {
            let a = inputs.number(a).0;
            match kind {
                Unary::Neg => each(a, out, |x| Unary::Neg.of(x)),
                Unary::Abs => each(a, out, |x| Unary::Abs.of(x)),
                _ => each(a, out, |x| kind.of(x)),
            }
            Some(any_nan(out))
        }
        (Op::Binary(kind, a, b), _) => {
            let (a, b) = (inputs.number(a).0, inputs.number(b).0);
            match kind {
                Binary::Add => add(a, b, out),
                Binary::Sub => subtract(a, b, out),
                Binary::Mul => multiply(a, b, out),
                Binary::Div => divide(a, b, out),
                Binary::Min | Binary::Max => out.iter_mut().zip(a).zip(b).for_each(|((out, &a), &b)| *out = kind.of(a, b)),
            }
            Some(any_nan(out))
        }
        (Op::Select(condition, a, b), _) => {
            let (condition, a, b) = (inputs.truth(condition), inputs.number(a).0, inputs.number(b).0);
            for (i, out) in out.iter_mut().enumerate() {
                let chosen = if bitmask::get(&condition.value, i) { a[i] } else { b[i] };
                *out = if bitmask::get(&condition.known, i) { chosen } else { f64::NAN };
            }
            Some(any_nan(out))
        }
        (Op::Sma(a, _), State::Sma(sma)) => kept[a].prefix.as_ref().map(|prefix| sma.run(prefix, out)),
        (Op::Smoothed(a, ..), State::Smoothed(smoothed)) => {
            out.iter_mut().zip(inputs.number(a).0).for_each(|(out, &a)| *out = smoothed.next(a));
            Some(any_nan(out))
        }
        (Op::Rsi(a, _), State::Rsi(rsi)) => {
            out.iter_mut().zip(inputs.number(a).0).for_each(|(out, &x)| *out = rsi.next(x));
            Some(any_nan(out))
        }
        (Op::TrueRange(high, low, close), State::TrueRange(range)) => {
            let (high, low, close) = (inputs.number(high).0, inputs.number(low).0, inputs.number(close).0);
            for (i, out) in out.iter_mut().enumerate() {
                *out = range.next(high[i], low[i], close[i]);
            }
            Some(any_nan(out))
        }
        (Op::Shift(a, bars), _) => {
            out.copy_from_slice(kept[a].history.as_ref()?.tile(bars));
            Some(any_nan(out))
        }
        _ => None,
    }
}

fn part_of_time(part: TimePart, time_ms: i64) -> f64 {
    let minutes = time_ms.div_euclid(60_000);
    (match part {
        TimePart::Whole => time_ms,
        TimePart::Minute => minutes.rem_euclid(60),
        TimePart::Hour => minutes.div_euclid(60).rem_euclid(24),
        // 1970-01-01 was a Thursday.
        TimePart::Weekday => (minutes.div_euclid(24 * 60) + 3).rem_euclid(7),
    }) as f64
}

/// The values of the operations `wanted`, which are numbers, on every strategy bar of a market.
pub fn values(market: Market<'_>, plan: &Plan, wanted: &[usize], timeframe_ms: i64) -> Result<Vec<Vec<f64>>> {
    if wanted.iter().any(|&i| plan.ops.get(i).is_none_or(Op::is_truth) || plan.frames[i] != 0) {
        return Err(Error::Plan("what is wanted is no operation that gives numbers".into()));
    }
    let mut frame = Frame::new(market, timeframe_ms)?;
    let mut evaluator = Evaluator::new(&plan.ops, &plan.frames, &market, timeframe_ms)?;
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
