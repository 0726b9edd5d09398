//! From signals of strategy bars to orders: masks over the base bars whose open (or close) fills them.

use std::ops::Range;

use crate::market::frame::Frame;
use crate::plan::Outputs;
use crate::signals::evaluate::Evaluator;
use crate::simd::bitmask::{self, Mask, TILE, WORDS};
use crate::simd::{self, Predicate, multiversion};

pub const ENTRY_LONG: usize = 0;
pub const EXIT_LONG: usize = 1;
pub const ENTRY_SHORT: usize = 2;
pub const EXIT_SHORT: usize = 3;

/// Orders that fill on bars of a tile: masks in the order of the constants above, and the levels frozen for an entry on each bar.
#[derive(Clone, Debug)]
pub struct Orders {
    pub masks: [Mask; 4],
    /// Stop-loss, take-profit and trailing series, empty where the rules need none.
    pub levels: [Vec<f64>; 3],
}

impl Orders {
    fn new(wanted: &[bool; 3]) -> Self {
        Self { masks: [[0; WORDS]; 4], levels: wanted.map(|wanted| if wanted { vec![f64::NAN; TILE] } else { Vec::new() }) }
    }

    pub fn level(&self, which: usize, bar: usize) -> f64 {
        self.levels[which].get(bar).copied().unwrap_or(f64::NAN)
    }
}

/// Everything the simulator needs for base bars `start..end`.
#[derive(Debug)]
pub struct OrderTile {
    pub start: usize,
    pub end: usize,
    pub at_open: Orders,
    /// Only for orders that fill at a close.
    pub at_close: Orders,
    /// Bars at whose open a strategy bar has closed; only for time stops.
    pub due: Mask,
}

/// Where signals come from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    Plan,
    /// One value for each base bar; 0 is false.
    Given([Option<&'a [u8]>; 4]),
}

/// Which orders and dues the rules need.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub at_close: bool,
    pub due: bool,
}

/// Signals and levels of a frame's strategy bars, after the contract's rules for signals on one bar.
struct Settled<'a> {
    signals: [Mask; 4],
    levels: [Option<&'a [f64]>; 3],
    n: usize,
}

/// The signals of a frame's last strategy bar, which fill at the next frame's first open.
#[derive(Clone, Copy, Debug)]
pub struct Carry {
    signals: [u64; 4],
    levels: [f64; 3],
}

impl Default for Carry {
    fn default() -> Self {
        Self { signals: [0; 4], levels: [f64::NAN; 3] }
    }
}

impl OrderTile {
    pub fn new(outputs: &Outputs) -> Self {
        let levels = outputs.levels.map(|level| level.is_some());
        Self { start: 0, end: 0, at_open: Orders::new(&levels), at_close: Orders::new(&levels), due: [0; WORDS] }
    }

    /// Fill in the orders of base bars `part` of a frame whose operations have been evaluated. The parts of a frame, each at most one tile
    /// long, come in order; `carry` goes from frame to frame.
    #[allow(clippy::too_many_arguments)]
    pub fn assemble(
        &mut self,
        frame: &Frame<'_>,
        part: Range<usize>,
        evaluator: &Evaluator,
        outputs: &Outputs,
        source: Source<'_>,
        wanted: Wanted,
        carry: &mut Carry,
    ) {
        (self.start, self.end) = (part.start, part.end);
        let columns = frame.columns();
        let n = columns.close.len();
        let mut packed = [[0; WORDS]; 4];
        let mut signals = [&[0; WORDS]; 4];
        match source {
            Source::Plan => {
                for (signal, condition) in signals.iter_mut().zip(outputs.conditions) {
                    if let Some(i) = condition {
                        *signal = &evaluator.truth(i).value;
                    }
                }
            }
            Source::Given(masks) => {
                for ((signal, packed), mask) in signals.iter_mut().zip(&mut packed).zip(masks) {
                    if let Some(mask) = mask {
                        simd::pack_bools(&mask[part.clone()], packed);
                        *signal = packed;
                    }
                }
            }
        }
        let levels = outputs.levels.map(|level| level.map(|i| evaluator.number(i, &columns)));
        let mut settled = Settled { signals: [[0; WORDS]; 4], levels, n };
        let known = known(&levels);
        settle(&signals, &known, n, &mut settled.signals);
        if frame.is_base() {
            self.shift(frame, &settled, wanted, carry);
        } else {
            self.spread(frame, &settled, wanted, carry);
        }
    }

    /// Strategy bars are base bars: the orders of one bar fill on the next.
    fn shift(&mut self, frame: &Frame<'_>, settled: &Settled<'_>, wanted: Wanted, carry: &mut Carry) {
        let Settled { signals, levels, n } = settled;
        let n = *n;
        for ((signal, carried), out) in signals.iter().zip(&mut carry.signals).zip(&mut self.at_open.masks) {
            shift(signal, carried, n, out);
        }
        for (which, level) in levels.iter().enumerate() {
            if let Some(level) = level {
                let shifted = &mut self.at_open.levels[which];
                shifted[0] = carry.levels[which];
                shifted[1..n].copy_from_slice(&level[..n - 1]);
                carry.levels[which] = level[n - 1];
                if wanted.at_close {
                    self.at_close.levels[which][..n].copy_from_slice(level);
                }
            }
        }
        if wanted.at_close {
            self.at_open.masks = [[0; WORDS]; 4];
            self.at_close.masks = *signals;
            if frame.is_last() {
                self.at_close.masks.iter_mut().for_each(|mask| mask[(n - 1) / 64] &= !(1 << ((n - 1) % 64)));
            }
        }
        if wanted.due {
            self.due = [!0; WORDS];
            self.due[0] &= if self.start == 0 { !1 } else { !0 };
        }
    }

    /// Strategy bars span base bars: each order goes to the one base bar that fills it.
    fn spread(&mut self, frame: &Frame<'_>, settled: &Settled<'_>, wanted: Wanted, carry: &mut Carry) {
        let Settled { signals, levels, n } = settled;
        let n = *n;
        self.at_open.masks = [[0; WORDS]; 4];
        self.at_close.masks = [[0; WORDS]; 4];
        self.due = [0; WORDS];
        let bars = self.start..self.end;
        if self.start == frame.start && self.start > 0 {
            // The strategy bar before this frame ended with the base bar before it.
            bitmask::set(&mut self.due, 0);
            for (mask, carried) in self.at_open.masks.iter_mut().zip(carry.signals) {
                mask[0] |= carried;
            }
            for (level, carried) in self.at_open.levels.iter_mut().zip(carry.levels) {
                if let Some(first) = level.first_mut() {
                    *first = carried;
                }
            }
        }
        for k in 0..n {
            let fills_at = frame.fills_at[k];
            let at_close = wanted.at_close && frame.closes_on_time[k];
            let bar = if at_close { fills_at - 1 } else { fills_at };
            if bars.contains(&fills_at) {
                bitmask::set(&mut self.due, fills_at - self.start);
            }
            if !bars.contains(&bar) || (fills_at == frame.end && frame.is_last()) {
                continue;
            }
            let (at, orders) = (bar - self.start, if at_close { &mut self.at_close } else { &mut self.at_open });
            for (mask, signal) in orders.masks.iter_mut().zip(signals) {
                mask[at / 64] |= u64::from(bitmask::get(signal, k)) << (at % 64);
            }
            for (target, level) in orders.levels.iter_mut().zip(levels) {
                if let Some(level) = level {
                    target[at] = level[k];
                }
            }
        }
        if self.end == frame.end {
            *carry = Carry::default();
            if n > 0 && !(wanted.at_close && frame.closes_on_time[n - 1]) {
                for (carried, signal) in carry.signals.iter_mut().zip(signals) {
                    *carried = u64::from(bitmask::get(signal, n - 1));
                }
                for (carried, level) in carry.levels.iter_mut().zip(levels) {
                    *carried = level.map_or(f64::NAN, |level| level[n - 1]);
                }
            }
        }
    }
}

/// Bars on which all levels are known.
fn known(levels: &[Option<&[f64]>; 3]) -> Mask {
    let mut known = [!0; WORDS];
    for (which, level) in levels.iter().enumerate() {
        if let Some(level) = level {
            let mut this = [0; WORDS];
            if which == 2 {
                simd::compare(Predicate::Ge, level, &[0.0; TILE][..level.len()], &mut this);
            } else {
                simd::compare(Predicate::Eq, level, level, &mut this);
            }
            known.iter_mut().zip(this).for_each(|(known, this)| *known &= this);
        }
    }
    known
}

multiversion! {
    /// Bits past the end of a tile are cleared; an entry and an opposite entry cancel; an entry whose level is not known is none.
    fn settle(signals: &[&Mask; 4], known: &Mask, n: usize, out: &mut [Mask; 4]) = settle_in;
}
#[inline(always)]
fn settle_in(signals: &[&Mask; 4], known: &Mask, n: usize, out: &mut [Mask; 4]) {
    for w in 0..WORDS {
        let inside = bitmask::first_bits(w, n);
        let (long, short) = (signals[ENTRY_LONG][w], signals[ENTRY_SHORT][w]);
        out[ENTRY_LONG][w] = long & !short & known[w] & inside;
        out[ENTRY_SHORT][w] = short & !long & known[w] & inside;
        out[EXIT_LONG][w] = signals[EXIT_LONG][w] & inside;
        out[EXIT_SHORT][w] = signals[EXIT_SHORT][w] & inside;
    }
}

multiversion! {
    /// `mask` one bar later; `carry` comes in first, and takes the bit of the last of `n` bars along.
    fn shift(mask: &Mask, carry: &mut u64, n: usize, out: &mut Mask) = shift_in;
}
#[inline(always)]
fn shift_in(mask: &Mask, carry: &mut u64, n: usize, out: &mut Mask) {
    *out = bitmask::one_bar_later(mask, *carry);
    *carry = u64::from(bitmask::get(mask, n - 1));
}
