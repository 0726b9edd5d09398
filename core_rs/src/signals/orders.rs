//! Turns the signals of strategy bars into orders, which are masks over the base bars whose open or close fills them: the twin of
//! `python_core.engine.orders`.

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

/// Orders that fill on bars of a tile: masks in the order of the constants above, and for each bar the levels of an entry on it.
#[derive(Clone, Debug)]
pub struct Orders {
    pub masks: [Mask; 4],
    /// The series of stop-loss, take-profit and trailing stop, empty if there is none.
    pub levels: [Vec<f64>; 3],
}

impl Orders {
    fn new(has_level: &[bool; 3]) -> Self {
        Self { masks: [[0; WORDS]; 4], levels: has_level.map(|has| if has { vec![f64::NAN; TILE] } else { Vec::new() }) }
    }

    pub fn level(&self, which: usize, bar: usize) -> f64 {
        self.levels[which].get(bar).copied().unwrap_or(f64::NAN)
    }
}

/// The orders of base bars `start..end`, all that the simulator needs besides the bars.
#[derive(Debug)]
pub struct OrderTile {
    pub start: usize,
    pub end: usize,
    pub at_open: Orders,
    /// Only with orders that fill at a close.
    pub at_close: Orders,
    /// Bars at whose open a strategy bar has closed; only with a limit on the bars of a position.
    pub strategy_closes: Mask,
}

/// Where signals come from: a plan's conditions, or the caller.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    Plan,
    /// One value for each base bar; 0 is false.
    Given([Option<&'a [u8]>; 4]),
}

/// What an execution needs of an `OrderTile` besides orders at the open.
#[derive(Clone, Copy, Debug)]
pub struct OrderNeeds {
    pub at_close: bool,
    pub strategy_closes: bool,
}

/// The signals of a frame's strategy bars, without those that rule each other out, and their levels.
struct FrameSignals<'a> {
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
        Self { start: 0, end: 0, at_open: Orders::new(&levels), at_close: Orders::new(&levels), strategy_closes: [0; WORDS] }
    }

    /// Set the orders of base bars `part` of a frame whose operations have been evaluated. Call it for the parts of a frame in order, each
    /// at most a tile long, and pass `carry` on from frame to frame.
    #[allow(clippy::too_many_arguments)]
    pub fn assemble(
        &mut self,
        frame: &Frame<'_>,
        part: Range<usize>,
        evaluator: &Evaluator,
        outputs: &Outputs,
        source: Source<'_>,
        needs: OrderNeeds,
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
                        *signal = &evaluator.condition(i).value;
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
        let mut from_frame = FrameSignals { signals: [[0; WORDS]; 4], levels, n };
        let known = known(&levels);
        resolve_conflicts(&signals, &known, n, &mut from_frame.signals);
        if frame.is_base() {
            self.shift_by_one_bar(frame, &from_frame, needs, carry);
        } else {
            self.spread_to_base_bars(frame, &from_frame, needs, carry);
        }
    }

    /// If strategy bars are base bars, the orders of each bar fill on the next.
    fn shift_by_one_bar(&mut self, frame: &Frame<'_>, from_frame: &FrameSignals<'_>, needs: OrderNeeds, carry: &mut Carry) {
        let FrameSignals { signals, levels, n } = from_frame;
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
                if needs.at_close {
                    self.at_close.levels[which][..n].copy_from_slice(level);
                }
            }
        }
        if needs.at_close {
            self.at_open.masks = [[0; WORDS]; 4];
            self.at_close.masks = *signals;
            if frame.is_last() {
                self.at_close.masks.iter_mut().for_each(|mask| mask[(n - 1) / 64] &= !(1 << ((n - 1) % 64)));
            }
        }
        if needs.strategy_closes {
            self.strategy_closes = [!0; WORDS];
            self.strategy_closes[0] &= if self.start == 0 { !1 } else { !0 };
        }
    }

    /// If strategy bars span several base bars, each order goes to the one base bar that fills it.
    fn spread_to_base_bars(&mut self, frame: &Frame<'_>, from_frame: &FrameSignals<'_>, needs: OrderNeeds, carry: &mut Carry) {
        let FrameSignals { signals, levels, n } = from_frame;
        let n = *n;
        self.at_open.masks = [[0; WORDS]; 4];
        self.at_close.masks = [[0; WORDS]; 4];
        self.strategy_closes = [0; WORDS];
        let bars = self.start..self.end;
        if self.start == frame.start && self.start > 0 {
            // The last strategy bar of the frame before ended just before this frame.
            bitmask::set(&mut self.strategy_closes, 0);
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
            let bar = if needs.at_close { fills_at - 1 } else { fills_at };
            if bars.contains(&fills_at) {
                bitmask::set(&mut self.strategy_closes, fills_at - self.start);
            }
            if !bars.contains(&bar) || (fills_at == frame.end && frame.is_last()) {
                continue;
            }
            let (at, orders) = (bar - self.start, if needs.at_close { &mut self.at_close } else { &mut self.at_open });
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
            if n > 0 && !needs.at_close {
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

/// Bars on which all levels are known. A trailing distance must not be negative, either.
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
    /// Clear bits past the end of a tile, entries in both directions on one bar, and entries whose levels are not known.
    fn resolve_conflicts(signals: &[&Mask; 4], known: &Mask, n: usize, out: &mut [Mask; 4]) = resolve_conflicts_in;
}
#[inline(always)]
fn resolve_conflicts_in(signals: &[&Mask; 4], known: &Mask, n: usize, out: &mut [Mask; 4]) {
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
    /// Move `mask` one bar later: the first bar gets `carry`, which takes the bit of the last of `n` bars.
    fn shift(mask: &Mask, carry: &mut u64, n: usize, out: &mut Mask) = shift_in;
}
#[inline(always)]
fn shift_in(mask: &Mask, carry: &mut u64, n: usize, out: &mut Mask) {
    *out = bitmask::one_bar_later(mask, *carry);
    *carry = u64::from(bitmask::get(mask, n - 1));
}
