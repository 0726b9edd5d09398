//! Conditions over tiles: comparisons, logic, crossings and streaks, with 64 bars in one word.

use crate::plan::op::Comparison;
use crate::signals::tile::{Condition, Inputs};
use crate::simd::bitmask::{self, Mask, WORDS};
use crate::simd::{self, Predicate, multiversion};

/// For rising and falling: how many known bars in a row there are, and how many moves in that direction.
#[derive(Debug)]
pub struct Streak {
    previous: f64,
    known_bars: usize,
    moves: usize,
}

/// Two series that may cross. A crossover and a crossunder of the same two share one comparison, made by the first of them.
#[derive(Debug, Default)]
pub struct Crossing {
    /// Of the last bar of the previous tile: whether it was known and not above, and whether it was known.
    carry: u64,
    carry_known: u64,
    above: Mask,
    /// The opposite comparison, if another operation reads it from here.
    pub below: Option<Mask>,
    known: Mask,
    /// The earlier operation whose comparison this one reads.
    pub shared_with: Option<usize>,
}

impl Default for Streak {
    fn default() -> Self {
        Self { previous: f64::NAN, known_bars: 0, moves: 0 }
    }
}

impl Streak {
    pub fn run(&mut self, values: &[f64], length: usize, is_move: impl Fn(f64, f64) -> bool, out: &mut Condition) {
        (out.value, out.known) = ([0; WORDS], [0; WORDS]);
        for (i, &x) in values.iter().enumerate() {
            self.known_bars = if x.is_nan() { 0 } else { self.known_bars + 1 };
            self.moves = if is_move(x, self.previous) { self.moves + 1 } else { 0 };
            self.previous = x;
            if self.known_bars > length {
                bitmask::set(&mut out.known, i);
            }
            if self.moves >= length {
                bitmask::set(&mut out.value, i);
            }
        }
    }
}

pub fn and(a: &Condition, b: &Condition, out: &mut Condition) {
    for w in 0..WORDS {
        out.known[w] = a.known[w] & b.known[w];
        out.value[w] = a.value[w] & b.value[w];
    }
}

pub fn or(a: &Condition, b: &Condition, out: &mut Condition) {
    for w in 0..WORDS {
        out.known[w] = a.known[w] & b.known[w];
        out.value[w] = (a.value[w] | b.value[w]) & out.known[w];
    }
}

pub fn not(a: &Condition, out: &mut Condition) {
    for w in 0..WORDS {
        out.known[w] = a.known[w];
        out.value[w] = !a.value[w] & a.known[w];
    }
}

fn known(inputs: &Inputs<'_>, a: usize, b: usize, out: &mut Mask) {
    let (a, b) = (inputs.number(a), inputs.number(b));
    if a.1 || b.1 {
        let mut other = [0; WORDS];
        simd::compare(Predicate::Eq, a.0, a.0, out);
        simd::compare(Predicate::Eq, b.0, b.0, &mut other);
        out.iter_mut().zip(other).for_each(|(out, other)| *out &= other);
    } else {
        for (w, word) in out.iter_mut().enumerate() {
            *word = bitmask::first_bits(w, inputs.n);
        }
    }
}

pub fn compare(kind: Comparison, inputs: &Inputs<'_>, a: usize, b: usize, out: &mut Condition) {
    known(inputs, a, b, &mut out.known);
    let (a, b) = (inputs.number(a).0, inputs.number(b).0);
    match kind {
        Comparison::Gt => simd::compare(Predicate::Gt, a, b, &mut out.value),
        Comparison::Lt => simd::compare(Predicate::Gt, b, a, &mut out.value),
        Comparison::Ge => simd::compare(Predicate::Ge, a, b, &mut out.value),
        Comparison::Le => simd::compare(Predicate::Ge, b, a, &mut out.value),
        Comparison::Eq => simd::compare(Predicate::Eq, a, b, &mut out.value),
        Comparison::Ne => {
            simd::compare(Predicate::Eq, a, b, &mut out.value);
            for w in 0..WORDS {
                out.value[w] = !out.value[w] & out.known[w];
            }
        }
    }
}

impl Crossing {
    /// True where `a` is above `b` but was not on the previous bar; known where both are on both bars. `first` is the crossing whose
    /// comparison this one shares.
    pub fn run(&mut self, inputs: &Inputs<'_>, a: usize, b: usize, first: Option<&Self>, out: &mut Condition) {
        let compared = first.and_then(|first| first.below.as_ref().map(|below| (below, &first.known)));
        let (above, known) = match compared {
            Some(compared) => compared,
            None => {
                known(inputs, a, b, &mut self.known);
                let (a, b) = (inputs.number(a).0, inputs.number(b).0);
                match &mut self.below {
                    Some(below) => simd::compare_both_ways(a, b, &mut self.above, below),
                    None => simd::compare(Predicate::Gt, a, b, &mut self.above),
                }
                (&self.above, &self.known)
            }
        };
        cross_words(above, known, self.carry, self.carry_known, out);
        if let Some(last) = inputs.n.checked_sub(1) {
            let last_known = u64::from(bitmask::get(known, last));
            (self.carry, self.carry_known) = (last_known & !u64::from(bitmask::get(above, last)), last_known);
        }
    }
}

multiversion! {
    fn cross_words(above: &Mask, known: &Mask, carry: u64, carry_known: u64, out: &mut Condition) = cross_words_in;
}
#[inline(always)]
fn cross_words_in(above: &Mask, known: &Mask, carry: u64, carry_known: u64, out: &mut Condition) {
    let mut not_above = [0; WORDS];
    for w in 0..WORDS {
        not_above[w] = known[w] & !above[w];
    }
    let (earlier, earlier_known) = (bitmask::one_bar_later(&not_above, carry), bitmask::one_bar_later(known, carry_known));
    for w in 0..WORDS {
        out.value[w] = above[w] & earlier[w];
        out.known[w] = known[w] & earlier_known[w];
    }
}
