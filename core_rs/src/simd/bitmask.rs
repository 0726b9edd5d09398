//! Bit masks, 64 bars a word: bit `i % 64` of word `i / 64` is bar `i` of the tile.

use std::ops::Range;

/// Bars in a tile; its buffers stay in the first-level cache.
pub const TILE: usize = 1024;
pub const WORDS: usize = TILE / 64;

pub type Mask = [u64; WORDS];

#[inline(always)]
pub fn get(words: &[u64], i: usize) -> bool {
    words[i / 64] >> (i % 64) & 1 != 0
}

#[inline(always)]
pub fn set(words: &mut [u64], i: usize) {
    words[i / 64] |= 1 << (i % 64);
}

pub fn set_all(words: &mut Mask, bars: &Range<usize>) {
    for (w, word) in words.iter_mut().enumerate() {
        *word |= inside(w, bars.end) & !inside(w, bars.start);
    }
}

/// The bits of word `w` that stand for the first `n` bars.
#[inline(always)]
pub fn inside(w: usize, n: usize) -> u64 {
    let bars = n.saturating_sub(w * 64);
    if bars >= 64 { !0 } else { (1 << bars) - 1 }
}

/// `words` moved one bar later, `carry` (0 or 1) coming in first.
#[inline(always)]
pub fn shifted(words: &Mask, carry: u64) -> Mask {
    let mut out = [words[0] << 1 | carry; WORDS];
    for w in 1..WORDS {
        out[w] = words[w] << 1 | words[w - 1] >> 63;
    }
    out
}

/// A word with one bit for each of up to 64 values of `test`.
#[inline(always)]
pub fn word(len: usize, test: impl Fn(usize) -> bool) -> u64 {
    let mut bits = 0;
    for i in 0..len {
        bits |= u64::from(test(i)) << i;
    }
    bits
}
