//! Bit masks over the bars of a tile: bit `i % 64` of word `i / 64` stands for bar `i`.

use std::ops::Range;

/// Bars in a tile: few enough that a tile's buffers stay in the first-level cache.
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

pub fn set_range(words: &mut Mask, bars: &Range<usize>) {
    for (w, word) in words.iter_mut().enumerate() {
        *word |= first_bits(w, bars.end) & !first_bits(w, bars.start);
    }
}

/// The bits of word `w` that stand for the first `n` bars.
#[inline(always)]
pub fn first_bits(w: usize, n: usize) -> u64 {
    let bars = n.saturating_sub(w * 64);
    if bars >= 64 { !0 } else { (1 << bars) - 1 }
}

/// `words` moved one bar later; the first bar gets `carry` (0 or 1).
#[inline(always)]
pub fn one_bar_later(words: &Mask, carry: u64) -> Mask {
    let mut out = [words[0] << 1 | carry; WORDS];
    for w in 1..WORDS {
        out[w] = words[w] << 1 | words[w - 1] >> 63;
    }
    out
}

/// A word whose bit `i` is `test(i)`, for up to 64 bits.
#[inline(always)]
pub fn word_where(len: usize, test: impl Fn(usize) -> bool) -> u64 {
    let mut bits = 0;
    for i in 0..len {
        bits |= u64::from(test(i)) << i;
    }
    bits
}
