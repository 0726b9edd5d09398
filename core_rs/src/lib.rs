//! The compiled kernel. It gives the same bits as the Python engine, which is the reference.
//!
//! A run works on tiles of 1,024 bars: the operations of a plan fill buffers that stay in the first-level cache (`signals::evaluate`),
//! their conditions become bit masks of orders (`signals::order_tile`), and the simulator skips from event to event (`simulation`). Besides the
//! results, no memory grows with the number of bars. Only `python` uses PyO3, so `cargo test` needs no Python.

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

/// Increased whenever the same inputs may give other results than before. The Python package has the same number.
pub const CONTRACT: u32 = 2;
