//! The operations of a plan over tiles; what each computes is documented with its Python twin.

use std::collections::HashMap;

use crate::average::{Prefix, Sma, Smoothed};
use crate::bits::{self, Mask, TILE, WORDS};
use crate::history::History;
use crate::plan::{Binary, Column, Comparison, Op, TimePart, Unary, greatest};
use crate::simd::{self, Test, multiversion};

/// One tile of the strategy's bars, at most `TILE` long.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    /// Open times.
    pub time: &'a [i64],
    pub open: &'a [f64],
    pub high: &'a [f64],
    pub low: &'a [f64],
    pub close: &'a [f64],
    pub volume: &'a [f64],
}

impl<'a> Columns<'a> {
    fn get(&self, column: Column) -> &'a [f64] {
        match column {
            Column::Open => self.open,
            Column::High => self.high,
            Column::Low => self.low,
            Column::Close => self.close,
            Column::Volume => self.volume,
        }
    }
}

/// Truths of a tile; a bit of `value` is set only where `known` is.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    pub value: Mask,
    known: Mask,
}

/// What an operation keeps from tile to tile.
#[derive(Debug)]
enum State {
    None,
    Sma(Sma, usize),
    Smoothed(Box<Smoothed>),
    Rsi(Box<Rsi>),
    TrueRange { close: f64 },
    Shift(History<f64>, usize),
    Crossing(Box<Crossing>),
    Streak(Streak),
}

#[derive(Debug)]
struct Rsi {
    before: f64,
    up: Smoothed,
    down: Smoothed,
}

/// How many bars in a row were known, and moved in one direction.
#[derive(Debug)]
struct Streak {
    before: f64,
    known: usize,
    moved: usize,
}

/// Two series that may cross. A crossover and a crossunder of the same two share one comparison, made by the one that comes first.
#[derive(Debug, Default)]
struct Crossing {
    /// Last bar's "not above" and "known" bits.
    carry: u64,
    carry_known: u64,
    above: Mask,
    /// The opposite comparison, where another operation takes it over from here.
    below: Option<Mask>,
    known: Mask,
    /// The operation that has compared the two already.
    first: Option<usize>,
}

#[derive(Debug)]
enum Output {
    Column(Column),
    Number { values: Vec<f64>, nan: bool },
    Truth(Box<Truth>),
}

/// Evaluates operations tile by tile.
#[derive(Debug)]
pub struct Evaluator {
    ops: Vec<Op>,
    states: Vec<State>,
    outputs: Vec<Output>,
    prefixes: Vec<Prefix>,
    /// The prefix that each operation's values go into.
    prefix_of: Vec<Option<usize>>,
}

impl Evaluator {
    pub fn new(ops: &[Op]) -> Self {
        let mut longest = vec![0; ops.len()];
        for op in ops {
            if let Op::Sma(input, length) = *op {
                longest[input] = longest[input].max(length);
            }
        }
        let mut prefixes = Vec::new();
        let prefix_of: Vec<Option<usize>> = longest
            .iter()
            .map(|&longest| {
                (longest > 0).then(|| {
                    prefixes.push(Prefix::new(longest));
                    prefixes.len() - 1
                })
            })
            .collect();
        let mut states: Vec<State> = ops.iter().map(|op| state(op, &prefix_of)).collect();
        pair_crossings(ops, &mut states);
        let outputs = ops.iter().map(output).collect();
        Self { ops: ops.to_vec(), states, outputs, prefixes, prefix_of }
    }

    /// Run every operation over the next tile.
    pub fn run(&mut self, columns: &Columns<'_>) {
        let n = columns.close.len();
        for i in 0..self.ops.len() {
            let (earlier, later) = self.outputs.split_at_mut(i);
            let inputs = Inputs { outputs: earlier, columns: *columns, n };
            let (earlier_states, states) = self.states.split_at_mut(i);
            step(self.ops[i], &mut states[0], earlier_states, &inputs, &mut later[0], &self.prefixes);
            if let Some(p) = self.prefix_of[i] {
                let inputs = Inputs { outputs: &self.outputs[..=i], columns: *columns, n };
                let (values, nan) = inputs.number(i);
                self.prefixes[p].push(values, nan);
            }
        }
    }

    pub fn truth(&self, i: usize) -> &Truth {
        match &self.outputs[i] {
            Output::Truth(truth) => truth,
            _ => unreachable!("a plan's conditions were checked to be truths"),
        }
    }

    pub fn number<'a>(&'a self, i: usize, columns: &Columns<'a>) -> &'a [f64] {
        Inputs { outputs: &self.outputs, columns: *columns, n: columns.close.len() }.number(i).0
    }
}

/// Let a crossunder take over the comparison of a crossover of the same two series, or the other way round.
fn pair_crossings(ops: &[Op], states: &mut [State]) {
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
                crossing.first = Some(first);
            }
        }
        seen.insert((rising, falling), i);
    }
}

fn state(op: &Op, prefix_of: &[Option<usize>]) -> State {
    match *op {
        Op::Sma(input, length) => State::Sma(Sma::new(length), prefix_of[input].unwrap_or(0)),
        Op::Smoothed(_, length, alpha) => State::Smoothed(Box::new(Smoothed::new(length, alpha))),
        Op::Rsi(_, length) => {
            let alpha = 1.0 / length as f64;
            State::Rsi(Box::new(Rsi { before: f64::NAN, up: Smoothed::new(length, alpha), down: Smoothed::new(length, alpha) }))
        }
        Op::TrueRange(..) => State::TrueRange { close: f64::NAN },
        Op::Shift(_, bars) => State::Shift(History::new(bars, TILE, f64::NAN), bars),
        Op::Crossover(..) | Op::Crossunder(..) => State::Crossing(Box::default()),
        Op::Rising(..) | Op::Falling(..) => State::Streak(Streak { before: f64::NAN, known: 0, moved: 0 }),
        _ => State::None,
    }
}

fn output(op: &Op) -> Output {
    match *op {
        Op::Column(column) => Output::Column(column),
        Op::Const(value) => Output::Number { values: vec![value; TILE], nan: value.is_nan() },
        Op::Truth(value) => Output::Truth(Box::new(Truth { value: if value { [!0; WORDS] } else { [0; WORDS] }, known: [!0; WORDS] })),
        _ if op.is_truth() => Output::Truth(Box::default()),
        _ => Output::Number { values: vec![0.0; TILE], nan: false },
    }
}

struct Inputs<'a> {
    outputs: &'a [Output],
    columns: Columns<'a>,
    n: usize,
}

impl<'a> Inputs<'a> {
    /// Values, and whether one may be NaN.
    fn number(&self, i: usize) -> (&'a [f64], bool) {
        match &self.outputs[i] {
            Output::Column(column) => (self.columns.get(*column), false),
            Output::Number { values, nan } => (&values[..self.n], *nan),
            Output::Truth(_) => unreachable!("a plan's inputs were checked to be numbers"),
        }
    }

    fn truth(&self, i: usize) -> &'a Truth {
        match &self.outputs[i] {
            Output::Truth(truth) => truth,
            _ => unreachable!("a plan's inputs were checked to be truths"),
        }
    }
}

fn step(op: Op, state: &mut State, earlier: &[State], inputs: &Inputs<'_>, output: &mut Output, prefixes: &[Prefix]) {
    match output {
        Output::Column(_) => {}
        Output::Number { values, nan } => {
            if let Some(any) = number(op, state, inputs, &mut values[..inputs.n], prefixes) {
                *nan = any;
            }
        }
        Output::Truth(truth) => self::truth(op, state, earlier, inputs, truth),
    }
}

/// Compute a number's tile; says whether it holds NaN, nothing where the tile is constant.
fn number(op: Op, state: &mut State, inputs: &Inputs<'_>, out: &mut [f64], prefixes: &[Prefix]) -> Option<bool> {
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
                let chosen = if bits::get(&condition.value, i) { a[i] } else { b[i] };
                *out = if bits::get(&condition.known, i) { chosen } else { f64::NAN };
            }
            Some(any_nan(out))
        }
        (Op::Sma(..), State::Sma(sma, prefix)) => Some(sma.run(&prefixes[*prefix], out)),
        (Op::Smoothed(a, ..), State::Smoothed(smoothed)) => {
            out.iter_mut().zip(inputs.number(a).0).for_each(|(out, &a)| *out = smoothed.next(a));
            Some(any_nan(out))
        }
        (Op::Rsi(a, _), State::Rsi(rsi)) => {
            let Rsi { before, up, down } = &mut **rsi;
            for (out, &x) in out.iter_mut().zip(inputs.number(a).0) {
                let change = x - *before;
                *before = x;
                let (rise, fall) = if change.is_nan() {
                    (f64::NAN, f64::NAN)
                } else {
                    (if change > 0.0 { change } else { 0.0 }, if change < 0.0 { -change } else { 0.0 })
                };
                let (rise, fall) = (up.next(rise), down.next(fall));
                let total = rise + fall;
                *out = if total == 0.0 { 50.0 } else { 100.0 * rise / total };
            }
            Some(any_nan(out))
        }
        (Op::TrueRange(high, low, close), State::TrueRange { close: before }) => {
            let (high, low, close) = (inputs.number(high).0, inputs.number(low).0, inputs.number(close).0);
            for (i, out) in out.iter_mut().enumerate() {
                let gaps = greatest((high[i] - *before).abs(), (low[i] - *before).abs());
                *out = if before.is_nan() { f64::NAN } else { greatest(high[i] - low[i], gaps) };
                *before = close[i];
            }
            Some(any_nan(out))
        }
        (Op::Shift(a, _), State::Shift(history, bars)) => {
            let values = inputs.number(a).0;
            history.next_tile(values.len()).copy_from_slice(values);
            out.copy_from_slice(history.tile(*bars));
            Some(any_nan(out))
        }
        _ => None,
    }
}

fn each(values: &[f64], out: &mut [f64], function: impl Fn(f64) -> f64) {
    out.iter_mut().zip(values).for_each(|(out, &x)| *out = function(x));
}

fn part_of_time(part: TimePart, time_ms: i64) -> f64 {
    let minutes = time_ms.div_euclid(60_000);
    (match part {
        TimePart::Minute => minutes.rem_euclid(60),
        TimePart::Hour => minutes.div_euclid(60).rem_euclid(24),
        // 1970-01-01 was a Thursday.
        TimePart::Weekday => (minutes.div_euclid(24 * 60) + 3).rem_euclid(7),
    }) as f64
}

fn truth(op: Op, state: &mut State, earlier: &[State], inputs: &Inputs<'_>, out: &mut Truth) {
    match (op, state) {
        (Op::Compare(kind, a, b), _) => compare(kind, inputs, a, b, out),
        (Op::And(a, b), _) => {
            let (a, b) = (inputs.truth(a), inputs.truth(b));
            for w in 0..WORDS {
                out.known[w] = a.known[w] & b.known[w];
                out.value[w] = a.value[w] & b.value[w];
            }
        }
        (Op::Or(a, b), _) => {
            let (a, b) = (inputs.truth(a), inputs.truth(b));
            for w in 0..WORDS {
                out.known[w] = a.known[w] & b.known[w];
                out.value[w] = (a.value[w] | b.value[w]) & out.known[w];
            }
        }
        (Op::Not(a), _) => {
            let a = inputs.truth(a);
            for w in 0..WORDS {
                out.known[w] = a.known[w];
                out.value[w] = !a.value[w] & a.known[w];
            }
        }
        (Op::Crossover(a, b), State::Crossing(crossing)) => cross(inputs, a, b, crossing, earlier, out),
        (Op::Crossunder(a, b), State::Crossing(crossing)) => cross(inputs, b, a, crossing, earlier, out),
        (Op::Rising(a, length), State::Streak(streak)) => streak.run(inputs.number(a).0, length, |now, before| now > before, out),
        (Op::Falling(a, length), State::Streak(streak)) => streak.run(inputs.number(a).0, length, |now, before| now < before, out),
        _ => {}
    }
}

impl Streak {
    fn run(&mut self, values: &[f64], length: usize, moves: impl Fn(f64, f64) -> bool, out: &mut Truth) {
        (out.value, out.known) = ([0; WORDS], [0; WORDS]);
        for (i, &x) in values.iter().enumerate() {
            self.known = if x.is_nan() { 0 } else { self.known + 1 };
            self.moved = if moves(x, self.before) { self.moved + 1 } else { 0 };
            self.before = x;
            if self.known > length {
                bits::set(&mut out.known, i);
            }
            if self.moved >= length {
                bits::set(&mut out.value, i);
            }
        }
    }
}

fn known(inputs: &Inputs<'_>, a: usize, b: usize, out: &mut Mask) {
    let (a, b) = (inputs.number(a), inputs.number(b));
    if a.1 || b.1 {
        let mut other = [0; WORDS];
        simd::compare(Test::Eq, a.0, a.0, out);
        simd::compare(Test::Eq, b.0, b.0, &mut other);
        out.iter_mut().zip(other).for_each(|(out, other)| *out &= other);
    } else {
        for (w, word) in out.iter_mut().enumerate() {
            *word = bits::inside(w, inputs.n);
        }
    }
}

fn compare(kind: Comparison, inputs: &Inputs<'_>, a: usize, b: usize, out: &mut Truth) {
    known(inputs, a, b, &mut out.known);
    let (a, b) = (inputs.number(a).0, inputs.number(b).0);
    match kind {
        Comparison::Gt => simd::compare(Test::Gt, a, b, &mut out.value),
        Comparison::Lt => simd::compare(Test::Gt, b, a, &mut out.value),
        Comparison::Ge => simd::compare(Test::Ge, a, b, &mut out.value),
        Comparison::Le => simd::compare(Test::Ge, b, a, &mut out.value),
        Comparison::Eq => simd::compare(Test::Eq, a, b, &mut out.value),
        Comparison::Ne => {
            simd::compare(Test::Eq, a, b, &mut out.value);
            for w in 0..WORDS {
                out.value[w] = !out.value[w] & out.known[w];
            }
        }
    }
}

/// `a` above `b` now and not above it on the bar before, all four known.
fn cross(inputs: &Inputs<'_>, a: usize, b: usize, crossing: &mut Crossing, earlier: &[State], out: &mut Truth) {
    match crossing.first.map(|i| &earlier[i]) {
        Some(State::Crossing(first)) => {
            (crossing.above, crossing.known) = (first.below.unwrap_or_default(), first.known);
        }
        _ => {
            known(inputs, a, b, &mut crossing.known);
            let (a, b) = (inputs.number(a).0, inputs.number(b).0);
            match &mut crossing.below {
                Some(below) => simd::compare_both_ways(a, b, &mut crossing.above, below),
                None => simd::compare(Test::Gt, a, b, &mut crossing.above),
            }
        }
    }
    cross_words(&crossing.above, &crossing.known, crossing.carry, crossing.carry_known, out);
    if let Some(last) = inputs.n.checked_sub(1) {
        crossing.carry_known = u64::from(bits::get(&crossing.known, last));
        crossing.carry = crossing.carry_known & !u64::from(bits::get(&crossing.above, last));
    }
}

multiversion! {
    fn cross_words(above: &Mask, known: &Mask, carry: u64, carry_known: u64, out: &mut Truth) = cross_words_in;
}
#[inline(always)]
fn cross_words_in(above: &Mask, known: &Mask, carry: u64, carry_known: u64, out: &mut Truth) {
    let mut not_above = [0; WORDS];
    for w in 0..WORDS {
        not_above[w] = known[w] & !above[w];
    }
    let (earlier, earlier_known) = (bits::shifted(&not_above, carry), bits::shifted(known, carry_known));
    for w in 0..WORDS {
        out.value[w] = above[w] & earlier[w];
        out.known[w] = known[w] & earlier_known[w];
    }
}

multiversion! {
    fn add(a: &[f64], b: &[f64], out: &mut [f64]) = add_in;
}
#[inline(always)]
fn add_in(a: &[f64], b: &[f64], out: &mut [f64]) {
    out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = a + b);
}

multiversion! {
    fn subtract(a: &[f64], b: &[f64], out: &mut [f64]) = subtract_in;
}
#[inline(always)]
fn subtract_in(a: &[f64], b: &[f64], out: &mut [f64]) {
    out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = a - b);
}

multiversion! {
    fn multiply(a: &[f64], b: &[f64], out: &mut [f64]) = multiply_in;
}
#[inline(always)]
fn multiply_in(a: &[f64], b: &[f64], out: &mut [f64]) {
    out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = a * b);
}

multiversion! {
    fn divide(a: &[f64], b: &[f64], out: &mut [f64]) = divide_in;
}
#[inline(always)]
fn divide_in(a: &[f64], b: &[f64], out: &mut [f64]) {
    out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = a / b);
}

multiversion! {
    fn any_nan(values: &[f64]) -> bool = any_nan_in;
}
#[inline(always)]
fn any_nan_in(values: &[f64]) -> bool {
    values.iter().fold(false, |any, x| any | x.is_nan())
}
