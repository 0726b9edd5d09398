//! Windows of earlier values: extremes, spread, rank, and when something was last true.

use std::collections::VecDeque;

use super::Stream;

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
