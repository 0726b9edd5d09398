//! How orders are executed: the twin of `python_core.execution`, which has checked the values.

use crate::numerics::ticks::Ticks;
use crate::signals::level::{Level, Sides};
use crate::signals::orders::OrderNeeds;
use crate::simulation::trading_times::TradingTimes;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizing {
    EquityFraction,
    FixedNotional,
    FixedQuantity,
    Risk,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intrabar {
    Pessimistic,
    Path,
    Optimistic,
}

/// Which days risk metrics count in a year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calendar {
    Crypto,
    Exchange,
    Fx,
}

/// The levels of an execution, in the order of `LEVELS` in Python.
#[derive(Clone, Copy, Debug)]
pub struct Levels {
    pub stop_loss: Sides,
    pub take_profit: Sides,
    pub trailing_stop: Sides,
    pub entry_limit: Sides,
    pub entry_stop: Sides,
}

impl Levels {
    /// Pairs of long and short.
    pub fn from_slots(slots: [Level; 10]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j] = slots;
        Self { stop_loss: [a, b], take_profit: [c, d], trailing_stop: [e, f], entry_limit: [g, h], entry_stop: [i, j] }
    }

    /// Those of the caller's arrays replace levels that are not set.
    pub fn with_given(mut self, has: [bool; 10]) -> Self {
        let all = [&mut self.stop_loss, &mut self.take_profit, &mut self.trailing_stop, &mut self.entry_limit, &mut self.entry_stop];
        for (level, has) in all.into_iter().flatten().zip(has) {
            *level = if has { Level::Given } else { *level };
        }
        self
    }

    /// Whether entries rest as limits (true) or as stops (false), and where; none if all entries are market orders.
    pub fn resting(&self) -> Option<(bool, Sides)> {
        let is_set = |sides: Sides| sides != [Level::None; 2];
        match (is_set(self.entry_limit), is_set(self.entry_stop)) {
            (true, _) => Some((true, self.entry_limit)),
            (_, true) => Some((false, self.entry_stop)),
            _ => None,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Execution {
    pub initial_capital: f64,
    /// Rates of fills that take, and of those that make.
    pub commission: f64,
    pub maker_fee: f64,
    /// Money on top of each fill.
    pub order_fee: f64,
    pub slippage: f64,
    pub sizing: Sizing,
    pub size: f64,
    pub step: f64,
    pub ticks: Ticks,
    pub min_notional: f64,
    pub leverage: f64,
    pub maintenance_margin: f64,
    pub pyramiding: u32,
    pub fill_at_close: bool,
    pub intrabar: Intrabar,
    pub levels: Levels,
    /// Strategy bars after which a resting entry is removed.
    pub entry_expires: i64,
    /// Fraction of the level by which the price must pass a limit.
    pub limit_through: f64,
    pub trailing_activation: Option<f64>,
    pub break_even_at: Option<f64>,
    pub max_bars: Option<i64>,
    /// Profit as a fraction of the entry price, and share of the quantity, of each partial exit.
    pub partial_exits: Vec<(f64, f64)>,
    pub trading_times: TradingTimes,
    pub flat_outside: bool,
    pub max_entries_per_day: Option<i64>,
    /// Strategy bars without entries after a loss.
    pub cooldown: i64,
    pub calendar: Calendar,
    /// A fraction per year.
    pub risk_free: f64,
}

impl Execution {
    pub fn order_needs(&self, levels: &Levels) -> OrderNeeds {
        let resting = levels.resting();
        OrderNeeds {
            at_close: self.fill_at_close,
            strategy_closes: self.max_bars.is_some() || self.cooldown > 0 || resting.is_some(),
            contradictions: self.pyramiding > 1 || resting.is_some() || self.max_bars.is_some() || self.flat_outside,
            resting,
            ticks: self.ticks,
        }
    }

    /// Whether an entry from no position is a fraction of the equity and nothing else: no leverage, no rounding, no limits to its size, no fees
    /// but a commission.
    pub fn is_simple(&self) -> bool {
        self.sizing == Sizing::EquityFraction
            && self.leverage == 1.0
            && self.step == 0.0
            && self.ticks.tick() == 0.0
            && self.order_fee == 0.0
            && self.min_notional == 0.0
            && self.commission <= 0.5
    }

    /// Whether a position has one entry, one exit and levels that do not move, and entries depend on nothing but the account, so that bars
    /// between events can be skipped.
    pub fn allows_skipping(&self, levels: &Levels) -> bool {
        self.pyramiding == 1
            && !self.fill_at_close
            && levels.trailing_stop == [Level::None; 2]
            && levels.resting().is_none()
            && self.break_even_at.is_none()
            && self.max_bars.is_none()
            && self.partial_exits.is_empty()
            && !self.trading_times.restrict()
            && self.max_entries_per_day.is_none()
            && self.cooldown == 0
    }
}
