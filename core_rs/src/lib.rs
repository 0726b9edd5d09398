//! The compiled kernel: the contract of the Python reference, to the bit, at the speed of the machine.
//!
//! A run goes through tiles of 1,024 bars: a plan's operations fill buffers that stay in the first-level cache (`signals::evaluate`), conditions
//! become bit masks (`signals::orders`), and the simulator skips from event to event (`simulation`). Nothing grows with the number of bars but what
//! the caller gets back. PyO3 is known to one folder, `python`; so `cargo test` needs no Python.

pub mod backtest;
pub mod cancel;
pub mod error;
pub mod indicators;
pub mod market;
pub mod metrics;
pub mod numerics;
pub mod plan;
#[cfg(feature = "python")]
mod python;
#[cfg(test)]
mod random;
pub mod signals;
pub mod simd;
pub mod simulation;
pub mod sweep;

/// Raised whenever the same inputs may give other outputs than before; the Python package has the same number.
pub const CONTRACT: u32 = 1;
