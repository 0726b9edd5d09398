//! Drawdowns of an equity curve, followed while the run goes on.

use crate::simd::extremes;

/// The worst of the drawdowns, over bars.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeepestDrawdown {
    /// Greatest (peak - equity) / peak.
    pub fraction: f64,
    /// Greatest peak - equity.
    pub money: f64,
    /// Longest time from a bar at its peak, or the first one, to a later bar below that peak.
    pub duration_ms: i64,
}

/// Follows the equity curve, which is pushed in order and without gaps, to its deepest drawdown.
///
/// Below one peak, rounding is monotone in equity, so that only the lowest value counts; and most blocks hold no new peak.
#[derive(Clone, Copy, Debug)]
pub struct Drawdown<'a> {
    time: &'a [i64],
    peak: f64,
    trough: f64,
    /// Last bar at its peak, or the first one.
    peak_bar: usize,
    bars: usize,
    deepest: DeepestDrawdown,
}

const BLOCK: usize = 64;

impl<'a> Drawdown<'a> {
    /// `time` are the open times of all bars of the run.
    pub fn new(capital: f64, time: &'a [i64]) -> Self {
        let deepest = DeepestDrawdown { fraction: 0.0, money: 0.0, duration_ms: 0 };
        Self { time, peak: capital, trough: capital, peak_bar: 0, bars: 0, deepest }
    }

    /// Equity that stays at `value` for the next `bars` bars.
    #[inline(always)]
    pub fn push_flat(&mut self, value: f64, bars: usize) {
        if bars == 0 {
            return;
        }
        if value >= self.peak {
            self.rise(value, self.bars);
            self.peak_bar = self.bars + bars - 1;
        } else if value < self.trough {
            self.trough = value;
        }
        self.bars += bars;
    }

    pub fn peak(&self) -> f64 {
        self.peak
    }

    /// Equity of the next `bars` bars stays below the peak, at its lowest at `low`.
    #[inline(always)]
    pub fn push_below(&mut self, low: f64, bars: usize) {
        self.trough = if low < self.trough { low } else { self.trough };
        self.bars += bars;
    }

    /// Equity of the next bars, whose extremes are known.
    #[inline(always)]
    pub fn push_within(&mut self, equity: &[f64], low: f64, high: f64) {
        if high < self.peak { self.push_below(low, equity.len()) } else { self.push_slice(equity) }
    }

    /// Equity of the next bars.
    #[inline(always)]
    pub fn push_slice(&mut self, equity: &[f64]) {
        let (blocks, rest) = equity.as_chunks::<BLOCK>();
        for block in blocks {
            let (low, high) = extremes(block, block);
            if high < self.peak {
                self.push_below(low, BLOCK);
            } else if low == high && block.iter().all(|&value| value == high) {
                self.push_flat(high, BLOCK);
            } else {
                self.push_each(block);
            }
        }
        self.push_each(rest);
    }

    fn push_each(&mut self, equity: &[f64]) {
        for (bar, &value) in (self.bars..).zip(equity) {
            if value >= self.peak {
                self.rise(value, bar);
            } else if value < self.trough {
                self.trough = value;
            }
        }
        self.bars += equity.len();
    }

    /// The peak is reached or passed at `bar`.
    #[inline]
    fn rise(&mut self, value: f64, bar: usize) {
        if bar > self.peak_bar + 1 {
            self.note_duration(bar - 1);
        }
        if self.trough < self.peak {
            self.note_depth();
        }
        self.peak = value;
        self.trough = value;
        self.peak_bar = bar;
    }

    fn note_depth(&mut self) {
        let money = self.peak - self.trough;
        let fraction = money / self.peak;
        self.deepest.money = if money > self.deepest.money { money } else { self.deepest.money };
        self.deepest.fraction = if fraction > self.deepest.fraction { fraction } else { self.deepest.fraction };
    }

    fn note_duration(&mut self, bar: usize) {
        self.deepest.duration_ms = self.deepest.duration_ms.max(self.time[bar] - self.time[self.peak_bar]);
    }

    /// What the bars pushed so far amount to.
    pub fn deepest(mut self) -> DeepestDrawdown {
        if self.bars > self.peak_bar {
            self.note_duration(self.bars - 1);
        }
        self.note_depth();
        self.deepest
    }
}
