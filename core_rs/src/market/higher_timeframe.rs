//! Bars of higher timeframes, built from base bars tile by tile, and the values of the last one that is visible.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::market::Market;
use crate::market::columns::Columns;
use crate::market::timeframe::{bucket_ms, fits};

/// The bars of one timeframe that are completed in the current tile of base bars. An unfinished bar stays hidden until it is complete.
#[derive(Debug)]
pub struct HigherTimeframe {
    length_ms: i64,
    needed: [bool; 5],
    unfinished: Option<Bar>,
    open_time: Vec<i64>,
    /// For each bar the first base bar after it.
    fills_at: Vec<usize>,
    ends: Vec<i64>,
    columns: [Vec<f64>; 5],
}

#[derive(Clone, Copy, Debug)]
struct Bar {
    start_ms: i64,
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
        if length_ms <= 0 || !fits(market.timeframe_ms, length_ms) {
            return Err(Error::Input("the bars do not fit into a higher timeframe".into()));
        }
        Ok(Self {
            length_ms,
            needed,
            unfinished: None,
            open_time: Vec::new(),
            fills_at: Vec::new(),
            ends: Vec::new(),
            columns: Default::default(),
        })
    }

    /// Add the next base bars. The time of the next base bar shows whether a bar is complete, so its values are ready in the tile of its
    /// last base bar.
    pub fn advance(&mut self, market: &Market<'_>, bars: Range<usize>) {
        self.open_time.clear();
        self.fills_at.clear();
        self.ends.clear();
        self.columns.iter_mut().for_each(Vec::clear);
        let [_, needs_high, needs_low, _, needs_volume] = self.needed;
        let mut first = bars.start;
        while first < bars.end {
            let mut bar = self.unfinished.take().unwrap_or_else(|| {
                let (start_ms, end_ms) = bucket_ms(market.bars.time[first], self.length_ms);
                Bar {
                    start_ms,
                    end_ms,
                    open: market.bars.open[first],
                    high: f64::NEG_INFINITY,
                    low: f64::INFINITY,
                    close: 0.0,
                    volume: -0.0, // adding the first volume to it changes no bit
                }
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
                None => market.end_ms(end - 1) >= bar.end_ms,
            };
            if complete {
                self.open_time.push(bar.start_ms);
                self.fills_at.push(end);
                self.ends.push(bar.end_ms);
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

    /// When its bars of the tile have ended: by their ends if orders fill at a close, else by where orders can fill.
    pub fn moments(&self, fill_at_close: bool) -> Moments<'_> {
        if fill_at_close { Moments::Ends(&self.ends) } else { Moments::FillsAt(&self.fills_at) }
    }
}

/// The moments from which on the bars of a tile count as ended: the bar of each where its orders can fill, or the time of each end.
#[derive(Clone, Copy, Debug)]
pub enum Moments<'a> {
    /// Base bars, each of which is followed by the next: the first one, and their number.
    Following(usize, usize),
    FillsAt(&'a [usize]),
    Ends(&'a [i64]),
    /// Base bars of a fixed length: their open times, and the length.
    Opens(&'a [i64], i64),
}

impl Moments<'_> {
    pub fn count(&self) -> usize {
        match self {
            Self::Following(_, n) => *n,
            Self::FillsAt(bars) => bars.len(),
            Self::Ends(times) | Self::Opens(times, _) => times.len(),
        }
    }

    pub fn get(&self, k: usize) -> i64 {
        match self {
            Self::Following(first, _) => (first + k + 1) as i64,
            Self::FillsAt(bars) => bars[k] as i64,
            Self::Ends(times) => times[k],
            Self::Opens(times, length_ms) => times[k] + length_ms,
        }
    }

    /// The first bar at or after a moment, or the number of bars.
    fn first_at_or_after(&self, moment: i64) -> usize {
        match self {
            Self::Following(first, n) => usize::try_from(moment - 1 - *first as i64).unwrap_or(0).min(*n),
            Self::FillsAt(bars) => bars.partition_point(|&bar| (bar as i64) < moment),
            Self::Ends(times) => times.partition_point(|&time| time < moment),
            Self::Opens(times, length_ms) => times.partition_point(|&time| time + length_ms < moment),
        }
    }
}

/// What a finer timeframe sees of a coarser one: the value of its last bar that has ended.
#[derive(Debug)]
pub struct LastEnded<T> {
    value: T,
    /// A bar that is complete but, as the data has a gap, ends after the last bar of the tile: its moment and value.
    pending: Option<(i64, T)>,
}

impl<T: Copy> LastEnded<T> {
    pub fn new(unknown: T) -> Self {
        Self { value: unknown, pending: None }
    }

    /// Calls `set` for each range of bars of the finer tile that see the same value.
    pub fn run(&mut self, fine: Moments<'_>, coarse: Moments<'_>, value: impl Fn(usize) -> T, mut set: impl FnMut(Range<usize>, T)) {
        let ended = (0..coarse.count()).map(|k| (coarse.get(k), value(k)));
        let mut from = 0;
        for (moment, value) in self.pending.take().into_iter().chain(ended) {
            let first = fine.first_at_or_after(moment).max(from);
            if first == fine.count() {
                self.pending = Some((moment, value));
                break;
            }
            set(from..first, self.value);
            (self.value, from) = (value, first);
        }
        set(from..fine.count(), self.value);
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
    use super::{HigherTimeframe, LastEnded, Moments};
    use crate::market::Market;
    use crate::market::columns::Columns;

    const MINUTE: i64 = 60_000;

    /// The last 5-minute close that each minute sees, for minutes at `times` with the prices 1, 2, 3 ... in tiles of `tile`.
    fn seen(times: &[i64], tile: usize, fill_at_close: bool) -> Vec<f64> {
        let time: Vec<i64> = times.iter().map(|t| t * MINUTE).collect();
        let price: Vec<f64> = (1..=times.len()).map(|k| k as f64).collect();
        let (time, price) = (time.as_slice(), price.as_slice());
        let bars = Columns { time, open: price, high: price, low: price, close: price, volume: price };
        let market = Market { bars, mark: None, funding: None, benchmark: None, timeframe_ms: MINUTE };
        let mut higher = HigherTimeframe::new(5 * MINUTE, &market, [true; 5]).expect("minutes fit into five minutes");
        let mut last_ended = LastEnded::new(f64::NAN);
        let mut out = vec![0.0; times.len()];
        for start in (0..times.len()).step_by(tile) {
            let end = (start + tile).min(times.len());
            higher.advance(&market, start..end);
            let fine = if fill_at_close { Moments::Opens(&time[start..end], MINUTE) } else { Moments::Following(start, end - start) };
            let closes = higher.columns().close;
            last_ended.run(fine, higher.moments(fill_at_close), |k| closes[k], |range, value| out[start..end][range].fill(value));
        }
        out
    }

    #[test]
    fn a_bar_is_seen_from_its_end_on_whatever_the_tiles() {
        let times: Vec<i64> = (0..12).collect();
        for (tile, fill_at_close) in (1..=12).flat_map(|tile| [(tile, false), (tile, true)]) {
            let found = seen(&times, tile, fill_at_close);
            assert!(found[..4].iter().all(|x| x.is_nan()));
            assert_eq!(found[4..], [5.0, 5.0, 5.0, 5.0, 5.0, 10.0, 10.0, 10.0]);
        }
    }

    #[test]
    fn a_bar_that_ends_in_a_gap_is_seen_by_orders_that_fill_after_the_gap() {
        for tile in 1..=7 {
            let found = seen(&[0, 1, 11, 12, 15, 16, 19], tile, false);
            assert!(found[0].is_nan());
            assert_eq!(found[1..], [2.0, 2.0, 4.0, 4.0, 4.0, 7.0]);
        }
    }

    #[test]
    fn a_bar_that_ends_in_a_gap_is_not_seen_by_orders_that_fill_before_its_end() {
        for tile in 1..=7 {
            let found = seen(&[0, 1, 11, 12, 15, 16, 19], tile, true);
            assert!(found[..2].iter().all(|x| x.is_nan()));
            assert_eq!(found[2..], [2.0, 2.0, 4.0, 4.0, 7.0]);
        }
    }
}
