//! Strategy bars, built from base bars frame by frame: the twin of `python_core.engine.strategy_bars`. A last bar that the data does not
//! complete is left out.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::market::Market;
use crate::market::columns::Columns;
use crate::market::higher_timeframe::Moments;
use crate::market::timeframe::{bucket_ms, fits};
use crate::simd::bitmask::TILE;

/// Up to a tile of strategy bars, and the base bars `start..end` that they are built from. The last frame may have base bars only, if they
/// complete no strategy bar.
#[derive(Debug)]
pub struct Frame<'a> {
    market: Market<'a>,
    length_ms: i64,
    /// A base bar at which a frame of base bars, or a tile, begins.
    first_bar: usize,
    pub start: usize,
    pub end: usize,
    /// For each strategy bar the first base bar after it, which fills its orders. Empty if strategy bars are base bars.
    pub fills_at: Vec<usize>,
    /// When each strategy bar ends. Empty if strategy bars are base bars.
    pub ends: Vec<i64>,
    open_time: Vec<i64>,
    columns: [Vec<f64>; 5],
}

impl<'a> Frame<'a> {
    pub fn new(market: Market<'a>, length_ms: i64, first_bar: usize) -> Result<Self> {
        if length_ms <= 0 || !fits(market.timeframe_ms, length_ms) {
            return Err(Error::Input("the bars do not fit into the strategy's timeframe".into()));
        }
        Ok(Self {
            market,
            length_ms,
            first_bar,
            start: 0,
            end: 0,
            fills_at: Vec::new(),
            ends: Vec::new(),
            open_time: Vec::new(),
            columns: Default::default(),
        })
    }

    /// Move to the next frame; false after the last one.
    pub fn advance(&mut self) -> bool {
        self.start = self.end;
        if self.is_base() {
            self.end = self.tile_end(self.start, self.market.len());
        } else {
            self.build();
        }
        self.start < self.end
    }

    /// The base bars of the frame, at most a tile at a time.
    pub fn base_tiles(&self) -> impl Iterator<Item = Range<usize>> + use<'_, 'a> {
        let mut next = self.start;
        std::iter::from_fn(move || {
            let start = next;
            next = self.tile_end(start, self.end);
            (start < next).then_some(start..next)
        })
    }

    /// Where a tile that begins at `start` ends, at most at `end`.
    fn tile_end(&self, start: usize, end: usize) -> usize {
        let end = (start + TILE).min(end);
        if start < self.first_bar { end.min(self.first_bar) } else { end }
    }

    /// Whether strategy bars are base bars.
    pub fn is_base(&self) -> bool {
        self.length_ms == self.market.timeframe_ms
    }

    /// Whether no base bar comes after this frame.
    pub fn is_last(&self) -> bool {
        self.end == self.market.len()
    }

    pub fn market(&self) -> &Market<'a> {
        &self.market
    }

    pub fn columns(&self) -> Columns<'_> {
        if self.is_base() {
            return self.market.bars.slice(self.start..self.end);
        }
        let [open, high, low, close, volume] = &self.columns;
        Columns { time: &self.open_time, open, high, low, close, volume }
    }

    /// When the strategy bars have ended, as `HigherTimeframe::moments`.
    pub fn moments(&self, fill_at_close: bool) -> Moments<'_> {
        match (self.is_base(), fill_at_close) {
            (true, true) => Moments::Opens(&self.market.bars.time[self.start..self.end], self.length_ms),
            (true, false) => Moments::Following(self.start, self.end - self.start),
            (false, true) => Moments::Ends(&self.ends),
            (false, false) => Moments::FillsAt(&self.fills_at),
        }
    }

    /// Uses about one tile of base bars, so that they stay in the cache for the simulator.
    fn build(&mut self) {
        let market = &self.market;
        self.columns.iter_mut().for_each(Vec::clear);
        self.fills_at.clear();
        self.ends.clear();
        self.open_time.clear();
        let stop = (self.start + TILE).min(market.len());
        while self.end < stop {
            let first = self.end;
            let (start_ms, end_ms) = bucket_ms(market.bars.time[first], self.length_ms);
            let mut last = first;
            let (mut high, mut low, mut volume) = (market.bars.high[first], market.bars.low[first], market.bars.volume[first]);
            while last + 1 < market.len() && market.bars.time[last + 1] < end_ms {
                last += 1;
                high = if market.bars.high[last] > high { market.bars.high[last] } else { high };
                low = if market.bars.low[last] < low { market.bars.low[last] } else { low };
                volume += market.bars.volume[last];
            }
            self.end = last + 1;
            if self.end == market.len() && market.end_ms(last) < end_ms {
                break;
            }
            for (column, value) in self.columns.iter_mut().zip([market.bars.open[first], high, low, market.bars.close[last], volume]) {
                column.push(value);
            }
            self.fills_at.push(last + 1);
            self.ends.push(end_ms);
            self.open_time.push(start_ms);
        }
    }
}
