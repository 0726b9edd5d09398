//! Metrics of trades, from sums that are kept up while the run goes on.

use crate::metrics::ratio::ratio;
use crate::simulation::trade::{Reason, Trade};

/// Metrics of the trades of one side, or of both.
pub const SIDE_VALUES: usize = 21;

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
pub fn trade_values(trades: Option<&[Trade]>, tally: &TradeTally) -> [[f64; SIDE_VALUES]; 3] {
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
