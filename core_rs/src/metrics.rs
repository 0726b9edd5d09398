//! Metrics of a run, with the bits of the Python twin, which says what each one means.
//!
//! What needs every bar or every trade in turn is gathered while the run goes on, by `Drawdown` and `TradeTally`; the report then costs
//! O(days + trades).

use crate::drawdown::DeepestDrawdown;
use crate::elementary::power;
use crate::trade::{Reason, Trade};

/// Values of a run, followed by those of its long and of its short trades; `NAMES` in Python gives the order.
pub const VALUES: usize = 43 + 2 * SIDE_VALUES;
const SIDE_VALUES: usize = 21;

const DAY_MS: i64 = 86_400_000;
const WEEK_MS: i64 = 7 * DAY_MS;
const YEAR_MS: i64 = 365 * DAY_MS;

#[derive(Clone, Copy, Debug)]
pub struct MetricsInput<'a> {
    pub final_equity: f64,
    pub bars: usize,
    /// From the open of the first bar to the close of the last one.
    pub span_ms: i64,
    pub timeframe_ms: i64,
    /// Equity at the ends of `Periods`; empty where it was not followed, which leaves the metrics of returns undefined.
    pub periods: &'a [f64],
    /// In the order of exits, as `tally` has seen them; without them `sqn` is undefined.
    pub trades: Option<&'a [Trade]>,
    pub tally: &'a TradeTally,
    pub drawdown: Option<DeepestDrawdown>,
    pub capital: f64,
    pub exchange_calendar: bool,
    pub exposed_bars: i64,
    /// Money, over all fills.
    pub traded_notional: f64,
    pub first_open: f64,
    pub last_close: f64,
}

/// The metrics in their flat form: counts as floats, NaN where undefined.
pub fn compute(input: &MetricsInput) -> Vec<f64> {
    let last = input.final_equity;
    let years = input.span_ms as f64 / YEAR_MS as f64;
    let drawdown = |part: fn(DeepestDrawdown) -> f64| input.drawdown.map_or(f64::NAN, part);
    let net_profit = last - input.capital;
    let total_return = ratio(net_profit, input.capital);
    let cagr = if last <= 0.0 { -1.0 } else { power(last / input.capital, 1.0 / years) - 1.0 };
    let held = ratio(input.last_close, input.first_open) - 1.0;
    let risk = period_values(input);
    let [all, long, short] = trade_values(input.trades, input.tally);
    let mut values = Vec::with_capacity(VALUES);
    values.extend([
        last,
        net_profit,
        total_return,
        cagr,
        risk.volatility,
        risk.sharpe,
        risk.sortino,
        ratio(cagr, drawdown(|deepest| deepest.fraction)),
        risk.omega,
        drawdown(|deepest| deepest.fraction),
        drawdown(|deepest| deepest.duration_ms as f64 / DAY_MS as f64),
        risk.average_drawdown,
        risk.ulcer_index,
        ratio(net_profit, drawdown(|deepest| deepest.money)),
        risk.value_at_risk,
        risk.conditional_value_at_risk,
        risk.tail_ratio,
        risk.skew,
        risk.kurtosis,
    ]);
    // The same metrics as of a side, without net_profit and with two more after average_bars_held.
    values.extend(&all[..4]);
    values.extend(&all[5..16]);
    values.extend([ratio(input.exposed_bars as f64, input.bars as f64), ratio(input.traded_notional, input.capital)]);
    values.extend(&all[16..]);
    values.extend([held, total_return - held]);
    values.extend(long);
    values.extend(short);
    for value in &mut values {
        // Adding 0 makes -0 a 0; one NaN stands for all.
        *value = if value.is_finite() { *value + 0.0 } else { f64::from_bits(0x7ff8_0000_0000_0000) };
    }
    values
}

/// A quotient, NaN where it is undefined.
#[inline]
fn ratio(numerator: f64, denominator: f64) -> f64 {
    if denominator.is_finite() && denominator != 0.0 { numerator / denominator } else { f64::NAN }
}

/// Metrics of periods: UTC days, or bars of a day or longer.
struct PeriodValues {
    volatility: f64,
    sharpe: f64,
    sortino: f64,
    omega: f64,
    average_drawdown: f64,
    ulcer_index: f64,
    value_at_risk: f64,
    conditional_value_at_risk: f64,
    tail_ratio: f64,
    skew: f64,
    kurtosis: f64,
}

fn period_values(input: &MetricsInput) -> PeriodValues {
    let mut equity = input.periods;
    if equity.iter().any(|value| !value.is_finite()) {
        equity = &[];
    }
    let Returns { mut returns, sum, gains, losses, downside } = Returns::new(equity, input.capital);
    let n = returns.len() as f64;
    let mean = ratio(sum, n);
    let (mut m2, mut m3, mut m4) = (0.0, 0.0, 0.0);
    for &r in &returns {
        let d = r - mean;
        let square = d * d;
        m2 += square;
        m3 += square * d;
        m4 += square * square;
    }
    let sd = if returns.len() > 1 { (m2 / (n - 1.0)).sqrt() } else { f64::NAN };
    let annual = periods_per_year(input.timeframe_ms, input.exchange_calendar).sqrt();
    let skew = if returns.len() < 3 { f64::NAN } else { n * (n - 1.0).sqrt() / (n - 2.0) * ratio(m3, m2 * m2.sqrt()) };
    let kurtosis = if returns.len() < 4 {
        f64::NAN
    } else {
        let scale = (n - 2.0) * (n - 3.0);
        n * (n + 1.0) * (n - 1.0) / scale * ratio(m4, m2 * m2) - 3.0 * (n - 1.0) * (n - 1.0) / scale
    };
    let (average_drawdown, ulcer_index) = period_drawdowns(equity, input.capital);
    let tails = tails(&mut returns);
    PeriodValues {
        volatility: sd * annual,
        sharpe: ratio(mean, sd) * annual,
        sortino: ratio(mean, ratio(downside, n).sqrt()) * annual,
        omega: ratio(gains, losses),
        average_drawdown,
        ulcer_index,
        value_at_risk: -tails.low,
        conditional_value_at_risk: -tails.mean_below_low,
        tail_ratio: ratio(tails.high.abs(), tails.low.abs()),
        skew,
        kurtosis,
    }
}

fn periods_per_year(timeframe_ms: i64, exchange_calendar: bool) -> f64 {
    match (timeframe_ms < WEEK_MS, exchange_calendar) {
        (true, false) => 365.0,
        (true, true) => 252.0,
        (false, false) => 365.0 / 7.0,
        (false, true) => 252.0 / 5.0,
    }
}

/// The last bars of periods: of UTC days that have bars, or every bar where bars last a day or longer.
#[derive(Clone, Debug)]
pub enum Periods {
    Bars(usize),
    Days(Vec<usize>),
}

impl Periods {
    /// `time` are the bars' open times, at least one.
    pub fn new(time: &[i64], timeframe_ms: i64) -> Self {
        if timeframe_ms >= DAY_MS {
            return Self::Bars(time.len());
        }
        let span_days = (time[time.len() - 1] - time[0]) / DAY_MS + 2;
        let mut ends = Vec::with_capacity(time.len().min(span_days as usize));
        let mut bar = 0;
        while bar < time.len() {
            let midnight = (time[bar].div_euclid(DAY_MS) + 1) * DAY_MS;
            let expected = ((midnight - 1 - time[bar]) / timeframe_ms) as usize;
            bar = first_at_or_after(midnight, time, bar, expected.max(1));
            ends.push(bar - 1);
        }
        Self::Days(ends)
    }

    /// Positions of all last bars.
    pub fn ends(self) -> Vec<usize> {
        match self {
            Self::Bars(n) => (0..n).collect(),
            Self::Days(ends) => ends,
        }
    }

    /// Equity at the ends of all periods.
    pub fn of(&self, equity: &[f64]) -> Vec<f64> {
        match self {
            Self::Bars(_) => equity.to_vec(),
            Self::Days(ends) => ends.iter().map(|&end| equity[end]).collect(),
        }
    }
}

/// The first bar at or after `moment`, which is later than bar `from`; `step` bars on is a good guess of the last one before it.
fn first_at_or_after(moment: i64, time: &[i64], from: usize, step: usize) -> usize {
    let (mut before, mut step) = (from, step);
    // Bar `before` is earlier than the moment. Without gaps the guess is right; with them, the bar is nearer.
    if before + step < time.len() && time[before + step] < moment {
        before += step;
        step = 1;
    }
    while before + step < time.len() && time[before + step] < moment {
        before += step;
        step *= 2;
    }
    let after = time.len().min(before + step);
    before + 1 + time[before + 1..after].partition_point(|&t| t < moment)
}

#[derive(Default)]
struct Returns {
    returns: Vec<f64>,
    sum: f64,
    gains: f64,
    losses: f64,
    /// Sum of squared losses.
    downside: f64,
}

impl Returns {
    fn new(equity: &[f64], capital: f64) -> Self {
        let mut returns = vec![0.0; equity.len()];
        let (mut sum, mut gains, mut losses, mut downside) = (0.0, 0.0, 0.0, 0.0);
        let (mut before, mut count) = (capital, 0);
        for (r, &now) in returns.iter_mut().zip(equity) {
            *r = now / before - 1.0;
            if !r.is_finite() {
                return Self::default();
            }
            let loss = if *r < 0.0 { -*r } else { 0.0 };
            sum += *r;
            gains += if *r > 0.0 { *r } else { 0.0 };
            losses += loss;
            downside += loss * loss;
            count += 1;
            if now <= 0.0 {
                break;
            }
            before = now;
        }
        returns.truncate(count);
        Self { returns, sum, gains, losses, downside }
    }
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

/// The 5 % and 95 % quantiles, and the mean of what is at or below the former.
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
    let (i, part) = position(n, 0.05);
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
    let (i, part) = position(n, 0.95);
    let (_, &mut at, above) = returns.select_nth_unstable_by(i, f64::total_cmp);
    let next = above.iter().fold(f64::INFINITY, |least, &r| if r < least { r } else { least });
    Tails { low, high: at + (next - at) * part, mean_below_low: ratio(sum, tail as f64) }
}

/// Where a quantile of `n` >= 2 values lies: an order statistic before the last, and the part of the way to the next.
fn position(n: usize, share: f64) -> (usize, f64) {
    let position = (n - 1) as f64 * share;
    (position as usize, position - (position as usize) as f64)
}

/// Sums over the trades seen so far, in all and by side.
#[derive(Clone, Copy, Debug, Default)]
pub struct TradeTally {
    /// Kept once both sides have traded; before, one side's sums are all there is.
    both: Sums,
    long: Sums,
    short: Sums,
}

#[derive(Clone, Copy, Debug)]
struct Sums {
    trades: i64,
    wins: i64,
    losses: i64,
    liquidations: i64,
    bars_held: i64,
    wins_in_a_row: i64,
    losses_in_a_row: i64,
    longest_winning_streak: i64,
    longest_losing_streak: i64,
    best: f64,
    worst: f64,
    net: f64,
    won: f64,
    lost: f64,
    shares: f64,
    fees: f64,
    funding: f64,
}

impl Default for Sums {
    fn default() -> Self {
        Self {
            trades: 0,
            wins: 0,
            losses: 0,
            liquidations: 0,
            bars_held: 0,
            wins_in_a_row: 0,
            losses_in_a_row: 0,
            longest_winning_streak: 0,
            longest_losing_streak: 0,
            best: f64::NEG_INFINITY,
            worst: f64::INFINITY,
            net: 0.0,
            won: 0.0,
            lost: 0.0,
            shares: 0.0,
            fees: 0.0,
            funding: 0.0,
        }
    }
}

impl TradeTally {
    /// Trades come in the order of exits.
    #[inline(always)]
    pub fn push(&mut self, trade: &Trade) {
        let share = ratio(trade.net, trade.quantity * trade.entry_price);
        let (side, other) = if trade.side > 0 { (&mut self.long, &self.short) } else { (&mut self.short, &self.long) };
        if other.trades > 0 {
            if side.trades == 0 {
                self.both = *other;
            }
            self.both.push(trade, share);
        }
        side.push(trade, share);
    }

    fn all(&self) -> &Sums {
        match (self.long.trades, self.short.trades) {
            (_, 0) => &self.long,
            (0, _) => &self.short,
            _ => &self.both,
        }
    }

    pub fn trades(&self) -> i64 {
        self.all().trades
    }
}

impl Sums {
    #[inline]
    fn push(&mut self, trade: &Trade, share: f64) {
        let net = trade.net;
        let (win, loss) = (net > 0.0, net < 0.0);
        self.trades += 1;
        self.wins += i64::from(win);
        self.losses += i64::from(loss);
        self.liquidations += i64::from(trade.reason == Reason::Liquidation as i64);
        self.bars_held += trade.exit_index - trade.entry_index;
        self.wins_in_a_row = if win { self.wins_in_a_row + 1 } else { 0 };
        self.losses_in_a_row = if loss { self.losses_in_a_row + 1 } else { 0 };
        self.longest_winning_streak = self.longest_winning_streak.max(self.wins_in_a_row);
        self.longest_losing_streak = self.longest_losing_streak.max(self.losses_in_a_row);
        self.best = if net > self.best { net } else { self.best };
        self.worst = if net < self.worst { net } else { self.worst };
        self.net += net;
        self.won += if win { net } else { 0.0 };
        self.lost += if loss { net } else { 0.0 };
        self.shares += share;
        self.fees += trade.fees;
        self.funding += trade.funding;
    }

    fn average(&self) -> f64 {
        ratio(self.net, self.trades as f64)
    }

    /// In the order of `TradeMetrics`; `squares` is the sum of the squared distances of net from its average.
    fn values(&self, squares: f64) -> [f64; SIDE_VALUES] {
        let n = self.trades as f64;
        let win_rate = ratio(self.wins as f64, n);
        let average_win = ratio(self.won, self.wins as f64);
        let average_loss = ratio(self.lost, self.losses as f64);
        let payoff_ratio = ratio(average_win, -average_loss);
        let sd = if self.trades > 1 { (squares / (n - 1.0)).sqrt() } else { f64::NAN };
        let sqn = n.sqrt() * ratio(self.average(), sd);
        let kelly = win_rate - ratio(1.0 - win_rate, payoff_ratio);
        [
            n,
            self.wins as f64,
            self.losses as f64,
            win_rate,
            self.net,
            ratio(self.won, -self.lost),
            ratio(self.shares, n),
            self.average(),
            average_win,
            average_loss,
            payoff_ratio,
            self.best,
            self.worst,
            self.longest_winning_streak as f64,
            self.longest_losing_streak as f64,
            ratio(self.bars_held as f64, n),
            self.fees,
            self.funding,
            self.liquidations as f64,
            sqn,
            kelly,
        ]
    }
}

/// Metrics of all, long and short trades.
fn trade_values(trades: Option<&[Trade]>, tally: &TradeTally) -> [[f64; SIDE_VALUES]; 3] {
    let Some(trades) = trades else {
        return [tally.all(), &tally.long, &tally.short].map(|sums| sums.values(f64::NAN));
    };
    let (average, average_long, average_short) = (tally.all().average(), tally.long.average(), tally.short.average());
    let (mut all, mut long, mut short) = (0.0, 0.0, 0.0);
    for trade in trades {
        let distance = trade.net - average;
        all += distance * distance;
        if trade.side > 0 {
            let distance = trade.net - average_long;
            long += distance * distance;
        } else {
            let distance = trade.net - average_short;
            short += distance * distance;
        }
    }
    [tally.all().values(all), tally.long.values(long), tally.short.values(short)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drawdown::Drawdown;

    const HOUR_MS: i64 = 3_600_000;

    /// Numbers in [0, 1) (SplitMix64).
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ z >> 31) >> 11) as f64 / (1u64 << 53) as f64
        }

        fn below(&mut self, n: usize) -> usize {
            (self.next() * n as f64) as usize
        }

        /// Open times with gaps from none to days.
        fn times(&mut self, n: usize, timeframe_ms: i64) -> Vec<i64> {
            let (often, far) = ([0.0, 0.01, 0.5][self.below(3)], [2, 3_000][self.below(2)]);
            let mut time = self.below(100_000) as i64 * timeframe_ms;
            (0..n)
                .map(|_| {
                    let gap = if self.next() < often { self.below(far) as i64 } else { 0 };
                    time += (1 + gap) * timeframe_ms;
                    time
                })
                .collect()
        }
    }

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

    #[test]
    fn a_day_ends_at_its_last_bar_whatever_the_gaps() {
        let mut random = Random(8);
        for _ in 0..2_000 {
            let timeframe_ms = [60_000, 15 * 60_000, HOUR_MS, 12 * HOUR_MS][random.below(4)];
            let n = 1 + random.below(4_000);
            let time = random.times(n, timeframe_ms);
            let ends: Vec<usize> = (0..n).filter(|&bar| bar + 1 == n || time[bar] / DAY_MS != time[bar + 1] / DAY_MS).collect();
            assert_eq!(Periods::new(&time, timeframe_ms).ends(), ends);
        }
    }

    #[test]
    fn bars_of_a_day_or_longer_are_periods_themselves() {
        let periods = Periods::new(&[0, 7 * DAY_MS, 14 * DAY_MS], 7 * DAY_MS);
        assert_eq!(periods.of(&[1.0, 2.0, 3.0]), [1.0, 2.0, 3.0]);
        assert_eq!(periods.ends(), [0, 1, 2]);
    }

    #[test]
    fn tails_are_those_of_the_sorted_returns() {
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

    fn trade(side: i64, net: f64, reason: Reason) -> Trade {
        Trade {
            entry_time: 0,
            exit_time: 0,
            entry_index: 0,
            exit_index: 3,
            side,
            reason: reason as i64,
            quantity: 2.0,
            entry_price: 32.0,
            exit_price: 32.0,
            gross: net,
            fees: 1.0,
            funding: 0.5,
            net,
            mae: 0.0,
            mfe: 0.0,
        }
    }

    fn values(equity: &[f64], time: &[i64], timeframe_ms: i64, trades: &[Trade]) -> Vec<f64> {
        let (mut drawdown, mut tally) = (Drawdown::new(100.0, time), TradeTally::default());
        drawdown.push(equity);
        trades.iter().for_each(|trade| tally.push(trade));
        compute(&MetricsInput {
            final_equity: equity[equity.len() - 1],
            bars: equity.len(),
            span_ms: time[time.len() - 1] - time[0] + timeframe_ms,
            timeframe_ms,
            periods: &Periods::new(time, timeframe_ms).of(equity),
            trades: Some(trades),
            tally: &tally,
            drawdown: Some(drawdown.deepest()),
            capital: 100.0,
            exchange_calendar: false,
            exposed_bars: 1,
            traded_notional: 400.0,
            first_open: 10.0,
            last_close: 15.0,
        })
    }

    #[test]
    fn a_run_without_trades_has_counts_of_zero_and_no_undefined_ratio() {
        let found = values(&[100.0, 100.0], &[0, DAY_MS], DAY_MS, &[]);
        assert_eq!(found.len(), VALUES);
        assert_eq!(found[..5], [100.0, 0.0, 0.0, 0.0, 0.0]);
        assert!(found[5..9].iter().all(|value| value.to_bits() == 0x7ff8_0000_0000_0000));
        assert_eq!(found[19..22], [0.0, 0.0, 0.0]);
        assert!(found[22..31].iter().all(|value| value.is_nan()));
    }

    #[test]
    fn long_and_short_trades_are_counted_apart() {
        let trades = [trade(1, 8.0, Reason::Signal), trade(-1, -3.0, Reason::Liquidation), trade(1, 4.0, Reason::Signal)];
        let found = values(&[108.0, 105.0, 109.0], &[0, DAY_MS, 2 * DAY_MS], DAY_MS, &trades);
        let (run, sides) = found.split_at(VALUES - 2 * SIDE_VALUES);
        let (long, short) = sides.split_at(SIDE_VALUES);
        assert_eq!(run[19..22], [3.0, 2.0, 1.0]);
        assert_eq!((run[23], run[38]), (4.0, 1.0));
        assert_eq!(long[..5], [2.0, 2.0, 0.0, 1.0, 12.0]);
        assert_eq!((long[6], long[11], long[12], long[13], long[14], long[15]), (0.09375, 8.0, 4.0, 2.0, 0.0, 3.0));
        assert_eq!(short[..5], [1.0, 0.0, 1.0, 0.0, -3.0]);
        assert_eq!(short[18], 1.0);
    }
}
