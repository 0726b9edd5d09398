//! Arithmetic with the same bits on every machine.

pub mod big_int;
pub mod elementary;
pub mod elementwise;
pub mod exact_sum;
pub mod fixed_point;
pub mod float_bits;
pub mod lookback;
pub mod rolling;
pub mod smoothed;
pub mod ticks;
