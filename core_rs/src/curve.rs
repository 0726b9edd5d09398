//! What becomes of equity from bar to bar: kept, boiled down to drawdowns and period ends, or not looked at.

use std::ops::Range;

use crate::bits::TILE;
use crate::drawdown::Drawdown;
use crate::simd::{extremes, mark};

/// A position between two events; equity follows the close.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    pub balance: f64,
    /// Negative when short.
    pub quantity: f64,
    pub entry: f64,
}

impl Held {
    #[inline(always)]
    pub fn equity(&self, close: f64) -> f64 {
        self.balance + self.quantity * (close - self.entry)
    }

    /// The first bar at whose close equity is 0 or less.
    fn ruin(&self, bars: Range<usize>, close: &[f64]) -> Option<usize> {
        bars.into_iter().find(|&bar| self.equity(close[bar]) <= 0.0)
    }
}

/// Takes in equity in the order of bars, without gaps.
pub trait Curve {
    /// Equity stays at `value` over `bars`.
    fn flat(&mut self, bars: Range<usize>, value: f64);

    /// Equity follows `close`, the closes of all bars, over `bars`. Gives the first bar at which it is 0 or less, if there is one: that bar and
    /// those after it are not taken in.
    fn held(&mut self, bars: Range<usize>, close: &[f64], held: Held) -> Option<usize>;
}

/// Keeps equity, and follows its drawdown.
#[derive(Debug)]
pub struct Kept<'a> {
    pub equity: &'a mut [f64],
    pub drawdown: Drawdown<'a>,
}

impl Curve for Kept<'_> {
    #[inline(always)]
    fn flat(&mut self, bars: Range<usize>, value: f64) {
        self.drawdown.push_flat(value, bars.len());
        self.equity[bars].fill(value);
    }

    #[inline(always)]
    fn held(&mut self, bars: Range<usize>, close: &[f64], held: Held) -> Option<usize> {
        let equity = &mut self.equity[bars.clone()];
        let (low, high) = mark(&close[bars.clone()], held, equity);
        let ruin = if low <= 0.0 { held.ruin(bars.clone(), close) } else { None };
        match ruin {
            None => self.drawdown.push_within(equity, low, high),
            Some(bar) => self.drawdown.push_slice(&equity[..bar - bars.start]),
        }
        ruin
    }
}

/// Follows drawdown, and keeps equity at period ends only.
#[derive(Clone, Debug)]
pub struct Followed<'a> {
    pub drawdown: Drawdown<'a>,
    pub periods: Vec<f64>,
    /// Last bars of the periods that are not over yet.
    pub ends: &'a [usize],
}

impl Followed<'_> {
    #[inline(always)]
    fn keep(&mut self, until: usize, equity: impl Fn(usize) -> f64) {
        while let Some((&end, later)) = self.ends.split_first()
            && end < until
        {
            self.periods.push(equity(end));
            self.ends = later;
        }
    }
}

impl Curve for Followed<'_> {
    #[inline(always)]
    fn flat(&mut self, bars: Range<usize>, value: f64) {
        self.drawdown.push_flat(value, bars.len());
        self.keep(bars.end, |_| value);
    }

    #[inline(always)]
    fn held(&mut self, bars: Range<usize>, close: &[f64], held: Held) -> Option<usize> {
        // Rounding is monotone, so the extremes of equity are those of the close.
        let (least, most) = extremes(&close[bars.clone()], &close[bars.clone()]);
        let (a, b) = (held.equity(least), held.equity(most));
        let (low, high) = if a < b { (a, b) } else { (b, a) };
        let ruin = if low <= 0.0 { held.ruin(bars.clone(), close) } else { None };
        let taken = bars.start..ruin.unwrap_or(bars.end);
        if high < self.drawdown.peak() && ruin.is_none() {
            self.drawdown.push_below(low, taken.len());
        } else {
            let mut equity = [0.0; TILE];
            let equity = &mut equity[..taken.len()];
            mark(&close[taken.clone()], held, equity);
            self.drawdown.push_slice(equity);
        }
        self.keep(taken.end, |bar| held.equity(close[bar]));
        ruin
    }
}

/// For runs of which nobody asks how equity went, and in which an open position is never worth 0 or less.
#[derive(Clone, Copy, Debug)]
pub struct Ignored;

impl Curve for Ignored {
    #[inline(always)]
    fn flat(&mut self, _bars: Range<usize>, _value: f64) {}

    #[inline(always)]
    fn held(&mut self, _bars: Range<usize>, _close: &[f64], _held: Held) -> Option<usize> {
        None
    }
}
