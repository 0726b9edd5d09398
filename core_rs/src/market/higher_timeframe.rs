//! Bars of higher timeframes, built from base bars tile by tile, and the values of the last one that has closed.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::market::Market;
use crate::market::columns::Columns;
use crate::market::frame::bar_close_ms;

/// The bars of one timeframe that are completed in the current tile of base bars. An unfinished bar stays hidden until it is complete.
#[derive(Debug)]
pub struct HigherTimeframe {
    length_ms: i64,
    needed: [bool; 5],
    unfinished: Option<Bar>,
    open_time: Vec<i64>,
    columns: [Vec<f64>; 5],
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

impl HigherTimeframe {
    /// `needed`: which of open, high, low, close and volume will be read; the others may hold anything.
    pub fn new(length_ms: i64, market: &Market<'_>, needed: [bool; 5]) -> Result<Self> {
        if length_ms < market.timeframe_ms || length_ms % market.timeframe_ms != 0 {
            return Err(Error::Input("a higher timeframe is not a multiple of the bars'".into()));
        }
        Ok(Self { length_ms, needed, unfinished: None, open_time: Vec::new(), columns: Default::default() })
    }

    /// Add the next base bars. The time of the next base bar shows whether a bar is complete, so its values are ready in the tile of its
    /// last base bar and can be seen from its close on.
    pub fn advance(&mut self, market: &Market<'_>, bars: Range<usize>) {
        self.open_time.clear();
        self.columns.iter_mut().for_each(Vec::clear);
        let [_, needs_high, needs_low, _, needs_volume] = self.needed;
        let mut first = bars.start;
        while first < bars.end {
            let mut bar = self.unfinished.take().unwrap_or(Bar {
                end_ms: bar_close_ms(market.bars.time[first], self.length_ms),
                open: market.bars.open[first],
                high: f64::NEG_INFINITY,
                low: f64::INFINITY,
                close: 0.0,
                volume: -0.0, // adding the first volume to it changes no bit
            });
            // At least one bar a round, so that the loop ends even if the caller changed the times after they were checked.
            let end = first + market.bars.time[first..bars.end].partition_point(|&time| time < bar.end_ms).max(1);
            if needs_high {
                bar.high = fold_lanes(&market.bars.high[first..end], bar.high, |a, b| if a > b { a } else { b });
            }
            if needs_low {
                bar.low = fold_lanes(&market.bars.low[first..end], bar.low, |a, b| if a < b { a } else { b });
            }
            if needs_volume {
                bar.volume = market.bars.volume[first..end].iter().fold(bar.volume, |sum, volume| sum + volume);
            }
            bar.close = market.bars.close[end - 1];
            let complete = match market.bars.time.get(end) {
                Some(&next) => next >= bar.end_ms,
                None => market.bars.time[end - 1] + market.timeframe_ms >= bar.end_ms,
            };
            if complete {
                self.open_time.push(bar.end_ms - self.length_ms);
                let values = [bar.open, bar.high, bar.low, bar.close, bar.volume];
                self.columns.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
            } else {
                self.unfinished = Some(bar);
            }
            first = end;
        }
    }

    pub fn columns(&self) -> Columns<'_> {
        let [open, high, low, close, volume] = &self.columns;
        Columns { time: &self.open_time, open, high, low, close, volume }
    }

    /// Whether no bar was completed in the current tile.
    pub fn is_empty(&self) -> bool {
        self.open_time.is_empty()
    }

    pub fn length_ms(&self) -> i64 {
        self.length_ms
    }
}

/// The bars of a tile by the times when they close.
#[derive(Clone, Copy, Debug)]
pub struct CloseTimes<'a> {
    pub time: &'a [i64],
    pub length_ms: i64,
}

/// What a finer timeframe sees of a coarser one: the value of its last closed bar.
#[derive(Debug)]
pub struct LastClosed<T> {
    value: T,
    /// A bar that is complete but, as the data has a gap, closes after the last bar of the tile: when, and its value.
    pending: Option<(i64, T)>,
}

impl<T: Copy> LastClosed<T> {
    pub fn new(unknown: T) -> Self {
        Self { value: unknown, pending: None }
    }

    /// Calls `set` for each range of bars of the finer tile that see the same value.
    pub fn run(&mut self, fine: CloseTimes<'_>, coarse: CloseTimes<'_>, value: impl Fn(usize) -> T, mut set: impl FnMut(Range<usize>, T)) {
        let closed = (0..coarse.time.len()).map(|k| (coarse.time[k] + coarse.length_ms, value(k)));
        let mut from = 0;
        for (close_ms, value) in self.pending.take().into_iter().chain(closed) {
            let first = fine.time.partition_point(|&time| time + fine.length_ms < close_ms).max(from);
            if first == fine.time.len() {
                self.pending = Some((close_ms, value));
                break;
            }
            set(from..first, self.value);
            (self.value, from) = (value, first);
        }
        set(from..fine.time.len(), self.value);
    }
}

/// The maximum or minimum of `values` and `start`. The order makes no difference, as equal prices have equal bits.
fn fold_lanes(values: &[f64], start: f64, choose: impl Fn(f64, f64) -> f64) -> f64 {
    let mut lanes = [start; 8];
    let chunks = values.chunks_exact(lanes.len());
    let rest = chunks.remainder().iter().fold(start, |a, &b| choose(b, a));
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, &x)| *lane = choose(x, *lane));
    }
    lanes.iter().fold(rest, |a, &b| choose(b, a))
}

#[cfg(test)]
mod tests {
    use super::{CloseTimes, HigherTimeframe, LastClosed};
    use crate::market::Market;
    use crate::market::columns::Columns;

    const MINUTE: i64 = 60_000;

    /// The last 5-minute close that each minute sees, for minutes at `times` with the prices 1, 2, 3 ... in tiles of `tile`.
    fn seen(times: &[i64], tile: usize) -> Vec<f64> {
        let time: Vec<i64> = times.iter().map(|t| t * MINUTE).collect();
        let price: Vec<f64> = (1..=times.len()).map(|k| k as f64).collect();
        let (time, price) = (time.as_slice(), price.as_slice());
        let bars = Columns { time, open: price, high: price, low: price, close: price, volume: price };
        let market = Market { bars, mark: None, funding: None, benchmark: None, timeframe_ms: MINUTE };
        let mut higher = HigherTimeframe::new(5 * MINUTE, &market, [true; 5]).expect("five minutes are whole minutes");
        let mut last_closed = LastClosed::new(f64::NAN);
        let mut out = vec![0.0; times.len()];
        for start in (0..times.len()).step_by(tile) {
            let end = (start + tile).min(times.len());
            higher.advance(&market, start..end);
            let (fine, coarse) =
                (CloseTimes { time: &time[start..end], length_ms: MINUTE }, CloseTimes { time: &higher.open_time, length_ms: 5 * MINUTE });
            let closes = higher.columns().close;
            last_closed.run(fine, coarse, |k| closes[k], |range, value| out[start..end][range].fill(value));
        }
        out
    }

    #[test]
    fn a_bar_is_seen_from_its_close_on_whatever_the_tiles() {
        let times: Vec<i64> = (0..12).collect();
        for tile in 1..=12 {
            let found = seen(&times, tile);
            assert!(found[..4].iter().all(|x| x.is_nan()));
            assert_eq!(found[4..], [5.0, 5.0, 5.0, 5.0, 5.0, 10.0, 10.0, 10.0]);
        }
    }

    #[test]
    fn a_bar_that_closes_in_a_gap_is_seen_from_the_bar_after_the_gap() {
        for tile in 1..=7 {
            let found = seen(&[0, 1, 11, 12, 15, 16, 19], tile);
            assert!(found[..2].iter().all(|x| x.is_nan()));
            assert_eq!(found[2..], [2.0, 2.0, 4.0, 4.0, 7.0]);
        }
    }
}
