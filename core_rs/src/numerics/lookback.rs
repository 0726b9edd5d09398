//! A stream's newest values, with the `depth` before the current tile still at hand.

#[derive(Clone, Debug)]
pub struct History<T> {
    values: Vec<T>,
    depth: usize,
    start: usize,
    len: usize,
}

impl<T: Copy> History<T> {
    /// Before the first value the stream is as if filled with `blank`.
    pub fn new(depth: usize, tile: usize, blank: T) -> Self {
        // Room for `depth` new values between two moves keeps the cost of moving constant per value.
        Self { values: vec![blank; 2 * depth + tile], depth, start: depth, len: 0 }
    }

    /// Begin a tile of `len` values; returns the place to write them.
    #[inline(always)]
    pub fn next_tile(&mut self, len: usize) -> &mut [T] {
        self.start += self.len;
        self.len = len;
        if self.start + len > self.values.len() {
            self.values.copy_within(self.start - self.depth..self.start, 0);
            self.start = self.depth;
        }
        &mut self.values[self.start..self.start + len]
    }

    /// The tile's values, each as it was `back` (at most `depth`) values earlier.
    #[inline(always)]
    pub fn tile(&self, back: usize) -> &[T] {
        &self.values[self.start - back..self.start - back + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::History;

    #[test]
    fn earlier_values_stay_at_hand() {
        let mut history = History::new(7, 4, -1);
        let mut all = vec![-1; 7];
        for (round, len) in [4, 4, 1, 3, 4, 2, 4, 4, 4, 4].into_iter().enumerate() {
            for (k, slot) in history.next_tile(len).iter_mut().enumerate() {
                *slot = (round * 10 + k) as i32;
                all.push(*slot);
            }
            for back in 0..=7 {
                assert_eq!(history.tile(back), &all[all.len() - len - back..all.len() - back]);
            }
        }
    }
}
