//! Orders as masks over bars, with the numbers of their entries, and what they are made from.

use crate::numerics::ticks::Ticks;
use crate::signals::level::Sides;
use crate::simd::bitmask::{Mask, TILE, WORDS};

pub const ENTRY_LONG: usize = 0;
pub const EXIT_LONG: usize = 1;
pub const ENTRY_SHORT: usize = 2;
pub const EXIT_SHORT: usize = 3;

/// Levels in the order of Python's `LEVELS`, long and short of each.
pub const LEVELS: usize = 10;
/// The series of the levels, and that of sizes.
pub const SLOTS: usize = LEVELS + 1;
pub const TRAILING: usize = 4;
pub const ENTRY_LIMIT: usize = 6;
pub const ENTRY_STOP: usize = 8;
pub const SIZE: usize = LEVELS;

/// Orders that fill on bars of a tile: masks in the order of the constants above, and for each bar the numbers of an entry on it.
#[derive(Clone, Debug)]
pub struct Orders {
    /// Entries that are not void, and exits without an entry of the same side.
    pub masks: [Mask; 4],
    /// Exits with an entry of the same side, long and short; only if `OrderNeeds` asks for them.
    pub contradictions: [Mask; 2],
    /// The distinct series of numbers, a tile long.
    pub series: Vec<Vec<f64>>,
    /// The series of each slot.
    pub slots: [Option<usize>; SLOTS],
    /// The first slot of the prices of resting entries, if there are any.
    pub resting: Option<usize>,
}

/// Numbers of an entry: its series at the signal bar, NaN where there is none.
#[derive(Clone, Copy, Debug)]
pub struct EntrySeries {
    pub stop_loss: f64,
    pub take_profit: f64,
    pub trailing_stop: f64,
    pub size: f64,
}

impl Orders {
    pub fn new(slots: [Option<usize>; SLOTS], resting: Option<usize>) -> Self {
        let count = slots.iter().flatten().max().map_or(0, |last| last + 1);
        Self { masks: [[0; WORDS]; 4], contradictions: [[0; WORDS]; 2], series: vec![vec![f64::NAN; TILE]; count], slots, resting }
    }

    #[inline(always)]
    fn number(&self, slot: usize, at: usize) -> f64 {
        self.slots[slot].map_or(f64::NAN, |series| self.series[series][at])
    }

    /// The numbers of an entry of side 0 (long) or 1 (short) at position `at` of the tile.
    #[inline(always)]
    pub fn entry_series(&self, side: usize, at: usize) -> EntrySeries {
        if self.series.is_empty() {
            return EntrySeries { stop_loss: f64::NAN, take_profit: f64::NAN, trailing_stop: f64::NAN, size: f64::NAN };
        }
        EntrySeries {
            stop_loss: self.number(side, at),
            take_profit: self.number(2 + side, at),
            trailing_stop: self.number(TRAILING + side, at),
            size: self.number(SIZE, at),
        }
    }

    /// The price of a resting entry; infinity if the entry is a market order.
    pub fn resting_price(&self, side: usize, at: usize) -> f64 {
        let price = self.resting.map_or(f64::NAN, |first| self.number(first + side, at));
        if price.is_nan() { f64::INFINITY } else { price }
    }

    pub fn rests(&self, side: usize, at: usize) -> bool {
        self.resting_price(side, at) < f64::INFINITY
    }
}

/// Where signals come from: a plan's conditions, or the caller.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    Plan,
    Given(&'a Given<'a>),
}

impl<'a> Source<'a> {
    /// The caller's numbers in a slot, if any.
    pub fn numbers(self, slot: usize) -> Option<&'a [f64]> {
        match self {
            Self::Plan => None,
            Self::Given(given) if slot == SIZE => given.size,
            Self::Given(given) => given.levels[slot],
        }
    }

    pub fn has_sizes(self) -> bool {
        self.numbers(SIZE).is_some()
    }

    pub fn has_levels(self) -> [bool; LEVELS] {
        std::array::from_fn(|slot| self.numbers(slot).is_some())
    }
}

/// The caller's signals, one value for each base bar.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given<'a> {
    /// 0 is false.
    pub masks: [Option<&'a [u8]>; 4],
    pub levels: [Option<&'a [f64]>; LEVELS],
    pub size: Option<&'a [f64]>,
}

/// What an execution needs of an `OrderTile` besides orders at the open.
#[derive(Clone, Copy, Debug)]
pub struct OrderNeeds {
    pub at_close: bool,
    pub strategy_closes: bool,
    pub contradictions: bool,
    /// Whether entries rest as limits (true) or as stops (false), and where.
    pub resting: Option<(bool, Sides)>,
    pub ticks: Ticks,
}

impl OrderNeeds {
    /// Whether nothing is needed but orders at the open, so that they may be made from `Outputs::crossings`.
    pub fn are_orders_at_open(&self) -> bool {
        !self.at_close && !self.strategy_closes && !self.contradictions && self.resting.is_none()
    }
}
