//! From the operations of a plan to the orders that its conditions give.

pub mod conditions;
pub mod crossings;
pub mod evaluate;
pub mod level;
pub mod operations;
pub mod order_tile;
pub mod orders;
pub mod retained;
pub mod tile;
