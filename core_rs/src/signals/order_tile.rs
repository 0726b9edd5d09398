//! Turns the signals of strategy bars into orders, which are masks over the base bars whose open or close fills them: the twin of
//! `python_core.engine.orders`.

use std::ops::Range;

use crate::market::frame::Frame;
use crate::plan::{Crossings, Outputs};
use crate::signals::crossings::{self, crossing_orders};
use crate::signals::evaluate::Evaluator;
use crate::signals::level::{both_rest, resting_prices};
use crate::signals::orders::{
    ENTRY_LIMIT, ENTRY_LONG, ENTRY_SHORT, ENTRY_STOP, EXIT_LONG, EXIT_SHORT, OrderNeeds, Orders, SIZE, SLOTS, Source, TRAILING,
};
use crate::simd::bitmask::{self, Mask, TILE, WORDS};
use crate::simd::{self, Predicate, multiversion};

/// The orders of some base bars, all that the simulator needs besides the bars.
#[derive(Debug)]
pub struct OrderTile {
    /// The bars, counted from the first one that is simulated.
    pub start: usize,
    pub end: usize,
    pub at_open: Orders,
    /// Only with orders that fill at a close.
    pub at_close: Orders,
    /// Bars at whose open a strategy bar has closed; only if `OrderNeeds` asks for them.
    pub strategy_closes: Mask,
    needs: OrderNeeds,
    /// The first base bar that is simulated; those before it are warm-up.
    first_bar: usize,
    /// Prices of resting entries of strategy bars: long, short.
    resting_prices: [Vec<f64>; 2],
}

/// The signals of a frame's strategy bars, without those that rule each other out, and their numbers, by series.
struct FrameSignals<'a> {
    masks: [Mask; 4],
    contradictions: [Mask; 2],
    series: [&'a [f64]; SLOTS],
    n: usize,
}

/// The signals of a frame's last strategy bar, which fill at the next frame's first open.
#[derive(Clone, Copy, Debug)]
pub struct Carry {
    masks: [u64; 4],
    contradictions: [u64; 2],
    series: [f64; SLOTS],
    crossings: crossings::Carry,
}

impl Default for Carry {
    fn default() -> Self {
        Self { masks: [0; 4], contradictions: [0; 2], series: [f64::NAN; SLOTS], crossings: crossings::Carry::default() }
    }
}

impl OrderTile {
    /// `outputs` are those of the plan or template, `first_bar` the first base bar that is simulated.
    pub fn new(outputs: &Outputs, source: Source<'_>, needs: OrderNeeds, first_bar: usize) -> Self {
        let resting = needs.resting.map(|(limit, _)| if limit { ENTRY_LIMIT } else { ENTRY_STOP });
        let mut slots = [None; SLOTS];
        let mut count = 0;
        for slot in (0..SLOTS).filter(|&slot| slot < ENTRY_LIMIT || slot == SIZE) {
            let origin = |slot: usize| (source.numbers(slot).map(<[f64]>::as_ptr), outputs.levels.get(slot).copied().flatten());
            if origin(slot) == (None, None) {
                continue;
            }
            // Where both sides have the same series, they share it.
            if slot % 2 == 1 && origin(slot) == origin(slot - 1) {
                slots[slot] = slots[slot - 1];
            } else {
                slots[slot] = Some(count);
                count += 1;
            }
        }
        if let Some(first) = resting {
            (slots[first], slots[first + 1]) = (Some(count), Some(count + 1));
        }
        let orders = Orders::new(slots, resting);
        Self {
            start: 0,
            end: 0,
            at_close: orders.clone(),
            at_open: orders,
            strategy_closes: [0; WORDS],
            needs,
            first_bar,
            resting_prices: if resting.is_some() { [vec![0.0; TILE], vec![0.0; TILE]] } else { Default::default() },
        }
    }

    /// Set the orders of base bars `part` of a frame whose operations have been evaluated. Call it for the parts of a frame in order, each
    /// at most a tile long and none before the first bar that is simulated, and pass `carry` on from frame to frame.
    pub fn assemble(
        &mut self,
        frame: &Frame<'_>,
        part: Range<usize>,
        evaluator: &Evaluator,
        outputs: &Outputs,
        source: Source<'_>,
        carry: &mut Carry,
    ) {
        (self.start, self.end) = (part.start - self.first_bar, part.end - self.first_bar);
        let columns = frame.columns();
        if let Some(Crossings { a, b, rises }) = outputs.crossings {
            let ((a, a_may_have_nan), (b, b_may_have_nan)) = (evaluator.number(a, &columns), evaluator.number(b, &columns));
            return crossing_orders(a, b, a_may_have_nan || b_may_have_nan, rises, &mut carry.crossings, &mut self.at_open.masks);
        }
        let n = columns.close.len();
        let mut packed = [[0; WORDS]; 4];
        let mut signals = [&NONE; 4];
        match source {
            Source::Plan => {
                for (signal, condition) in signals.iter_mut().zip(outputs.conditions) {
                    if let Some(i) = condition {
                        *signal = &evaluator.condition(i).value;
                    }
                }
            }
            Source::Given(given) => {
                for ((signal, packed), mask) in signals.iter_mut().zip(&mut packed).zip(given.masks) {
                    if let Some(mask) = mask {
                        simd::pack_bools(&mask[part.clone()], packed);
                        *signal = packed;
                    }
                }
            }
        }
        let number = |slot: usize| match source.numbers(slot) {
            Some(values) => Some(&values[part.clone()]),
            None => outputs.levels.get(slot).copied().flatten().map(|i| evaluator.number(i, &columns).0),
        };
        let mut prices = std::mem::take(&mut self.resting_prices);
        if let (Some((limit, sides)), Some(first)) = (self.needs.resting, self.at_open.resting) {
            for (side, prices) in prices.iter_mut().enumerate() {
                resting_prices(sides[side], limit, side == 0, columns.close, number(first + side), self.needs.ticks, &mut prices[..n]);
            }
        }
        let mut from_frame = FrameSignals { masks: [NONE; 4], contradictions: [NONE; 2], series: [&[]; SLOTS], n };
        let (mut known, mut rests) = ([[!0; WORDS]; 2], NONE);
        for (slot, series) in self.at_open.slots.iter().enumerate() {
            let Some(series) = *series else { continue };
            let is_resting = self.at_open.resting.is_some_and(|first| slot == first || slot == first + 1);
            let values = if is_resting { Some(&prices[slot % 2][..n]) } else { number(slot) };
            let Some(values) = values else { continue };
            from_frame.series[series] = values;
            let sides = if slot == SIZE { 0..2 } else { slot % 2..slot % 2 + 1 };
            for side in sides {
                keep_known(values, slot / 2 == TRAILING / 2, source.numbers(slot).is_some(), &mut known[side]);
            }
        }
        if self.at_open.resting.is_some() {
            rests = both_rest(&prices, n);
        }
        resolve_conflicts(&signals, &known, &rests, n, &mut from_frame.masks);
        if self.needs.contradictions {
            for (side, out) in from_frame.contradictions.iter_mut().enumerate() {
                let (entries, exits) = (&from_frame.masks[2 * side], signals[2 * side + 1]);
                out.iter_mut().zip(entries.iter().zip(exits)).for_each(|(out, (entry, exit))| *out = entry & exit);
            }
        }
        if frame.is_base() {
            self.shift_by_one_bar(frame, part, &from_frame, carry);
        } else {
            self.spread_to_base_bars(frame, part, &from_frame, carry);
        }
        self.resting_prices = prices;
    }

    /// If strategy bars are base bars, the orders of each bar fill on the next.
    fn shift_by_one_bar(&mut self, frame: &Frame<'_>, part: Range<usize>, from_frame: &FrameSignals<'_>, carry: &mut Carry) {
        let FrameSignals { masks, contradictions, series, n } = from_frame;
        let n = *n;
        if part.start == self.first_bar {
            *carry = Carry::default();
        }
        for ((mask, carried), out) in masks.iter().zip(&mut carry.masks).zip(&mut self.at_open.masks) {
            shift(mask, carried, n, out);
        }
        if self.needs.contradictions {
            for ((mask, carried), out) in contradictions.iter().zip(&mut carry.contradictions).zip(&mut self.at_open.contradictions) {
                shift(mask, carried, n, out);
            }
        }
        for (which, shifted) in self.at_open.series.iter_mut().enumerate() {
            let values = series[which];
            shifted[0] = carry.series[which];
            shifted[1..n].copy_from_slice(&values[..n - 1]);
            carry.series[which] = values[n - 1];
            if self.needs.at_close {
                self.at_close.series[which][..n].copy_from_slice(values);
            }
        }
        if self.needs.at_close {
            self.at_open.masks = [NONE; 4];
            (self.at_close.masks, self.at_close.contradictions) = (*masks, *contradictions);
            if frame.is_last() {
                self.at_close.masks.iter_mut().for_each(|mask| mask[(n - 1) / 64] &= !(1 << ((n - 1) % 64)));
            }
        }
        if self.needs.strategy_closes {
            self.strategy_closes = [!0; WORDS];
            self.strategy_closes[0] &= if part.start == 0 { !1 } else { !0 };
        }
    }

    /// If strategy bars span several base bars, each order goes to the one base bar that fills it.
    fn spread_to_base_bars(&mut self, frame: &Frame<'_>, part: Range<usize>, from_frame: &FrameSignals<'_>, carry: &mut Carry) {
        let FrameSignals { masks, contradictions, series, n } = from_frame;
        let n = *n;
        for orders in [&mut self.at_open, &mut self.at_close] {
            (orders.masks, orders.contradictions) = ([NONE; 4], [NONE; 2]);
        }
        self.strategy_closes = NONE;
        let has_orders = |fills_at: usize| fills_at > self.first_bar;
        if part.start == frame.start && part.start > 0 {
            // The last strategy bar of the frame before ended just before this frame.
            bitmask::set(&mut self.strategy_closes, 0);
            if has_orders(part.start) {
                for (mask, carried) in self.at_open.masks.iter_mut().zip(carry.masks) {
                    mask[0] |= carried;
                }
                for (mask, carried) in self.at_open.contradictions.iter_mut().zip(carry.contradictions) {
                    mask[0] |= carried;
                }
                for (values, carried) in self.at_open.series.iter_mut().zip(carry.series) {
                    values[0] = carried;
                }
            }
        }
        for k in 0..n {
            let fills_at = frame.fills_at[k];
            let bar = if self.needs.at_close { fills_at - 1 } else { fills_at };
            if part.contains(&fills_at) {
                bitmask::set(&mut self.strategy_closes, fills_at - part.start);
            }
            if !part.contains(&bar) || !has_orders(fills_at) || (fills_at == frame.end && frame.is_last()) {
                continue;
            }
            let (at, orders) = (bar - part.start, if self.needs.at_close { &mut self.at_close } else { &mut self.at_open });
            let masks = orders.masks.iter_mut().zip(masks).chain(orders.contradictions.iter_mut().zip(contradictions));
            for (mask, signal) in masks {
                mask[at / 64] |= u64::from(bitmask::get(signal, k)) << (at % 64);
            }
            for (target, values) in orders.series.iter_mut().zip(series) {
                target[at] = values[k];
            }
        }
        if part.end == frame.end {
            *carry = Carry::default();
            if n > 0 && !self.needs.at_close {
                carry.masks = masks.map(|mask| u64::from(bitmask::get(&mask, n - 1)));
                carry.contradictions = contradictions.map(|mask| u64::from(bitmask::get(&mask, n - 1)));
                for (carried, values) in carry.series.iter_mut().zip(series).take(self.at_open.series.len()) {
                    *carried = values[n - 1];
                }
            }
        }
    }
}

const NONE: Mask = [0; WORDS];

/// Keep the bars on which a number is known. A trailing distance must not be negative, either; if the caller gives it as infinity of either
/// sign, there is none.
fn keep_known(values: &[f64], is_trailing: bool, is_given: bool, known: &mut Mask) {
    let mut this = NONE;
    if is_trailing {
        simd::compare(Predicate::Ge, values, &[0.0; TILE][..values.len()], &mut this);
        if is_given {
            let mut infinite = NONE;
            simd::compare(Predicate::Eq, values, &[f64::NEG_INFINITY; TILE][..values.len()], &mut infinite);
            this.iter_mut().zip(infinite).for_each(|(this, infinite)| *this |= infinite);
        }
    } else {
        simd::compare(Predicate::Eq, values, values, &mut this);
    }
    known.iter_mut().zip(this).for_each(|(known, this)| *known &= this);
}

multiversion! {
    /// Clear bits past the end of a tile; entries whose numbers are not known; entries in both directions on one bar, unless both rest; and
    /// exits with an entry of their side.
    fn resolve_conflicts(signals: &[&Mask; 4], known: &[Mask; 2], both_rest: &Mask, n: usize, out: &mut [Mask; 4]) = resolve_conflicts_in;
}
#[inline(always)]
fn resolve_conflicts_in(signals: &[&Mask; 4], known: &[Mask; 2], both_rest: &Mask, n: usize, out: &mut [Mask; 4]) {
    for w in 0..WORDS {
        let inside = bitmask::first_bits(w, n);
        let (long, short) = (signals[ENTRY_LONG][w] & known[0][w] & inside, signals[ENTRY_SHORT][w] & known[1][w] & inside);
        let cancelled = long & short & !both_rest[w];
        (out[ENTRY_LONG][w], out[ENTRY_SHORT][w]) = (long & !cancelled, short & !cancelled);
        out[EXIT_LONG][w] = signals[EXIT_LONG][w] & inside & !out[ENTRY_LONG][w];
        out[EXIT_SHORT][w] = signals[EXIT_SHORT][w] & inside & !out[ENTRY_SHORT][w];
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
