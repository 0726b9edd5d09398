//! Drawdowns of an equity curve, followed while the run goes on.

use crate::simd;
use crate::simd::held::Held;
use crate::simd::portable::LANES;

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
/// Below one peak, rounding is monotone in equity, so that only the lowest value counts; and most bars reach no new peak.
#[derive(Clone, Copy, Debug)]
pub struct Drawdown<'a> {
    time: &'a [i64],
    peak: f64,
    /// Lowest equity since the peak, lane by lane; infinity before it falls.
    troughs: [f64; LANES],
    fallen: bool,
    /// Last bar at its peak, or the first one.
    peak_bar: usize,
    bars: usize,
    deepest: DeepestDrawdown,
}

impl<'a> Drawdown<'a> {
    /// `time` are the open times of all bars of the run.
    pub fn new(capital: f64, time: &'a [i64]) -> Self {
        let deepest = DeepestDrawdown { fraction: 0.0, money: 0.0, duration_ms: 0 };
        Self { time, peak: capital, troughs: [f64::INFINITY; LANES], fallen: false, peak_bar: 0, bars: 0, deepest }
    }

    /// Equity that stays at `value` for the next `bars` bars.
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
        self.lower_troughs::<false>(equity, Held { balance: 0.0, quantity: 0.0, entry: 0.0 });
    }

    /// Equity of a position at the next closes. Gives the place of the first at which it is 0 or less, if there is one: that close and those
    /// after it are not taken in.
    #[inline(always)]
    pub fn push_held(&mut self, close: &[f64], held: Held) -> Option<usize> {
        self.lower_troughs::<true>(close, held)
    }

    #[inline(always)]
    fn lower_troughs<const FROM_CLOSE: bool>(&mut self, values: &[f64], held: Held) -> Option<usize> {
        let mut done = 0;
        loop {
            let sunk = simd::lower_troughs::<FROM_CLOSE>(&values[done..], held, self.peak, &mut self.troughs);
            self.bars += sunk;
            self.fallen |= sunk > 0;
            done += sunk;
            let group = &values[done..values.len().min(done + LANES)];
            if group.is_empty() {
                return None;
            }
            for &value in group {
                let equity = if FROM_CLOSE { held.equity(value) } else { value };
                if FROM_CLOSE && equity <= 0.0 {
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
            self.rise(value, self.bars);
        } else if value < self.troughs[0] {
            self.troughs[0] = value;
            self.fallen = true;
        }
        self.bars += 1;
    }

    /// The peak is reached or passed at `bar`.
    #[inline]
    fn rise(&mut self, value: f64, bar: usize) {
        if bar > self.peak_bar + 1 {
            self.note_duration(bar - 1);
        }
        if self.fallen {
            self.note_depth();
            self.troughs = [f64::INFINITY; LANES];
            self.fallen = false;
        }
        self.peak = value;
        self.peak_bar = bar;
    }

    fn note_depth(&mut self) {
        let trough = self.troughs.iter().fold(self.peak, |least, &trough| if trough < least { trough } else { least });
        let money = self.peak - trough;
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

#[cfg(test)]
mod tests {
    use super::{DeepestDrawdown, Drawdown};
    use crate::random::Random;

    const HOUR_MS: i64 = 3_600_000;

    /// The definition, bar by bar.
    fn deepest(equity: &[f64], capital: f64, time: &[i64]) -> DeepestDrawdown {
        let (mut peak, mut peak_bar) = (capital, 0);
        let mut worst = DeepestDrawdown { fraction: 0.0, money: 0.0, duration_ms: 0 };
        for (bar, &value) in equity.iter().enumerate() {
            if value >= peak {
                (peak, peak_bar) = (value, bar);
            } else {
                worst.duration_ms = worst.duration_ms.max(time[bar] - time[peak_bar]);
            }
            worst.money = worst.money.max(peak - value);
            worst.fraction = worst.fraction.max((peak - value) / peak);
        }
        worst
    }

    #[test]
    fn a_drawdown_found_by_blocks_is_that_found_bar_by_bar() {
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
            let mut drawdown = Drawdown::new(capital, &time);
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
            assert_eq!(drawdown.deepest(), deepest(&equity, capital, &time), "case {case}");
        }
    }
}
