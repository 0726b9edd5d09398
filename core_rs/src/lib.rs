//! The compiled kernel: the contract of the Python reference, to the bit, at the speed of the machine.
//!
//! A run goes through tiles of 1,024 bars: a plan's operations fill buffers that stay in the first-level cache (`evaluate`), conditions
//! become bit masks (`signals`), and the simulator skips from event to event (`simulate`). Nothing grows with the number of bars but what
//! the caller gets back. PyO3 is known to one file, `python`; so `cargo test` needs no Python.

pub mod account;
pub mod backtest;
pub mod cancel;
pub mod curve;
pub mod drawdown;
pub mod error;
pub mod events;
pub mod indicators;
pub mod market;
pub mod metrics;
pub mod numerics;
pub mod plan;
pub mod position;
#[cfg(feature = "python")]
mod python;
#[cfg(test)]
mod random;
pub mod rules;
pub mod signals;
pub mod simd;
pub mod simulate;
pub mod sizing;
pub mod sweep;
pub mod trade;

/// Raised whenever the same inputs may give other outputs than before; the Python package has the same number.
pub const CONTRACT: u32 = 1;
