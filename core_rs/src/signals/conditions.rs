//! Truths over tiles: comparisons, logic, crossings and streaks, 64 bars a word.

use std::collections::HashMap;

use crate::plan::{Comparison, Op};
use crate::signals::evaluate::{Inputs, State};
use crate::simd::bitmask::{self, Mask, WORDS};
use crate::simd::{self, Test, multiversion};

/// Truths of a tile; a bit of `value` is set only where `known` is.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    pub value: Mask,
    pub known: Mask,
}

/// How many bars in a row were known, and moved in one direction.
#[derive(Debug)]
pub struct Streak {
    before: f64,
    known: usize,
    moved: usize,
}

/// Two series that may cross. A crossover and a crossunder of the same two share one comparison, made by the one that comes first.
#[derive(Debug, Default)]
pub struct Crossing {
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

/// Let a crossunder take over the comparison of a crossover of the same two series, or the other way round.
pub fn pair_crossings(ops: &[Op], states: &mut [State]) {
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

pub fn run(op: Op, state: &mut State, earlier: &[State], inputs: &Inputs<'_>, out: &mut Truth) {
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

impl Default for Streak {
    fn default() -> Self {
        Self { before: f64::NAN, known: 0, moved: 0 }
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
                bitmask::set(&mut out.known, i);
            }
            if self.moved >= length {
                bitmask::set(&mut out.value, i);
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
            *word = bitmask::inside(w, inputs.n);
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
    let Crossing { carry, carry_known, above, below, known: own, first } = crossing;
    let compared = first.and_then(|i| match &earlier[i] {
        State::Crossing(first) => first.below.as_ref().map(|below| (below, &first.known)),
        _ => None,
    });
    let (above, known) = match compared {
        Some(compared) => compared,
        None => {
            known(inputs, a, b, own);
            let (a, b) = (inputs.number(a).0, inputs.number(b).0);
            match below {
                Some(below) => simd::compare_both_ways(a, b, above, below),
                None => simd::compare(Test::Gt, a, b, above),
            }
            (&*above, &*own)
        }
    };
    cross_words(above, known, *carry, *carry_known, out);
    if let Some(last) = inputs.n.checked_sub(1) {
        *carry_known = u64::from(bitmask::get(known, last));
        *carry = *carry_known & !u64::from(bitmask::get(above, last));
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
    let (earlier, earlier_known) = (bitmask::shifted(&not_above, carry), bitmask::shifted(known, carry_known));
    for w in 0..WORDS {
        out.value[w] = above[w] & earlier[w];
        out.known[w] = known[w] & earlier_known[w];
    }
}
