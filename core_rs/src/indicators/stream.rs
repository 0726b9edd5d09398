//! What the indicators of the table have in common.

use std::fmt::Debug;

/// Computes an indicator from tile to tile.
pub trait Stream: Debug {
    /// Take in the next values, all finite, and give as many of each output; NaN where it is not known yet.
    fn run(&mut self, inputs: &[&[f64]], outputs: &mut [&mut [f64]]);

    /// Forget everything.
    fn reset(&mut self);
}
