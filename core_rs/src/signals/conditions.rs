//! Truths over tiles: comparisons, logic, crossings and streaks, 64 bars a word.

use crate::plan::op::Comparison;
use crate::signals::tile::{Inputs, Truth};
use crate::simd::bitmask::{self, Mask, WORDS};
use crate::simd::{self, Predicate, multiversion};

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
    pub below: Option<Mask>,
    known: Mask,
    /// The operation that has compared the two already.
    pub first: Option<usize>,
}

impl Default for Streak {
    fn default() -> Self {
        Self { before: f64::NAN, known: 0, moved: 0 }
    }
}

impl Streak {
    pub fn run(&mut self, values: &[f64], length: usize, moves: impl Fn(f64, f64) -> bool, out: &mut Truth) {
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

pub fn and(a: &Truth, b: &Truth, out: &mut Truth) {
    for w in 0..WORDS {
        out.known[w] = a.known[w] & b.known[w];
        out.value[w] = a.value[w] & b.value[w];
    }
}

pub fn or(a: &Truth, b: &Truth, out: &mut Truth) {
    for w in 0..WORDS {
        out.known[w] = a.known[w] & b.known[w];
        out.value[w] = (a.value[w] | b.value[w]) & out.known[w];
    }
}

pub fn not(a: &Truth, out: &mut Truth) {
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

pub fn compare(kind: Comparison, inputs: &Inputs<'_>, a: usize, b: usize, out: &mut Truth) {
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
    /// `a` above `b` now and not above it on the bar before, all four known. `first` has compared the two already.
    pub fn run(&mut self, inputs: &Inputs<'_>, a: usize, b: usize, first: Option<&Self>, out: &mut Truth) {
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
    fn cross_words(above: &Mask, known: &Mask, carry: u64, carry_known: u64, out: &mut Truth) = cross_words_in;
}
#[inline(always)]
fn cross_words_in(above: &Mask, known: &Mask, carry: u64, carry_known: u64, out: &mut Truth) {
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
