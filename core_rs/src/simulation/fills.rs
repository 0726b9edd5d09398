//! Orders, and how they fill: what functions of `python_core.engine.fills` take and return.

use crate::signals::orders::EntrySeries;
use crate::simulation::trade::Reason;

/// How an exit fills.
#[derive(Clone, Copy, Debug)]
pub struct ExitFill {
    pub price: f64,
    /// Fee, a fraction of the notional; a liquidation has none.
    pub rate: f64,
    pub reason: Reason,
    pub when: When,
}

/// When in a bar an order fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Open,
    Inside,
    Close,
}

/// An entry order at the moment in which it fills.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub long: bool,
    /// Before slippage.
    pub market_price: f64,
    pub price: f64,
    pub maker: bool,
    /// Numbers of the signal's strategy bar.
    pub series: EntrySeries,
}

/// What an entry has bought or sold: the position's new average price and levels.
#[derive(Clone, Copy, Debug)]
pub struct Entered {
    pub quantity: f64,
    pub fee: f64,
    pub entry: f64,
    pub stop_loss: f64,
    pub take_profit: f64,
}

/// The moment in which market orders fill.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub bar: usize,
    pub price: f64,
    pub when: When,
    /// The strategy bar of the orders, as the number of strategy bars closed by then.
    pub strategy_bar: i64,
}

/// A limit or stop entry that has not filled yet.
#[derive(Clone, Copy, Debug)]
pub struct RestingEntry {
    pub level: f64,
    /// The bar at whose open it was placed.
    pub placed_in: usize,
    /// The strategy bar of its signal, as the number of strategy bars closed by then.
    pub strategy_bar: i64,
    pub series: EntrySeries,
}
