pub mod big_int;
pub mod elementary;
pub mod elementwise;
pub mod exact_sum;
pub mod lookback;
pub mod rolling;
