//! What a run does with equity at each bar: store it, reduce it to drawdowns and period ends, or ignore it.

use std::ops::Range;

use crate::simd::held::Held;
use crate::simd::{fill, mark_to_market};
use crate::simulation::drawdown::DrawdownTracker;

/// Receives equity in the order of bars, without gaps.
pub trait EquityCurve {
    /// Equity stays at `value` over `bars`.
    fn push_flat(&mut self, bars: Range<usize>, value: f64);

    /// Equity is that of the position `held` over `bars`; `close` are the closes of all bars. Returns the first bar in which
    /// it is ruin, if there is one; that bar and those after it do not count as received.
    fn push_held(&mut self, bars: Range<usize>, close: &[f64], held: Held) -> Option<usize>;

    /// Equity of all `_bars`, which are a tile, has been received.
    #[inline(always)]
    fn end_tile(&mut self, _bars: Range<usize>) {}
}

/// Stores equity at every bar and tracks its drawdown.
#[derive(Debug)]
pub struct StoredCurve<'a> {
    pub equity: &'a mut [f64],
    pub drawdown: DrawdownTracker<'a>,
}

impl EquityCurve for StoredCurve<'_> {
    #[inline(always)]
    fn push_flat(&mut self, bars: Range<usize>, value: f64) {
        fill(&mut self.equity[bars], value);
    }

    #[inline(always)]
    fn push_held(&mut self, bars: Range<usize>, close: &[f64], held: Held) -> Option<usize> {
        let ruined = mark_to_market(&close[bars.clone()], held, &mut self.equity[bars.clone()]);
        if ruined { held.first_ruin(bars, close) } else { None }
    }

    #[inline(always)]
    fn end_tile(&mut self, bars: Range<usize>) {
        self.drawdown.push(&self.equity[bars]);
    }
}

/// Tracks drawdown, and stores equity at period ends only.
#[derive(Clone, Debug)]
pub struct DrawdownCurve<'a> {
    pub drawdown: DrawdownTracker<'a>,
    pub periods: Vec<f64>,
    /// The last bars of periods that have not ended yet.
    pub ends: &'a [usize],
}

impl DrawdownCurve<'_> {
    #[inline(always)]
    fn store_period_ends(&mut self, until: usize, equity: impl Fn(usize) -> f64) {
        while let Some((&end, later)) = self.ends.split_first()
            && end < until
        {
            self.periods.push(equity(end));
            self.ends = later;
        }
    }
}

impl EquityCurve for DrawdownCurve<'_> {
    #[inline(always)]
    fn push_flat(&mut self, bars: Range<usize>, value: f64) {
        self.drawdown.push_flat(value, bars.len());
        self.store_period_ends(bars.end, |_| value);
    }

    #[inline(always)]
    fn push_held(&mut self, bars: Range<usize>, close: &[f64], held: Held) -> Option<usize> {
        let ruin = self.drawdown.push_held(&close[bars.clone()], held).map(|i| bars.start + i);
        self.store_period_ends(ruin.unwrap_or(bars.end), |bar| held.equity(close[bar]));
        ruin
    }
}

/// For runs whose equity is not needed.
#[derive(Clone, Copy, Debug)]
pub struct IgnoredCurve {
    /// A position bought from a larger balance than this is worth something at every price.
    pub safe_balance: f64,
}

impl EquityCurve for IgnoredCurve {
    #[inline(always)]
    fn push_flat(&mut self, _bars: Range<usize>, _value: f64) {}

    #[inline(always)]
    fn push_held(&mut self, bars: Range<usize>, close: &[f64], held: Held) -> Option<usize> {
        if held.balance > self.safe_balance { None } else { held.first_ruin(bars, close) }
    }
}
