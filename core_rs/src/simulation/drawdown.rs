//! The maximum drawdown of an equity curve, tracked during the run.

use crate::simd;
use crate::simd::held::Held;
use crate::simd::portable::LANES;

/// The maximum drawdown over bars. Each field is a maximum by itself; they may come from different drawdowns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaxDrawdown {
    /// Maximum of (peak - equity) / peak.
    pub fraction: f64,
    /// Maximum of peak - equity, in money.
    pub money: f64,
    /// Longest time from a bar at the peak, or the first bar, to a later bar below that peak.
    pub duration_ms: i64,
}

/// Tracks an equity curve, which is pushed in the order of bars and without gaps.
///
/// Between one peak and the next only the lowest equity matters: the lower the value, the larger the drawdown, even after rounding. Few
/// bars reach a new peak, so a vector loop looks for the minimum, and for the next group of values with a peak.
#[derive(Clone, Copy, Debug)]
pub struct DrawdownTracker<'a> {
    time: &'a [i64],
    peak: f64,
    /// Lowest equity since the peak, lane by lane; infinity at first.
    troughs: [f64; LANES],
    /// Whether there was equity below the peak since.
    below_peak: bool,
    /// The last bar at the peak, or the first bar.
    peak_bar: usize,
    bars: usize,
    maximum: MaxDrawdown,
}

impl<'a> DrawdownTracker<'a> {
    /// `time` are the open times of all bars of the run.
    pub fn new(capital: f64, time: &'a [i64]) -> Self {
        let maximum = MaxDrawdown { fraction: 0.0, money: 0.0, duration_ms: 0 };
        Self { time, peak: capital, troughs: [f64::INFINITY; LANES], below_peak: false, peak_bar: 0, bars: 0, maximum }
    }

    /// Equity stays at `value` for the next `bars` bars.
    #[inline(always)]
    pub fn push_flat(&mut self, value: f64, bars: usize) {
        if bars == 0 {
            return;
        }
        self.push_one(value);
        self.bars += bars - 1;
        if value == self.peak {
            self.peak_bar = self.bars - 1;
        }
    }

    /// Equity of the next bars.
    #[inline(always)]
    pub fn push(&mut self, equity: &[f64]) {
        self.push_all::<false>(equity, Held { balance: 0.0, quantity: 0.0, entry: 0.0, ruin: 0.0 });
    }

    /// Equity of a position at the next closes. Returns the position of the first close where it is ruin, if there is one; that close and
    /// those after it do not count as pushed.
    #[inline(always)]
    pub fn push_held(&mut self, close: &[f64], held: Held) -> Option<usize> {
        self.push_all::<true>(close, held)
    }

    #[inline(always)]
    fn push_all<const FROM_CLOSE: bool>(&mut self, values: &[f64], held: Held) -> Option<usize> {
        let mut done = 0;
        loop {
            let passed = simd::lower_troughs::<FROM_CLOSE>(&values[done..], held, self.peak, &mut self.troughs);
            self.bars += passed;
            self.below_peak |= passed > 0;
            done += passed;
            let group = &values[done..values.len().min(done + LANES)];
            if group.is_empty() {
                return None;
            }
            for &value in group {
                let equity = if FROM_CLOSE { held.equity(value) } else { value };
                if FROM_CLOSE && equity <= held.ruin {
                    return Some(done);
                }
                self.push_one(equity);
                done += 1;
            }
        }
    }

    #[inline(always)]
    fn push_one(&mut self, value: f64) {
        if value >= self.peak {
            self.new_peak(value, self.bars);
        } else if value < self.troughs[0] {
            self.troughs[0] = value;
            self.below_peak = true;
        }
        self.bars += 1;
    }

    /// `bar` is at the peak or above it.
    #[inline]
    fn new_peak(&mut self, value: f64, bar: usize) {
        if bar > self.peak_bar + 1 {
            self.record_duration(bar - 1);
        }
        if self.below_peak {
            self.record_depth();
            self.troughs = [f64::INFINITY; LANES];
            self.below_peak = false;
        }
        self.peak = value;
        self.peak_bar = bar;
    }

    fn record_depth(&mut self) {
        let trough = self.troughs.iter().fold(self.peak, |lowest, &trough| if trough < lowest { trough } else { lowest });
        let money = self.peak - trough;
        let fraction = money / self.peak;
        self.maximum.money = if money > self.maximum.money { money } else { self.maximum.money };
        self.maximum.fraction = if fraction > self.maximum.fraction { fraction } else { self.maximum.fraction };
    }

    fn record_duration(&mut self, bar: usize) {
        self.maximum.duration_ms = self.maximum.duration_ms.max(self.time[bar] - self.time[self.peak_bar]);
    }

    /// The maximum over the bars pushed so far.
    pub fn maximum(mut self) -> MaxDrawdown {
        if self.bars > self.peak_bar {
            self.record_duration(self.bars - 1);
        }
        self.record_depth();
        self.maximum
    }
}

#[cfg(test)]
mod tests {
    use super::{DrawdownTracker, MaxDrawdown};
    use crate::random::Random;

    const HOUR_MS: i64 = 3_600_000;

    /// The definition, bar by bar.
    fn by_definition(equity: &[f64], capital: f64, time: &[i64]) -> MaxDrawdown {
        let (mut peak, mut peak_bar) = (capital, 0);
        let mut maximum = MaxDrawdown { fraction: 0.0, money: 0.0, duration_ms: 0 };
        for (bar, &value) in equity.iter().enumerate() {
            if value >= peak {
                (peak, peak_bar) = (value, bar);
            } else {
                maximum.duration_ms = maximum.duration_ms.max(time[bar] - time[peak_bar]);
            }
            maximum.money = maximum.money.max(peak - value);
            maximum.fraction = maximum.fraction.max((peak - value) / peak);
        }
        maximum
    }

    #[test]
    fn tracking_in_pieces_gives_the_maximum_by_definition() {
        let mut random = Random(7);
        for case in 0..3_000 {
            let n = 1 + random.below(700);
            let time = random.times(n, HOUR_MS);
            let capital = 100.0;
            let (step, drift) = ([0.0, 0.1, 3.0][case % 3], [0.0, 0.05, -0.05, 1.0][case % 4]);
            let mut value = capital + random.below(3) as f64 - 1.0;
            let mut equity: Vec<f64> = (0..n)
                .map(|_| {
                    value += (random.next() - 0.5) * step + drift;
                    if case % 5 == 0 { value.round() } else { value }
                })
                .collect();
            if case % 11 == 0 {
                equity[random.below(n)] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0][random.below(4)];
            }
            let mut drawdown = DrawdownTracker::new(capital, &time);
            let mut start = 0;
            while start < n {
                let end = (start + 1 + random.below(400)).min(n);
                let piece = &equity[start..end];
                if piece.iter().all(|&value| value == piece[0]) {
                    drawdown.push_flat(piece[0], 0);
                    drawdown.push_flat(piece[0], piece.len());
                } else {
                    drawdown.push(piece);
                }
                start = end;
            }
            assert_eq!(drawdown.maximum(), by_definition(&equity, capital, &time), "case {case}");
        }
    }
}
