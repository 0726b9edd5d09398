//! Windows of earlier values: extremes, spread, rank, correlation.

use std::collections::VecDeque;

use crate::indicators::stream::Stream;
use crate::numerics::big_int::{Integer, Unit};

/// The value of a window that beats the others, the latest of equals, and how many bars ago it was.
#[derive(Debug)]
pub struct Extreme {
    length: usize,
    beats: fn(f64, f64) -> bool,
    known: usize,
    /// Those that would be the extreme if all before them were gone, with the number of values up to them.
    rivals: VecDeque<(usize, f64)>,
}

impl Extreme {
    pub fn highest(length: usize) -> Self {
        Self { length, beats: |new, old| new >= old, known: 0, rivals: VecDeque::new() }
    }

    pub fn lowest(length: usize) -> Self {
        Self { length, beats: |new, old| new <= old, known: 0, rivals: VecDeque::new() }
    }
}

impl Stream for Extreme {
    fn run(&mut self, inputs: &[&[f64]], outputs: &mut [&mut [f64]]) {
        let [best, ago] = outputs else { return };
        for ((&new, best), ago) in inputs[0].iter().zip(best.iter_mut()).zip(ago.iter_mut()) {
            self.known += 1;
            while self.rivals.back().is_some_and(|&(_, old)| (self.beats)(new, old)) {
                self.rivals.pop_back();
            }
            self.rivals.push_back((self.known, new));
            if self.rivals[0].0 + self.length == self.known {
                self.rivals.pop_front();
            }
            (*best, *ago) =
                if self.known < self.length { (f64::NAN, f64::NAN) } else { (self.rivals[0].1, (self.known - self.rivals[0].0) as f64) };
        }
    }

    fn reset(&mut self) {
        self.known = 0;
        self.rivals.clear();
    }
}

/// A window's sum and sum of squares, and of the products with another window, all exact. They are those of the distances from its first
/// values, which are smaller numbers with the same deviations.
#[derive(Debug, Default)]
struct Moments {
    values: VecDeque<(f64, f64)>,
    units: [Unit; 2],
    first: [Integer; 2],
    sums: [Integer; 2],
    squares: [Integer; 2],
    products: Integer,
}

impl Moments {
    fn push(&mut self, a: f64, b: f64, length: usize) -> bool {
        let ([sum_a, sum_b], [squares_a, squares_b], [first_a, first_b]) = (&mut self.sums, &mut self.squares, &mut self.first);
        let new_a = self.units[0].convert(a, &mut [(first_a, 1), (sum_a, 1), (squares_a, 2), (&mut self.products, 1)]);
        let new_b = self.units[1].convert(b, &mut [(first_b, 1), (sum_b, 1), (squares_b, 2), (&mut self.products, 1)]);
        if self.values.is_empty() {
            self.first = [new_a.clone(), new_b.clone()];
        }
        self.values.push_back((a, b));
        self.count(&new_a, &new_b, Integer::plus);
        if self.values.len() > length
            && let Some((a, b)) = self.values.pop_front()
        {
            let (old_a, old_b) = (self.units[0].integer(a), self.units[1].integer(b));
            self.count(&old_a, &old_b, Integer::minus);
        }
        self.values.len() == length
    }

    #[inline(always)]
    fn count(&mut self, a: &Integer, b: &Integer, with: impl Fn(&Integer, &Integer) -> Integer) {
        let (a, b) = (a.minus(&self.first[0]), b.minus(&self.first[1]));
        self.sums = [with(&self.sums[0], &a), with(&self.sums[1], &b)];
        self.squares = [with(&self.squares[0], &a.times(&a)), with(&self.squares[1], &b.times(&b))];
        self.products = with(&self.products, &a.times(&b));
    }
}

#[derive(Debug)]
pub struct Correlation {
    length: usize,
    moments: Moments,
}

impl Correlation {
    pub fn new(length: usize) -> Self {
        Self { length, moments: Moments::default() }
    }

    fn next(&mut self, a: f64, b: f64) -> f64 {
        if !self.moments.push(a, b, self.length) {
            return f64::NAN;
        }
        let Moments { units, sums, squares, products, .. } = &self.moments;
        let (unit_a, unit_b) = (units[0].exponent(), units[1].exponent());
        let spread = |k: usize, unit: i32| numerator(self.length, &squares[k], &sums[k], &sums[k]).to_float(2 * unit).sqrt();
        let spreads = spread(0, unit_a) * spread(1, unit_b);
        if spreads == 0.0 {
            return 0.0;
        }
        (numerator(self.length, products, &sums[0], &sums[1]).to_float(unit_a + unit_b) / spreads).clamp(-1.0, 1.0)
    }
}

/// `length^2` times the covariance of a window.
#[inline(always)]
fn numerator(length: usize, products: &Integer, sum_a: &Integer, sum_b: &Integer) -> Integer {
    products.times_count(length).minus(&sum_a.times(sum_b))
}

impl Stream for Correlation {
    fn run(&mut self, inputs: &[&[f64]], outputs: &mut [&mut [f64]]) {
        for ((out, &a), &b) in outputs[0].iter_mut().zip(inputs[0]).zip(inputs[1]) {
            *out = self.next(a, b);
        }
    }

    fn reset(&mut self) {
        self.moments = Moments::default();
    }
}

#[derive(Debug)]
pub struct Stdev {
    length: usize,
    values: VecDeque<f64>,
    unit: Unit,
    /// Sums are those of the distances from the first value, which are smaller numbers with the same deviation.
    first: Integer,
    sum: Integer,
    squares: Integer,
}

impl Stdev {
    pub fn new(length: usize) -> Self {
        Self { length, values: VecDeque::new(), unit: Unit::default(), first: Integer::ZERO, sum: Integer::ZERO, squares: Integer::ZERO }
    }

    #[inline(always)]
    fn next(&mut self, x: f64) -> f64 {
        let new = self.unit.convert(x, &mut [(&mut self.first, 1), (&mut self.sum, 1), (&mut self.squares, 2)]);
        if self.values.is_empty() {
            self.first = new.clone();
        }
        let new = new.minus(&self.first);
        self.values.push_back(x);
        self.sum = self.sum.plus(&new);
        self.squares = self.squares.plus(&new.times(&new));
        if self.values.len() > self.length
            && let Some(old) = self.values.pop_front()
        {
            let old = self.unit.integer(old).minus(&self.first);
            self.sum = self.sum.minus(&old);
            self.squares = self.squares.minus(&old.times(&old));
        }
        if self.values.len() < self.length {
            return f64::NAN;
        }
        let numerator = numerator(self.length, &self.squares, &self.sum, &self.sum).to_float(2 * self.unit.exponent());
        (numerator / (self.length * self.length) as f64).sqrt()
    }
}

impl Stream for Stdev {
    fn run(&mut self, inputs: &[&[f64]], outputs: &mut [&mut [f64]]) {
        outputs[0].iter_mut().zip(inputs[0]).for_each(|(out, &x)| *out = self.next(x));
    }

    fn reset(&mut self) {
        *self = Self::new(self.length);
    }
}

/// Values in order, in blocks that are split when they grow.
#[derive(Debug, Default)]
struct Sorted(Vec<Vec<f64>>);

const BLOCK: usize = 512;

impl Sorted {
    /// The block that `x` belongs to: the first whose last value is no less.
    fn block(&self, x: f64) -> usize {
        self.0.partition_point(|block| block.last().is_some_and(|&last| last < x))
    }

    fn insert(&mut self, x: f64) {
        let k = self.block(x).min(self.0.len().saturating_sub(1));
        if self.0.is_empty() {
            self.0.push(Vec::with_capacity(BLOCK));
        }
        let block = &mut self.0[k];
        block.insert(block.partition_point(|&value| value < x), x);
        if block.len() == BLOCK {
            let upper = block.split_off(BLOCK / 2);
            self.0.insert(k + 1, upper);
        }
    }

    /// Take out a value that was put in.
    fn remove(&mut self, x: f64) {
        let k = self.block(x);
        let block = &mut self.0[k];
        block.remove(block.partition_point(|&value| value < x));
        if block.is_empty() {
            self.0.remove(k);
        }
    }

    /// How many are at most `x`.
    fn rank(&self, x: f64) -> usize {
        let k = self.0.partition_point(|block| block.last().is_some_and(|&last| last <= x));
        let whole: usize = self.0[..k].iter().map(Vec::len).sum();
        whole + self.0.get(k).map_or(0, |block| block.partition_point(|&value| value <= x))
    }
}

#[derive(Debug)]
pub struct PercentRank {
    length: usize,
    values: VecDeque<f64>,
    sorted: Sorted,
}

impl PercentRank {
    pub fn new(length: usize) -> Self {
        Self { length, values: VecDeque::new(), sorted: Sorted::default() }
    }

    fn next(&mut self, x: f64) -> f64 {
        let known = self.values.len() == self.length;
        let rank = if known { 100.0 * self.sorted.rank(x) as f64 / self.length as f64 } else { f64::NAN };
        if known && let Some(old) = self.values.pop_front() {
            self.sorted.remove(old);
        }
        self.values.push_back(x);
        self.sorted.insert(x);
        rank
    }
}

impl Stream for PercentRank {
    fn run(&mut self, inputs: &[&[f64]], outputs: &mut [&mut [f64]]) {
        outputs[0].iter_mut().zip(inputs[0]).for_each(|(out, &x)| *out = self.next(x));
    }

    fn reset(&mut self) {
        *self = Self::new(self.length);
    }
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, Sorted};

    #[test]
    fn ranks_are_counts_of_what_is_no_greater() {
        let values: Vec<f64> = (0..8 * BLOCK as u64).map(|i| (i * i * 2_654_435_761 % 997) as f64 - 500.0).collect();
        let (mut sorted, window) = (Sorted::default(), 3 * BLOCK);
        for (i, &x) in values.iter().enumerate() {
            let held = &values[i.saturating_sub(window)..i];
            assert_eq!(sorted.rank(x), held.iter().filter(|&&value| value <= x).count());
            if held.len() == window {
                sorted.remove(held[0]);
            }
            sorted.insert(x);
            assert!(sorted.0.iter().all(|block| !block.is_empty() && block.len() < BLOCK));
        }
    }
}
