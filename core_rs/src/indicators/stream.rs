//! The interface of indicators.

use std::fmt::Debug;

/// Computes an indicator from tile to tile.
pub trait Stream: Debug {
    /// Add the next values of the inputs, all finite, and write as many of each output; NaN where it is not known yet.
    fn run(&mut self, inputs: &[&[f64]], outputs: &mut [&mut [f64]]);

    /// Return to the state before the first value.
    fn reset(&mut self);
}
