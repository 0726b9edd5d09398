//! How orders are executed: the twin of `python_core.execution`, which has checked the values.

use crate::signals::orders::OrderNeeds;

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

/// Where a stop, target or trailing distance comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Level {
    None,
    /// A fraction of the entry price.
    Fraction(f64),
    /// A multiple of the series at the signal bar.
    Multiple(f64),
    /// The series at the signal bar.
    Series,
}

#[derive(Clone, Debug)]
pub struct Execution {
    pub initial_capital: f64,
    pub commission: f64,
    pub slippage: f64,
    pub sizing: Sizing,
    pub size: f64,
    pub step: f64,
    pub min_notional: f64,
    pub leverage: f64,
    pub maintenance_margin: f64,
    pub pyramiding: u32,
    pub fill_at_close: bool,
    pub intrabar: Intrabar,
    pub stop_loss: Level,
    pub take_profit: Level,
    pub trailing_stop: Level,
    pub trailing_activation: Option<f64>,
    pub break_even_at: Option<f64>,
    pub max_bars: Option<i64>,
    /// Profit as a fraction of the entry price, and share of the quantity, of each partial exit.
    pub partial_exits: Vec<(f64, f64)>,
    pub calendar: Calendar,
    /// A fraction per year.
    pub risk_free: f64,
}

impl Execution {
    pub fn order_needs(&self) -> OrderNeeds {
        OrderNeeds { at_close: self.fill_at_close, strategy_closes: self.max_bars.is_some() }
    }

    /// Whether a position's levels do not move between its entry and its exit, so that bars between events can be skipped.
    pub fn levels_are_constant(&self) -> bool {
        self.pyramiding == 1
            && !self.fill_at_close
            && self.trailing_stop == Level::None
            && self.break_even_at.is_none()
            && self.max_bars.is_none()
            && self.partial_exits.is_empty()
    }
}
