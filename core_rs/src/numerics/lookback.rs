//! The values of a tile, together with those before it that operations look back to.

#[derive(Clone, Debug)]
pub struct Lookback<T> {
    values: Vec<T>,
    depth: usize,
    start: usize,
    len: usize,
}

impl<T: Copy> Lookback<T> {
    /// Values before the first one read as `initial`.
    pub fn new(depth: usize, tile: usize, initial: T) -> Self {
        // Room for `depth` more values means that each value is moved about once.
        Self { values: vec![initial; 2 * depth + tile], depth, start: depth, len: 0 }
    }

    /// Start a tile of `len` values; returns the slice to write them to.
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

    /// The tile `back` values earlier, at most `depth`.
    #[inline(always)]
    pub fn delayed(&self, back: usize) -> &[T] {
        &self.values[self.start - back..self.start - back + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::Lookback;

    #[test]
    fn earlier_values_can_be_read_up_to_the_depth() {
        let mut lookback = Lookback::new(7, 4, -1);
        let mut all = vec![-1; 7];
        for (round, len) in [4, 4, 1, 3, 4, 2, 4, 4, 4, 4].into_iter().enumerate() {
            for (k, slot) in lookback.next_tile(len).iter_mut().enumerate() {
                *slot = (round * 10 + k) as i32;
                all.push(*slot);
            }
            for back in 0..=7 {
                assert_eq!(lookback.delayed(back), &all[all.len() - len - back..all.len() - back]);
            }
        }
    }
}
