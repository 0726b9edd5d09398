//! Metrics of the returns of periods.

use crate::metrics::ratio::ratio;
use crate::numerics::elementary::power;

/// Metrics of the returns of periods, which are UTC days, or bars of a day or longer.
pub struct ReturnValues {
    pub volatility: f64,
    pub sharpe: f64,
    pub sortino: f64,
    pub omega: f64,
    pub average_drawdown: f64,
    pub ulcer_index: f64,
    pub value_at_risk_95: f64,
    pub conditional_value_at_risk_95: f64,
    pub tail_ratio: f64,
    pub skew: f64,
    pub kurtosis: f64,
    pub beta: f64,
    pub alpha: f64,
    pub tracking_error: f64,
    pub information_ratio: f64,
}

/// `equity` is taken at the ends of periods, of which a year has `per_year`; `benchmark` are returns over the same periods, and `risk_free` is
/// a fraction per year.
pub fn return_values(mut equity: &[f64], benchmark: &[f64], capital: f64, per_year: f64, risk_free: f64) -> ReturnValues {
    if equity.iter().any(|value| !value.is_finite()) {
        equity = &[];
    }
    let rate = if risk_free == 0.0 { 0.0 } else { power(1.0 + risk_free, 1.0 / per_year) - 1.0 };
    let Returns { mut returns, sum, gains, losses, downside, benchmark_sum, active_sum } = Returns::new(equity, benchmark, capital, rate);
    let n = returns.len() as f64;
    let mean = ratio(sum, n);
    let (benchmark_mean, active_mean) = (ratio(benchmark_sum, n), ratio(active_sum, n));
    let (mut m2, mut m3, mut m4) = (0.0, 0.0, 0.0);
    let (mut products, mut benchmark_m2, mut active_m2) = (0.0, 0.0, 0.0);
    for (&r, &b) in returns.iter().zip(benchmark) {
        let d = r - mean;
        let square = d * d;
        m2 += square;
        m3 += square * d;
        m4 += square * square;
        let e = b - benchmark_mean;
        products += d * e;
        benchmark_m2 += e * e;
        let active = (r - b) - active_mean;
        active_m2 += active * active;
    }
    let sd = |squares: f64| if n > 1.0 { (squares / (n - 1.0)).sqrt() } else { f64::NAN };
    let annual = per_year.sqrt();
    let skew = if returns.len() < 3 { f64::NAN } else { n * (n - 1.0).sqrt() / (n - 2.0) * ratio(m3, m2 * m2.sqrt()) };
    let kurtosis = if returns.len() < 4 {
        f64::NAN
    } else {
        let scale = (n - 2.0) * (n - 3.0);
        n * (n + 1.0) * (n - 1.0) / scale * ratio(m4, m2 * m2) - 3.0 * (n - 1.0) * (n - 1.0) / scale
    };
    let beta = ratio(products, benchmark_m2);
    let (average_drawdown, ulcer_index) = period_drawdowns(equity, capital);
    let tails = tails(&mut returns);
    ReturnValues {
        volatility: sd(m2) * annual,
        sharpe: ratio(mean - rate, sd(m2)) * annual,
        sortino: ratio(mean - rate, ratio(downside, n).sqrt()) * annual,
        omega: ratio(gains, losses),
        average_drawdown,
        ulcer_index,
        value_at_risk_95: -tails.low,
        conditional_value_at_risk_95: -tails.mean_below_low,
        tail_ratio: ratio(tails.high.abs(), tails.low.abs()),
        skew,
        kurtosis,
        beta,
        alpha: (mean - rate - beta * (benchmark_mean - rate)) * per_year,
        tracking_error: sd(active_m2) * annual,
        information_ratio: ratio(active_mean, sd(active_m2)) * annual,
    }
}

#[derive(Default)]
struct Returns {
    returns: Vec<f64>,
    sum: f64,
    /// Sums of what returns are above and below the risk-free rate of a period.
    gains: f64,
    losses: f64,
    /// Sum of squares of what returns are below it.
    downside: f64,
    benchmark_sum: f64,
    /// Sum of returns less those of the benchmark.
    active_sum: f64,
}

impl Returns {
    /// `equity` at the ends of periods, as many returns of the benchmark, and the risk-free rate of a period.
    fn new(equity: &[f64], benchmark: &[f64], capital: f64, rate: f64) -> Self {
        let count = equity.iter().position(|&now| now <= 0.0).map_or(equity.len(), |end| end + 1);
        let returns = returns_of(capital, &equity[..count]);
        let (mut sum, mut gains, mut losses, mut downside) = (0.0, 0.0, 0.0, 0.0);
        let (mut benchmark_sum, mut active_sum) = (0.0, 0.0);
        let mut all_finite = true;
        for (&r, &b) in returns.iter().zip(benchmark) {
            all_finite &= r.is_finite();
            let excess = r - rate;
            let loss = if excess < 0.0 { -excess } else { 0.0 };
            sum += r;
            gains += if excess > 0.0 { excess } else { 0.0 };
            losses += loss;
            downside += loss * loss;
            benchmark_sum += b;
            active_sum += r - b;
        }
        if all_finite { Self { returns, sum, gains, losses, downside, benchmark_sum, active_sum } } else { Self::default() }
    }
}

/// Returns over periods from the values at their ends; the first is relative to `first`.
pub fn returns_of(first: f64, values: &[f64]) -> Vec<f64> {
    let mut returns = Vec::with_capacity(values.len());
    returns.extend(values.first().map(|now| now / first - 1.0));
    returns.extend(values.windows(2).map(|pair| pair[1] / pair[0] - 1.0));
    returns
}

/// Average drawdown and ulcer index.
fn period_drawdowns(equity: &[f64], capital: f64) -> (f64, f64) {
    let (mut peak, mut deepest, mut sum, mut count, mut squares) = (capital, 0.0, 0.0, 0.0, 0.0);
    for &now in equity.iter().chain(&[f64::INFINITY]) {
        if now < peak {
            let drawdown = (peak - now) / peak;
            deepest = if drawdown > deepest { drawdown } else { deepest };
            squares += drawdown * drawdown;
        } else {
            if deepest > 0.0 {
                sum += deepest;
                count += 1.0;
                deepest = 0.0;
            }
            peak = now;
        }
    }
    (ratio(sum, count), ratio(squares, equity.len() as f64).sqrt())
}

/// The 5 % and 95 % quantiles, and the mean of all values at or below the first.
struct Tails {
    low: f64,
    high: f64,
    mean_below_low: f64,
}

fn tails(returns: &mut [f64]) -> Tails {
    let n = returns.len();
    if n < 2 {
        let only = returns.first().copied().unwrap_or(f64::NAN);
        return Tails { low: only, high: only, mean_below_low: only };
    }
    let (i, part) = quantile_position(n, 0.05);
    let (below, &mut above, _) = returns.select_nth_unstable_by(i + 1, f64::total_cmp);
    below.sort_unstable_by(f64::total_cmp);
    let low = below[i] + (above - below[i]) * part;
    let mut tail = i + 1;
    if above <= low {
        for j in i + 1..n {
            if returns[j] <= low {
                returns.swap(tail, j);
                tail += 1;
            }
        }
        returns[i + 1..tail].sort_unstable_by(f64::total_cmp);
    } else if low.is_nan() {
        tail = 0;
    }
    let mut sum = 0.0;
    for &r in &returns[..tail] {
        sum += r;
    }
    let (i, part) = quantile_position(n, 0.95);
    let (_, &mut at, above) = returns.select_nth_unstable_by(i, f64::total_cmp);
    let next = above.iter().fold(f64::INFINITY, |lowest, &r| if r < lowest { r } else { lowest });
    Tails { low, high: at + (next - at) * part, mean_below_low: ratio(sum, tail as f64) }
}

/// Where a quantile of `n` >= 2 sorted values lies: the position of the value before it, and the fraction of the way to the next.
fn quantile_position(n: usize, level: f64) -> (usize, f64) {
    let position = (n - 1) as f64 * level;
    (position as usize, position - (position as usize) as f64)
}

#[cfg(test)]
mod tests {
    use super::tails;
    use crate::random::Random;

    #[test]
    fn tails_match_those_of_sorted_returns() {
        let mut random = Random(9);
        for case in 0..2_000 {
            let n = 1 + random.below(120);
            let mut returns: Vec<f64> = (0..n).map(|_| random.next() - 0.5).collect();
            if case % 2 == 0 {
                returns.iter_mut().for_each(|r| *r = (*r * 4.0).round() / 4.0 + 0.0);
            }
            let mut sorted = returns.clone();
            sorted.sort_by(f64::total_cmp);
            let quantile = |share: f64| {
                let position = (n - 1) as f64 * share;
                let i = position as usize;
                sorted[i] + (sorted[(i + 1).min(n - 1)] - sorted[i]) * (position - i as f64)
            };
            let (low, high) = (quantile(0.05), quantile(0.95));
            let tail: Vec<f64> = sorted.iter().copied().filter(|&r| r <= low).collect();
            let found = tails(&mut returns);
            let expected = tail.iter().fold(0.0, |sum, r| sum + r) / tail.len() as f64;
            assert_eq!((found.low, found.high, found.mean_below_low), (low, high, expected), "case {case}");
        }
    }
}
