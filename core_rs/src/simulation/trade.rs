//! Trades, one for each exit of a position, in whole or in part: the twin of `python_core.trades`.

use bytemuck::{Pod, Zeroable};

/// Why a trade ended, in the order of Python's `REASONS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i64)]
pub enum Reason {
    Signal,
    Reversal,
    StopLoss,
    TrailingStop,
    BreakEven,
    TakeProfit,
    PartialExit,
    Time,
    Liquidation,
    Ruin,
    End,
}

/// One exit, in the layout of Python's `TRADE_DTYPE`: words of 64 bits.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Trade {
    pub entry_time: i64,
    pub exit_time: i64,
    pub entry_index: i64,
    pub exit_index: i64,
    pub side: i64,
    /// A `Reason`.
    pub reason: i64,
    pub quantity: f64,
    pub entry_price: f64,
    pub exit_price: f64,
    pub gross: f64,
    pub fees: f64,
    pub funding: f64,
    pub net: f64,
    pub mae: f64,
    pub mfe: f64,
}
