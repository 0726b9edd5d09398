//! What operations leave for later ones: a tile of numbers or of truths.

use crate::indicators::RunningIndicator;
use crate::market::columns::{Column, Columns};
use crate::simd::bitmask::{Mask, TILE};

/// Truths of a tile; a bit of `value` is set only where `known` is.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    pub value: Mask,
    pub known: Mask,
}

#[derive(Debug)]
pub enum Output {
    Column(Column),
    /// An output of a running indicator.
    Indicator(usize, usize),
    Number {
        values: Box<Values>,
        nan: bool,
    },
    Truth(Box<Truth>),
}

/// A tile of numbers that begins with a cache line, so that no vector straddles two.
#[derive(Debug)]
#[repr(align(64))]
pub struct Values(pub [f64; TILE]);

impl Values {
    pub fn all(value: f64) -> Box<Self> {
        Box::new(Self([value; TILE]))
    }
}

/// The tiles of earlier operations.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    pub outputs: &'a [Output],
    pub running: &'a [RunningIndicator],
    pub columns: Columns<'a>,
    pub n: usize,
}

impl<'a> Inputs<'a> {
    /// Values, and whether one may be NaN.
    pub fn number(&self, i: usize) -> (&'a [f64], bool) {
        match &self.outputs[i] {
            Output::Indicator(r, output) => (&self.running[*r].outputs[*output][..self.n], true),
            Output::Column(column) => (self.columns.get(*column), false),
            Output::Number { values, nan } => (&values.0[..self.n], *nan),
            Output::Truth(_) => unreachable!("a plan's inputs were checked to be numbers"),
        }
    }

    pub fn truth(&self, i: usize) -> &'a Truth {
        match &self.outputs[i] {
            Output::Truth(truth) => truth,
            _ => unreachable!("a plan's inputs were checked to be truths"),
        }
    }
}
