//! Metrics of trades, from sums that are updated during the run.

use crate::metrics::ratio::ratio;
use crate::simulation::trade::{Reason, Trade};

/// The number of metrics of one side's trades.
pub const SIDE_VALUES: usize = 21;

/// Sums over the trades so far: all, long and short.
#[derive(Clone, Copy, Debug, Default)]
pub struct TradeSums {
    /// Updated only once both sides have traded; until then one side's sums are those of all.
    both: SideSums,
    long: SideSums,
    short: SideSums,
}

#[derive(Clone, Copy, Debug)]
struct SideSums {
    trades: i64,
    wins: i64,
    losses: i64,
    liquidations: i64,
    bars_held: i64,
    winning_streak: i64,
    losing_streak: i64,
    longest_winning_streak: i64,
    longest_losing_streak: i64,
    best: f64,
    worst: f64,
    net: f64,
    gross_profit: f64,
    gross_loss: f64,
    returns: f64,
    fees: f64,
    funding: f64,
}

impl Default for SideSums {
    fn default() -> Self {
        Self {
            trades: 0,
            wins: 0,
            losses: 0,
            liquidations: 0,
            bars_held: 0,
            winning_streak: 0,
            losing_streak: 0,
            longest_winning_streak: 0,
            longest_losing_streak: 0,
            best: f64::NEG_INFINITY,
            worst: f64::INFINITY,
            net: 0.0,
            gross_profit: 0.0,
            gross_loss: 0.0,
            returns: 0.0,
            fees: 0.0,
            funding: 0.0,
        }
    }
}

impl TradeSums {
    /// Add a trade, in the order of exits.
    #[inline(always)]
    pub fn push(&mut self, trade: &Trade) {
        let trade_return = ratio(trade.net, trade.quantity * trade.entry_price);
        let (side, other) = if trade.side > 0 { (&mut self.long, &self.short) } else { (&mut self.short, &self.long) };
        if other.trades > 0 {
            if side.trades == 0 {
                self.both = *other;
            }
            self.both.push(trade, trade_return);
        }
        side.push(trade, trade_return);
    }

    /// Count a trade and nothing else; then only the numbers of trades are right.
    #[inline(always)]
    pub fn count(&mut self, long: bool) {
        let (side, other) = if long { (&mut self.long, &self.short) } else { (&mut self.short, &self.long) };
        if other.trades > 0 {
            if side.trades == 0 {
                self.both = *other;
            }
            self.both.trades += 1;
        }
        side.trades += 1;
    }

    fn all(&self) -> &SideSums {
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

impl SideSums {
    #[inline]
    fn push(&mut self, trade: &Trade, trade_return: f64) {
        let net = trade.net;
        let (win, loss) = (net > 0.0, net < 0.0);
        self.trades += 1;
        self.wins += i64::from(win);
        self.losses += i64::from(loss);
        self.liquidations += i64::from(trade.reason == Reason::Liquidation as i64);
        self.bars_held += trade.exit_index - trade.entry_index;
        self.winning_streak = if win { self.winning_streak + 1 } else { 0 };
        self.losing_streak = if loss { self.losing_streak + 1 } else { 0 };
        self.longest_winning_streak = self.longest_winning_streak.max(self.winning_streak);
        self.longest_losing_streak = self.longest_losing_streak.max(self.losing_streak);
        self.best = if net > self.best { net } else { self.best };
        self.worst = if net < self.worst { net } else { self.worst };
        self.net += net;
        self.gross_profit += if win { net } else { 0.0 };
        self.gross_loss += if loss { net } else { 0.0 };
        self.returns += trade_return;
        self.fees += trade.fees;
        self.funding += trade.funding;
    }

    fn average(&self) -> f64 {
        ratio(self.net, self.trades as f64)
    }

    /// In the order of Python's `TradeMetrics`. `squares` is the sum of squared distances of net profits from their average.
    fn values(&self, squares: f64) -> [f64; SIDE_VALUES] {
        let n = self.trades as f64;
        let win_rate = ratio(self.wins as f64, n);
        let average_win = ratio(self.gross_profit, self.wins as f64);
        let average_loss = ratio(self.gross_loss, self.losses as f64);
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
            ratio(self.gross_profit, -self.gross_loss),
            ratio(self.returns, n),
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

/// Metrics of all, of long and of short trades.
pub fn trade_values(trades: Option<&[Trade]>, sums: &TradeSums) -> [[f64; SIDE_VALUES]; 3] {
    let Some(trades) = trades else {
        return [sums.all(), &sums.long, &sums.short].map(|sums| sums.values(f64::NAN));
    };
    let (average, average_long, average_short) = (sums.all().average(), sums.long.average(), sums.short.average());
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
    [sums.all().values(all), sums.long.values(long), sums.short.values(short)]
}
