//! Bars of higher timeframes, built from base bars as they come, and the values that have closed on them.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::market::Market;
use crate::market::columns::Columns;
use crate::market::frame::close_of_bar;

/// The bars of one timeframe that are completed in the current tile of base bars. The one under way is kept to itself until then.
#[derive(Debug)]
pub struct Higher {
    length_ms: i64,
    wanted: [bool; 5],
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
    /// `wanted`: which of open, high, low, close and volume are asked for; the others may hold anything.
    pub fn new(length_ms: i64, market: &Market<'_>, wanted: [bool; 5]) -> Result<Self> {
        if length_ms < market.timeframe_ms || length_ms % market.timeframe_ms != 0 {
            return Err(Error::Input("a higher timeframe is no whole multiple of the bars'".into()));
        }
        Ok(Self { length_ms, wanted, underway: None, times: Vec::new(), built: Default::default() })
    }

    /// Take in the next base bars. A bar is complete when no later base bar can belong to it, which the next one's time tells; so each of
    /// its values is ready in the tile of its last base bar, and seen from its close on.
    pub fn advance(&mut self, market: &Market<'_>, bars: Range<usize>) {
        self.times.clear();
        self.built.iter_mut().for_each(Vec::clear);
        let [_, wants_high, wants_low, _, wants_volume] = self.wanted;
        let mut first = bars.start;
        while first < bars.end {
            let mut bar = self.underway.take().unwrap_or(Bar {
                end_ms: close_of_bar(market.time[first], self.length_ms),
                open: market.open[first],
                high: f64::NEG_INFINITY,
                low: f64::INFINITY,
                close: 0.0,
                volume: -0.0, // what a first volume can be added to without a change
            });
            // Whatever the times, such as those of an array that was changed after it had been checked, every round takes a bar.
            let end = first + market.time[first..bars.end].partition_point(|&time| time < bar.end_ms).max(1);
            if wants_high {
                bar.high = extreme(&market.high[first..end], bar.high, |a, b| if a > b { a } else { b });
            }
            if wants_low {
                bar.low = extreme(&market.low[first..end], bar.low, |a, b| if a < b { a } else { b });
            }
            if wants_volume {
                bar.volume = market.volume[first..end].iter().fold(bar.volume, |sum, volume| sum + volume);
            }
            bar.close = market.close[end - 1];
            let complete = match market.time.get(end) {
                Some(&next) => next >= bar.end_ms,
                None => market.time[end - 1] + market.timeframe_ms >= bar.end_ms,
            };
            if complete {
                self.times.push(bar.end_ms - self.length_ms);
                let values = [bar.open, bar.high, bar.low, bar.close, bar.volume];
                self.built.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
            } else {
                self.underway = Some(bar);
            }
            first = end;
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

    /// What the bars of the finer tile see, as stretches with one value.
    pub fn run(&mut self, fine: Closes<'_>, coarse: Closes<'_>, value: impl Fn(usize) -> T, mut put: impl FnMut(Range<usize>, T)) {
        let closed = (0..coarse.time.len()).map(|k| (coarse.time[k] + coarse.length_ms, value(k)));
        let mut from = 0;
        for (close_ms, value) in self.waiting.take().into_iter().chain(closed) {
            let first = fine.time.partition_point(|&time| time + fine.length_ms < close_ms).max(from);
            if first == fine.time.len() {
                self.waiting = Some((close_ms, value));
                break;
            }
            put(from..first, self.now);
            (self.now, from) = (value, first);
        }
        put(from..fine.time.len(), self.now);
    }
}

/// The greatest or least of `values` and `start`, in whatever order is fast: equal prices have equal bits.
fn extreme(values: &[f64], start: f64, choose: impl Fn(f64, f64) -> f64) -> f64 {
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
    use super::{Closes, Higher, Seen};
    use crate::market::Market;

    const MINUTE: i64 = 60_000;

    /// Minutes of 1, 2, 3 ... at these times, and 5-minute closes as the minutes see them, taken in `tile` by `tile`.
    fn seen(times: &[i64], tile: usize) -> Vec<f64> {
        let time: Vec<i64> = times.iter().map(|t| t * MINUTE).collect();
        let price: Vec<f64> = (1..=times.len()).map(|k| k as f64).collect();
        let (time, price) = (time.as_slice(), price.as_slice());
        let market = Market {
            time,
            open: price,
            high: price,
            low: price,
            close: price,
            volume: price,
            mark: None,
            funding: None,
            timeframe_ms: MINUTE,
        };
        let mut higher = Higher::new(5 * MINUTE, &market, [true; 5]).expect("five minutes are whole minutes");
        let mut state = Seen::new(f64::NAN);
        let mut out = vec![0.0; times.len()];
        for start in (0..times.len()).step_by(tile) {
            let end = (start + tile).min(times.len());
            higher.advance(&market, start..end);
            let (fine, coarse) =
                (Closes { time: &time[start..end], length_ms: MINUTE }, Closes { time: &higher.times, length_ms: 5 * MINUTE });
            let closes = higher.columns().close;
            state.run(fine, coarse, |k| closes[k], |range, value| out[start..end][range].fill(value));
        }
        out
    }

    #[test]
    fn a_bar_is_seen_from_its_close_on_however_the_data_are_cut_into_tiles() {
        let times: Vec<i64> = (0..12).collect();
        for tile in 1..=12 {
            let found = seen(&times, tile);
            assert!(found[..4].iter().all(|x| x.is_nan()));
            assert_eq!(found[4..], [5.0, 5.0, 5.0, 5.0, 5.0, 10.0, 10.0, 10.0]);
        }
    }

    #[test]
    fn a_bar_without_its_end_waits_for_the_next_bar_there_is() {
        for tile in 1..=7 {
            let found = seen(&[0, 1, 11, 12, 15, 16, 19], tile);
            assert!(found[..2].iter().all(|x| x.is_nan()));
            assert_eq!(found[2..], [2.0, 2.0, 4.0, 4.0, 7.0]);
        }
    }
}
