//! The operations over a tile, and what each remembers from tile to tile.

use std::collections::HashMap;

use crate::indicators::oscillators::Rsi;
use crate::indicators::volatility::TrueRange;
use crate::market::higher_timeframe::LastEnded;
use crate::numerics::elementwise::{Binary, Unary, add, any_nan, divide, each, mean, multiply, subtract};
use crate::numerics::rolling::Sma;
use crate::numerics::smoothed::Smoothed;
use crate::plan::op::{Op, TimePart};
use crate::signals::conditions::{self, Crossing, Streak};
use crate::signals::retained::Retained;
use crate::signals::tile::{Condition, Inputs, Numbers, Tile};
use crate::simd::bitmask::{self, WORDS};

/// What an operation remembers from tile to tile.
#[derive(Debug)]
pub enum State {
    None,
    Sma(Sma),
    Smoothed(Box<Smoothed>),
    Rsi(Box<Rsi>),
    TrueRange(TrueRange),
    Crossing(Box<Crossing>),
    LastNumber(LastEnded<f64>),
    /// A condition's value, and whether it is known.
    LastCondition(LastEnded<(bool, bool)>),
    /// The position of the indicator that it runs, for itself and for operations that share it.
    Indicator(usize),
    Streak(Streak),
}

impl State {
    pub fn of(op: &Op) -> Self {
        match *op {
            Op::Sma(_, length) => State::Sma(Sma::new(length)),
            Op::Smoothed(_, length, alpha) => State::Smoothed(Box::new(Smoothed::new(length, alpha))),
            Op::Rsi(_, length) => State::Rsi(Box::new(Rsi::new(length))),
            Op::TrueRange(..) => State::TrueRange(TrueRange::default()),
            Op::Crossover(..) | Op::Crossunder(..) => State::Crossing(Box::default()),
            Op::Rising(..) | Op::Falling(..) => State::Streak(Streak::default()),
            Op::At(_) => State::LastNumber(LastEnded::new(f64::NAN)),
            Op::AtCondition(_) => State::LastCondition(LastEnded::new((false, false))),
            _ => State::None,
        }
    }
}

/// The tile of an operation before its first run; that of a constant never changes.
pub fn tile(op: &Op) -> Tile {
    match *op {
        Op::Column(column) => Tile::Column(column),
        Op::Const(value) => Tile::Number { values: Numbers::all(value), may_have_nan: value.is_nan() },
        Op::ConstCondition(value) => {
            Tile::Condition(Box::new(Condition { value: if value { [!0; WORDS] } else { [0; WORDS] }, known: [!0; WORDS] }))
        }
        _ if op.is_condition() => Tile::Condition(Box::default()),
        _ => Tile::Number { values: Numbers::all(0.0), may_have_nan: false },
    }
}

/// Let a crossunder read the comparison of an earlier crossover of the same two series, or the other way round.
pub fn share_comparisons(ops: &[Op], states: &mut [State]) {
    let mut seen = HashMap::new();
    for (i, op) in ops.iter().enumerate() {
        let (rising, falling) = match *op {
            Op::Crossover(a, b) => (a, b),
            Op::Crossunder(a, b) => (b, a),
            _ => continue,
        };
        if let Some(&first) = seen.get(&(falling, rising)) {
            let first: usize = first;
            if let State::Crossing(crossing) = &mut states[first] {
                crossing.below = Some([0; WORDS]);
            }
            if let State::Crossing(crossing) = &mut states[i] {
                crossing.shared_with = Some(first);
            }
        }
        seen.insert((rising, falling), i);
    }
}

/// Compute the next tile of an operation.
pub fn compute(op: Op, state: &mut State, earlier: &[State], inputs: &Inputs<'_>, output: &mut Tile, retained: &[Retained]) {
    match output {
        Tile::Column(_) | Tile::Indicator(..) => {}
        Tile::Number { values, may_have_nan } => {
            if let Some(any) = number(op, state, inputs, &mut values.0[..inputs.n], retained) {
                *may_have_nan = any;
            }
        }
        Tile::Condition(out) => condition(op, state, earlier, inputs, out),
    }
}

/// Compute a tile of numbers; returns whether any is NaN, or none if the tile does not change.
fn number(op: Op, state: &mut State, inputs: &Inputs<'_>, out: &mut [f64], retained: &[Retained]) -> Option<bool> {
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
            let (condition, a, b) = (inputs.condition(condition), inputs.number(a).0, inputs.number(b).0);
            for (i, out) in out.iter_mut().enumerate() {
                let chosen = if bitmask::get(&condition.value, i) { a[i] } else { b[i] };
                *out = if bitmask::get(&condition.known, i) { chosen } else { f64::NAN };
            }
            Some(any_nan(out))
        }
        (Op::MeanOfThree(a, b, c), _) => {
            mean([a, b, c].map(|i| inputs.number(i).0), out);
            Some(any_nan(out))
        }
        (Op::MeanOfFour(a, b, c, d), _) => {
            mean([a, b, c, d].map(|i| inputs.number(i).0), out);
            Some(any_nan(out))
        }
        (Op::Sma(a, _), State::Sma(sma)) => retained[a].sums.as_ref().map(|sums| sma.run(sums, out)),
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
            out.copy_from_slice(retained[a].values.as_ref()?.delayed(bars));
            Some(any_nan(out))
        }
        _ => None,
    }
}

/// Compute a tile of a condition, unless it is constant.
fn condition(op: Op, state: &mut State, earlier: &[State], inputs: &Inputs<'_>, out: &mut Condition) {
    match (op, state) {
        (Op::Compare(kind, a, b), _) => conditions::compare(kind, inputs, a, b, out),
        (Op::And(a, b), _) => conditions::and(inputs.condition(a), inputs.condition(b), out),
        (Op::Or(a, b), _) => conditions::or(inputs.condition(a), inputs.condition(b), out),
        (Op::Not(a), _) => conditions::not(inputs.condition(a), out),
        (Op::Crossover(a, b), State::Crossing(crossing)) => crossing.run(inputs, a, b, shared_crossing(crossing.shared_with, earlier), out),
        (Op::Crossunder(a, b), State::Crossing(crossing)) => {
            crossing.run(inputs, b, a, shared_crossing(crossing.shared_with, earlier), out)
        }
        (Op::Rising(a, length), State::Streak(streak)) => streak.run(inputs.number(a).0, length, |now, before| now > before, out),
        (Op::Falling(a, length), State::Streak(streak)) => streak.run(inputs.number(a).0, length, |now, before| now < before, out),
        _ => {}
    }
}

/// The crossing at an earlier operation, if there is one.
fn shared_crossing(first: Option<usize>, earlier: &[State]) -> Option<&Crossing> {
    match &earlier[first?] {
        State::Crossing(crossing) => Some(crossing),
        _ => None,
    }
}

fn part_of_time(part: TimePart, time_ms: i64) -> f64 {
    let minutes = time_ms.div_euclid(60_000);
    (match part {
        TimePart::Epoch => time_ms,
        TimePart::Minute => minutes.rem_euclid(60),
        TimePart::Hour => minutes.div_euclid(60).rem_euclid(24),
        // 1970-01-01 was a Thursday.
        TimePart::Weekday => (minutes.div_euclid(24 * 60) + 3).rem_euclid(7),
    }) as f64
}
