//! The series that a run is compared with: the twin of `python_core.metrics.benchmark`, which has checked it.

use crate::market::Market;
use crate::metrics::periods::Periods;

/// Returns of the market's benchmark, or else of its closes, over each of `periods`; the first is relative to the value at the first open.
pub fn benchmark_returns(market: &Market<'_>, periods: &Periods) -> Vec<f64> {
    let bars = market.bars;
    let Some((time, price)) = market.benchmark else {
        return returns_of(bars.open[0], periods.of(bars.close).iter().copied());
    };
    let mut known = 0;
    let mut value_at = |moment: i64| {
        known += time[known..].partition_point(|&t| t <= moment);
        if known == 0 { f64::NAN } else { price[known - 1] }
    };
    let first = value_at(bars.time[0]);
    let ends = periods.clone().ends();
    returns_of(first, ends.into_iter().map(|end| value_at(bars.time[end] + market.timeframe_ms)))
}

fn returns_of(first: f64, values: impl ExactSizeIterator<Item = f64>) -> Vec<f64> {
    let mut before = first;
    let change = |now: f64| {
        let change = now / before - 1.0;
        before = now;
        change
    };
    values.map(change).collect()
}
