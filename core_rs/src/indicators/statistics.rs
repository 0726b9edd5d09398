//! Statistics of windows: extremes, standard deviation, rank, correlation.

use std::collections::VecDeque;

use crate::indicators::stream::Stream;
use crate::numerics::big_int::{Integer, Unit};

/// The highest or lowest value of a window, and how many bars ago it was; of equal values the latest.
#[derive(Debug)]
pub struct Extreme {
    length: usize,
    /// Whether a new value makes an old one irrelevant.
    replaces: fn(f64, f64) -> bool,
    seen: usize,
    /// Values that become the extreme when all before them have left the window, each with its number in the series.
    candidates: VecDeque<(usize, f64)>,
}

impl Extreme {
    pub fn highest(length: usize) -> Self {
        Self { length, replaces: |new, old| new >= old, seen: 0, candidates: VecDeque::new() }
    }

    pub fn lowest(length: usize) -> Self {
        Self { length, replaces: |new, old| new <= old, seen: 0, candidates: VecDeque::new() }
    }
}

impl Stream for Extreme {
    fn run(&mut self, inputs: &[&[f64]], outputs: &mut [&mut [f64]]) {
        let [extreme, bars_ago] = outputs else { return };
        for ((&new, extreme), bars_ago) in inputs[0].iter().zip(extreme.iter_mut()).zip(bars_ago.iter_mut()) {
            self.seen += 1;
            while self.candidates.back().is_some_and(|&(_, old)| (self.replaces)(new, old)) {
                self.candidates.pop_back();
            }
            self.candidates.push_back((self.seen, new));
            if self.candidates[0].0 + self.length == self.seen {
                self.candidates.pop_front();
            }
            (*extreme, *bars_ago) = if self.seen < self.length {
                (f64::NAN, f64::NAN)
            } else {
                (self.candidates[0].1, (self.seen - self.candidates[0].0) as f64)
            };
        }
    }

    fn reset(&mut self) {
        self.seen = 0;
        self.candidates.clear();
    }
}

/// Sums, sums of squares and of products of two series over a window, all exact. They are sums over the distances from `origin`, the first
/// values: the distances are smaller numbers with the same deviations.
#[derive(Debug, Default)]
struct Moments {
    values: VecDeque<(f64, f64)>,
    units: [Unit; 2],
    origin: [Integer; 2],
    sums: [Integer; 2],
    squares: [Integer; 2],
    products: Integer,
}

impl Moments {
    fn push(&mut self, a: f64, b: f64, length: usize) -> bool {
        let ([sum_a, sum_b], [squares_a, squares_b], [origin_a, origin_b]) = (&mut self.sums, &mut self.squares, &mut self.origin);
        let new_a = self.units[0].convert(a, &mut [(origin_a, 1), (sum_a, 1), (squares_a, 2), (&mut self.products, 1)]);
        let new_b = self.units[1].convert(b, &mut [(origin_b, 1), (sum_b, 1), (squares_b, 2), (&mut self.products, 1)]);
        if self.values.is_empty() {
            self.origin = [new_a.clone(), new_b.clone()];
        }
        self.values.push_back((a, b));
        self.accumulate(&new_a, &new_b, Integer::plus);
        if self.values.len() > length
            && let Some((a, b)) = self.values.pop_front()
        {
            let (old_a, old_b) = (self.units[0].integer(a), self.units[1].integer(b));
            self.accumulate(&old_a, &old_b, Integer::minus);
        }
        self.values.len() == length
    }

    #[inline(always)]
    fn accumulate(&mut self, a: &Integer, b: &Integer, combine: impl Fn(&Integer, &Integer) -> Integer) {
        let (a, b) = (a.minus(&self.origin[0]), b.minus(&self.origin[1]));
        self.sums = [combine(&self.sums[0], &a), combine(&self.sums[1], &b)];
        self.squares = [combine(&self.squares[0], &a.times(&a)), combine(&self.squares[1], &b.times(&b))];
        self.products = combine(&self.products, &a.times(&b));
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
        let spread = |k: usize, unit: i32| scaled_covariance(self.length, &squares[k], &sums[k], &sums[k]).to_float(2 * unit).sqrt();
        let spreads = spread(0, unit_a) * spread(1, unit_b);
        if spreads == 0.0 {
            return 0.0;
        }
        (scaled_covariance(self.length, products, &sums[0], &sums[1]).to_float(unit_a + unit_b) / spreads).clamp(-1.0, 1.0)
    }
}

/// `length^2` times the covariance of a window.
#[inline(always)]
fn scaled_covariance(length: usize, products: &Integer, sum_a: &Integer, sum_b: &Integer) -> Integer {
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
    /// The first value. Sums are over the distances from it, which are smaller numbers with the same deviation.
    origin: Integer,
    sum: Integer,
    squares: Integer,
}

impl Stdev {
    pub fn new(length: usize) -> Self {
        Self { length, values: VecDeque::new(), unit: Unit::default(), origin: Integer::ZERO, sum: Integer::ZERO, squares: Integer::ZERO }
    }

    #[inline(always)]
    fn next(&mut self, x: f64) -> f64 {
        let new = self.unit.convert(x, &mut [(&mut self.origin, 1), (&mut self.sum, 1), (&mut self.squares, 2)]);
        if self.values.is_empty() {
            self.origin = new.clone();
        }
        let new = new.minus(&self.origin);
        self.values.push_back(x);
        self.sum = self.sum.plus(&new);
        self.squares = self.squares.plus(&new.times(&new));
        if self.values.len() > self.length
            && let Some(old) = self.values.pop_front()
        {
            let old = self.unit.integer(old).minus(&self.origin);
            self.sum = self.sum.minus(&old);
            self.squares = self.squares.minus(&old.times(&old));
        }
        if self.values.len() < self.length {
            return f64::NAN;
        }
        let scaled_variance = scaled_covariance(self.length, &self.squares, &self.sum, &self.sum).to_float(2 * self.unit.exponent());
        (scaled_variance / (self.length * self.length) as f64).sqrt()
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

/// Sorted values, in blocks that are split when they are full, so that inserting and removing move few values.
#[derive(Debug, Default)]
struct SortedBlocks(Vec<Vec<f64>>);

const MAX_BLOCK: usize = 512;

impl SortedBlocks {
    /// The block that `x` belongs to: the first whose last value is not below it.
    fn block(&self, x: f64) -> usize {
        self.0.partition_point(|block| block.last().is_some_and(|&last| last < x))
    }

    fn insert(&mut self, x: f64) {
        let k = self.block(x).min(self.0.len().saturating_sub(1));
        if self.0.is_empty() {
            self.0.push(Vec::with_capacity(MAX_BLOCK));
        }
        let block = &mut self.0[k];
        block.insert(block.partition_point(|&value| value < x), x);
        if block.len() == MAX_BLOCK {
            let upper = block.split_off(MAX_BLOCK / 2);
            self.0.insert(k + 1, upper);
        }
    }

    /// Remove a value that was inserted before.
    fn remove(&mut self, x: f64) {
        let k = self.block(x);
        let block = &mut self.0[k];
        block.remove(block.partition_point(|&value| value < x));
        if block.is_empty() {
            self.0.remove(k);
        }
    }

    /// The number of values at or below `x`.
    fn count_at_most(&self, x: f64) -> usize {
        let k = self.0.partition_point(|block| block.last().is_some_and(|&last| last <= x));
        let below: usize = self.0[..k].iter().map(Vec::len).sum();
        below + self.0.get(k).map_or(0, |block| block.partition_point(|&value| value <= x))
    }
}

#[derive(Debug)]
pub struct PercentRank {
    length: usize,
    values: VecDeque<f64>,
    sorted: SortedBlocks,
}

impl PercentRank {
    pub fn new(length: usize) -> Self {
        Self { length, values: VecDeque::new(), sorted: SortedBlocks::default() }
    }

    fn next(&mut self, x: f64) -> f64 {
        let full = self.values.len() == self.length;
        let rank = if full { 100.0 * self.sorted.count_at_most(x) as f64 / self.length as f64 } else { f64::NAN };
        if full && let Some(old) = self.values.pop_front() {
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
    use super::{MAX_BLOCK, SortedBlocks};

    #[test]
    fn sorted_blocks_count_the_values_at_or_below_another() {
        let values: Vec<f64> = (0..8 * MAX_BLOCK as u64).map(|i| (i * i * 2_654_435_761 % 997) as f64 - 500.0).collect();
        let (mut sorted, window) = (SortedBlocks::default(), 3 * MAX_BLOCK);
        for (i, &x) in values.iter().enumerate() {
            let held = &values[i.saturating_sub(window)..i];
            assert_eq!(sorted.count_at_most(x), held.iter().filter(|&&value| value <= x).count());
            if held.len() == window {
                sorted.remove(held[0]);
            }
            sorted.insert(x);
            assert!(sorted.0.iter().all(|block| !block.is_empty() && block.len() < MAX_BLOCK));
        }
    }
}
