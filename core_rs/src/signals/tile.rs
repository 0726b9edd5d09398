//! Tiles: what operations compute, and later ones read.

use crate::indicators::RunningIndicator;
use crate::market::columns::{Column, Columns};
use crate::simd::bitmask::{Mask, TILE};

/// A condition on the bars of a tile. A bit of `value` is set only where the bit of `known` is.
#[derive(Clone, Debug, Default)]
pub struct Condition {
    pub value: Mask,
    pub known: Mask,
}

#[derive(Debug)]
pub enum Tile {
    Column(Column),
    /// An output of a running indicator: the positions of both.
    Indicator(usize, usize),
    Number {
        values: Box<Numbers>,
        may_have_nan: bool,
    },
    Condition(Box<Condition>),
}

/// A tile of numbers, aligned to cache lines so that no vector lies across two.
#[derive(Debug)]
#[repr(align(64))]
pub struct Numbers(pub [f64; TILE]);

impl Numbers {
    pub fn all(value: f64) -> Box<Self> {
        Box::new(Self([value; TILE]))
    }
}

/// What an operation can read: the tiles of earlier operations, `n` bars long.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    pub tiles: &'a [Tile],
    pub running: &'a [RunningIndicator],
    pub columns: Columns<'a>,
    pub n: usize,
}

impl<'a> Inputs<'a> {
    /// The numbers of operation `i`, and whether any may be NaN.
    #[inline(always)]
    pub fn number(&self, i: usize) -> (&'a [f64], bool) {
        match &self.tiles[i] {
            Tile::Indicator(r, output) => (&self.running[*r].outputs[*output][..self.n], true),
            Tile::Column(column) => (self.columns.get(*column), false),
            Tile::Number { values, may_have_nan } => (&values.0[..self.n], *may_have_nan),
            Tile::Condition(_) => unreachable!("a plan's inputs were checked to be numbers"),
        }
    }

    #[inline(always)]
    pub fn condition(&self, i: usize) -> &'a Condition {
        match &self.tiles[i] {
            Tile::Condition(condition) => condition,
            _ => unreachable!("a plan's inputs were checked to be conditions"),
        }
    }
}
