//! What becomes of equity from bar to bar: kept, boiled down to drawdowns and period ends, or not looked at.

use std::ops::Range;

use crate::simd::held::Held;
use crate::simd::{fill, mark_to_market};
use crate::simulation::drawdown::Drawdown;

/// Takes in equity in the order of bars, without gaps.
pub trait Curve {
    /// Equity stays at `value` over `bars`.
    fn flat(&mut self, bars: Range<usize>, value: f64);

    /// Equity follows `close`, the closes of all bars, over `bars`. Gives the first bar at which it is 0 or less, if there is one: that bar and
    /// those after it are not taken in.
    fn held(&mut self, bars: Range<usize>, close: &[f64], held: Held) -> Option<usize>;

    /// All of the bars of a tile have been taken in.
    #[inline(always)]
    fn end_tile(&mut self, _bars: Range<usize>) {}
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
        fill(&mut self.equity[bars], value);
    }

    #[inline(always)]
    fn held(&mut self, bars: Range<usize>, close: &[f64], held: Held) -> Option<usize> {
        let ruined = mark_to_market(&close[bars.clone()], held, &mut self.equity[bars.clone()]);
        if ruined { held.ruin(bars, close) } else { None }
    }

    #[inline(always)]
    fn end_tile(&mut self, bars: Range<usize>) {
        self.drawdown.push(&self.equity[bars]);
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
        let ruin = self.drawdown.push_held(&close[bars.clone()], held).map(|place| bars.start + place);
        self.keep(ruin.unwrap_or(bars.end), |bar| held.equity(close[bar]));
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
