//! Bars of higher timeframes, built from base bars as they come, and the values that have closed on them.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::evaluate::Columns;
use crate::market::Market;
use crate::strategy_bars::close_of_bar;

/// The bars of one timeframe that are completed in the current tile of base bars. The one under way is kept to itself until then.
#[derive(Debug)]
pub struct Higher {
    length_ms: i64,
    underway: Option<Bar>,
    times: Vec<i64>,
    built: [Vec<f64>; 5],
}

#[derive(Clone, Copy, Debug)]
struct Bar {
    end_ms: i64,
    open: f64,
    high: f64,
    low: f64,
    close: f64,
    volume: f64,
}

impl Higher {
    pub fn new(length_ms: i64, market: &Market<'_>) -> Result<Self> {
        if length_ms < market.timeframe_ms || length_ms % market.timeframe_ms != 0 {
            return Err(Error::Input("a higher timeframe is no whole multiple of the bars'".into()));
        }
        Ok(Self { length_ms, underway: None, times: Vec::new(), built: Default::default() })
    }

    /// Take in the next base bars. A bar is complete when no later base bar can belong to it, which the next one's time tells; so each of
    /// its values is ready in the tile of its last base bar, and seen from its close on.
    pub fn advance(&mut self, market: &Market<'_>, bars: Range<usize>) {
        self.times.clear();
        self.built.iter_mut().for_each(Vec::clear);
        for i in bars {
            let (high, low) = (market.high[i], market.low[i]);
            let mut bar = self.underway.take().unwrap_or(Bar {
                end_ms: close_of_bar(market.time[i], self.length_ms),
                open: market.open[i],
                high,
                low,
                close: 0.0,
                volume: -0.0, // what a first volume can be added to without a change
            });
            bar.high = if high > bar.high { high } else { bar.high };
            bar.low = if low < bar.low { low } else { bar.low };
            bar.close = market.close[i];
            bar.volume += market.volume[i];
            let complete = match market.time.get(i + 1) {
                Some(&next) => next >= bar.end_ms,
                None => market.time[i] + market.timeframe_ms >= bar.end_ms,
            };
            if complete {
                self.times.push(bar.end_ms - self.length_ms);
                let values = [bar.open, bar.high, bar.low, bar.close, bar.volume];
                self.built.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
            } else {
                self.underway = Some(bar);
            }
        }
    }

    pub fn columns(&self) -> Columns<'_> {
        let [open, high, low, close, volume] = &self.built;
        Columns { time: &self.times, open, high, low, close, volume }
    }

    pub fn length_ms(&self) -> i64 {
        self.length_ms
    }
}

/// When the bars of a tile close.
#[derive(Clone, Copy, Debug)]
pub struct Closes<'a> {
    pub time: &'a [i64],
    pub length_ms: i64,
}

impl Closes<'_> {
    fn len(&self) -> usize {
        self.time.len()
    }

    fn at(&self, k: usize) -> i64 {
        self.time[k] + self.length_ms
    }
}

/// What a finer timeframe sees of a coarser one: the value of the last bar that has closed.
#[derive(Debug)]
pub struct Seen<T> {
    now: T,
    /// Complete, but closing after the last bar of the tile, since the data has a gap.
    waiting: Option<(i64, T)>,
}

impl<T: Copy> Seen<T> {
    pub fn new(unknown: T) -> Self {
        Self { now: unknown, waiting: None }
    }

    /// For each bar of the finer tile what it sees.
    pub fn run(&mut self, fine: Closes<'_>, coarse: Closes<'_>, value: impl Fn(usize) -> T, mut put: impl FnMut(usize, T)) {
        let mut next = 0;
        for k in 0..fine.len() {
            let now_ms = fine.at(k);
            if let Some((_, value)) = self.waiting.take_if(|(close_ms, _)| *close_ms <= now_ms) {
                self.now = value;
            }
            while next < coarse.len() && coarse.at(next) <= now_ms {
                self.now = value(next);
                next += 1;
            }
            put(k, self.now);
        }
        if next < coarse.len() {
            self.waiting = Some((coarse.at(next), value(next)));
        }
    }
}
