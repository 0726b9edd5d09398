//! Random numbers and times for tests.

/// Numbers in [0, 1) (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() * n as f64) as usize
    }

    /// Open times with many gaps, few or none.
    pub fn times(&mut self, n: usize, timeframe_ms: i64) -> Vec<i64> {
        let (often, far) = ([0.0, 0.01, 0.5][self.below(3)], [2, 3_000][self.below(2)]);
        let mut time = self.below(100_000) as i64 * timeframe_ms;
        (0..n)
            .map(|_| {
                let gap = if self.next() < often { self.below(far) as i64 } else { 0 };
                time += (1 + gap) * timeframe_ms;
                time
            })
            .collect()
    }
}
