//! The series that a run is compared with: the twin of `python_core.metrics.benchmark`, which has checked it.

use crate::market::Market;
use crate::market::timeframe::bar_end_ms;
use crate::metrics::periods::Periods;
use crate::metrics::returns::returns_of;

/// Returns of the market's benchmark, or else of its closes, over each of `periods`; the first is relative to the value at the first open.
pub fn benchmark_returns(market: &Market<'_>, periods: &Periods) -> Vec<f64> {
    let bars = market.bars;
    let Some((time, price)) = market.benchmark else {
        return returns_of(bars.open[0], &periods.of(bars.close));
    };
    let mut known = 0;
    let mut value_at = |moment: i64| {
        known += time[known..].partition_point(|&t| t <= moment);
        if known == 0 { f64::NAN } else { price[known - 1] }
    };
    let first = value_at(bars.time[0]);
    let values: Vec<f64> =
        periods.clone().ends().into_iter().map(|end| value_at(bar_end_ms(bars.time[end], market.timeframe_ms))).collect();
    returns_of(first, &values)
}
