//! The account: money and position, funding, and exits. The twin is `python_core.engine.account`.
//!
//! Together with `entries`, `resting` and `intrabar` this is the contract of the simulation. Both engines do the same operations in the same
//! order, because that decides the last bit of every result.

use crate::market::Market;
use crate::signals::level::Level;
use crate::simulation::execution::{Execution, Levels};
use crate::simulation::fills::{ExitFill, RestingEntry, When};
use crate::simulation::position::{Position, side};
use crate::simulation::trade::{Reason, Trade};

const MINUTE_MS: i64 = 60_000;
/// Equity at or below this share of the initial capital is nothing.
const DUST: f64 = 1e-9;

/// Receives each trade when it is closed.
pub trait Ledger {
    fn record(&mut self, trade: &Trade);
}

/// Sums and counts over a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub exposed_bars: i64,
    pub traded_notional: f64,
    pub rejected_orders: i64,
    pub clipped_orders: i64,
    pub filtered_entries: i64,
    pub expired_orders: i64,
    pub ambiguous_bars: i64,
    pub ruined: bool,
}

/// Money and position at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    pub balance: f64,
    pub position: Option<Position>,
    /// Entries that wait for their price: long, short.
    pub resting: [Option<RestingEntry>; 2],
    pub totals: Totals,
    /// Strategy bars closed so far.
    pub strategy_bars: i64,
    /// Position of the next funding event.
    pub next_funding: usize,
    /// The first bar after those that are known to be exposed.
    exposed_until: usize,
    /// The UTC day of the last entry, and entries on it.
    pub entries_on_day: (i64, i64),
    /// Strategy bars closed when a position was last left with a loss.
    pub last_loss: Option<i64>,
}

/// What an exit closes: a position, or a share of one with that share of its entry fees, funding and deficit.
#[derive(Clone, Copy, Debug)]
pub struct ClosedPart {
    pub long: bool,
    pub entry_index: usize,
    pub exposed_from: usize,
    pub entry: f64,
    pub quantity: f64,
    pub entry_fees: f64,
    pub funding: f64,
    pub deficit: f64,
    /// MAE and MFE.
    pub excursions: (f64, f64),
    /// Whether nothing of the position is left.
    pub closes_position: bool,
}

/// An account that trades over a market.
#[derive(Clone, Debug)]
pub struct Trader<'a> {
    pub market: Market<'a>,
    pub execution: &'a Execution,
    pub levels: Levels,
    /// Whether every bar of a position must be simulated, because its levels move or it pays funding. If not, `simulation::fill_excursions`
    /// computes excursions afterwards.
    pub follows_every_bar: bool,
    /// As `Execution::is_simple`, and entries have no sizes of their own.
    pub is_simple: bool,
    /// Whether entries may have a stop-loss or a take-profit.
    pub has_stops: bool,
    pub account: Account,
    /// Money that counts as nothing.
    pub dust: f64,
    /// The notional that one unit of money can buy, fees included: as taker, as maker.
    pub power: [f64; 2],
}

impl<'a> Trader<'a> {
    pub fn new(market: Market<'a>, execution: &'a Execution, levels: Levels, has_sizes: bool) -> Self {
        let account = Account {
            balance: execution.initial_capital,
            position: None,
            resting: [None; 2],
            totals: Totals::default(),
            strategy_bars: 0,
            // Funding at or before the first open is not paid.
            next_funding: market.funding.map_or(0, |(times, _)| times.partition_point(|&time| whole_minute(time) <= market.bars.time[0])),
            exposed_until: 0,
            entries_on_day: (i64::MIN, 0),
            last_loss: None,
        };
        let follows_every_bar = !execution.allows_skipping(&levels) || market.funding.is_some() || market.mark.is_some();
        let power = [execution.commission, execution.maker_fee].map(|rate| execution.leverage / (1.0 + execution.leverage * rate));
        let is_simple = execution.is_simple() && !has_sizes;
        let has_stops = levels.stop_loss != [Level::None; 2] || levels.take_profit != [Level::None; 2];
        Self { market, execution, levels, follows_every_bar, is_simple, has_stops, account, dust: DUST * execution.initial_capital, power }
    }

    /// Equity with the position valued at `price`.
    #[inline(always)]
    pub fn equity_at(&self, price: f64) -> f64 {
        match &self.account.position {
            None => self.account.balance,
            Some(p) => self.account.balance + p.side * p.quantity * (price - p.entry),
        }
    }

    pub fn ruined(&self) -> bool {
        self.account.totals.ruined
    }

    /// Whether there is something that prices inside a bar may change: a position or a resting entry.
    pub fn waits_for_prices(&self) -> bool {
        !self.ruined() && (self.account.position.is_some() || self.account.resting.iter().any(Option::is_some))
    }

    /// Whether bar `i` opens in the trading hours of a trading day.
    pub fn is_inside(&self, i: usize) -> bool {
        self.execution.trading_times.contain(self.market.bars.time[i])
    }

    pub fn pay_funding(&mut self, i: usize) {
        let Some((times, rates)) = self.market.funding else { return };
        let account = &mut self.account;
        while account.next_funding < times.len() && whole_minute(times[account.next_funding]) <= self.market.bars.time[i] {
            if let Some(p) = &mut account.position {
                let cost = p.quantity * p.side * self.market.bars.open[i] * rates[account.next_funding];
                let free = account.balance - p.margin(self.execution.leverage);
                if cost > free {
                    p.deficit += cost - if free > 0.0 { free } else { 0.0 };
                }
                account.balance -= cost;
                p.funding += cost;
            }
            account.next_funding += 1;
        }
    }

    /// Whether the position has been open for `max_bars` strategy bars, at an open at which orders are due.
    pub fn max_bars_reached(&self) -> bool {
        match (self.execution.max_bars, &self.account.position) {
            (Some(max_bars), Some(p)) => self.account.strategy_bars - p.entry_strategy_bar >= max_bars,
            _ => false,
        }
    }

    /// Where a market order or a stop fills that buys (or sells) at `price`: slipped, and rounded against the trader.
    #[inline(always)]
    pub fn market_fill(&self, buys: bool, price: f64) -> f64 {
        self.execution.ticks.round(price * (1.0 + side(buys) * self.execution.slippage), buys)
    }

    /// The price at which a position has lost its margin.
    #[inline(always)]
    pub fn bankruptcy_price(&self, long: bool, entry: f64) -> f64 {
        entry * (1.0 - side(long) / self.execution.leverage)
    }

    /// As `bankruptcy_price`, moved by margin that funding has used up.
    pub fn bankruptcy_price_of(&self, p: &Position) -> f64 {
        let price = self.bankruptcy_price(p.long, p.entry);
        if p.deficit > 0.0 { price + p.side * (p.deficit / p.quantity) } else { price }
    }

    /// Close the whole position with a market order at `price`.
    pub fn close_position(&mut self, ledger: &mut impl Ledger, i: usize, price: f64, reason: Reason, when: When) {
        if let Some(p) = self.account.position {
            let price = no_worse(p.long, self.market_fill(!p.long, price), self.bankruptcy_price_of(&p));
            self.close_quantity(ledger, i, p.quantity, ExitFill { price, rate: self.execution.commission, reason, when });
        }
    }

    /// Close `quantity` of the position; returns whether that starts a cooldown.
    pub fn close_quantity(&mut self, ledger: &mut impl Ledger, i: usize, quantity: f64, fill: ExitFill) -> bool {
        let Some(p) = self.account.position else { return false };
        let closes_position = quantity >= p.quantity;
        let share = if closes_position { 1.0 } else { quantity / p.quantity };
        let (entry_fees, funding, deficit) = (p.fees * share, p.funding * share, p.deficit * share);
        let excursions = if self.follows_every_bar { p.excursions(fill.price) } else { (f64::NAN, f64::NAN) };
        let closed = ClosedPart {
            long: p.long,
            entry_index: p.entry_index,
            exposed_from: p.exposed_from,
            entry: p.entry,
            quantity,
            entry_fees,
            funding,
            deficit,
            excursions,
            closes_position,
        };
        let net = p.net + self.settle_exit::<false>(ledger, i, &closed, fill);
        if closes_position {
            self.account.position = None;
            if self.execution.cooldown > 0 && net < 0.0 {
                self.account.resting = [None; 2];
                // Orders that fill at a close are those of the next strategy bar.
                let by_order_at_close = fill.when == When::Close && fill.reason != Reason::Ruin;
                self.account.last_loss = Some(self.account.strategy_bars + i64::from(by_order_at_close));
                return true;
            }
        } else if let Some(p) = &mut self.account.position {
            p.quantity -= quantity;
            p.fees -= entry_fees;
            p.funding -= funding;
            p.deficit -= deficit;
            p.net = net;
        }
        false
    }

    /// Book an exit: its trade, its effect on the balance and on the totals; returns its net profit. Every exit passes through here. It takes
    /// plain values, not a `Position`, and is inlined, so that for `skip`, where most of them are constants, it costs no more than a special
    /// case would. `SIMPLE` is that of `settle_entry`.
    #[inline(always)]
    pub fn settle_exit<const SIMPLE: bool>(&mut self, ledger: &mut impl Ledger, i: usize, closed: &ClosedPart, fill: ExitFill) -> f64 {
        let &ClosedPart { long, entry_index, exposed_from, entry, quantity, entry_fees, funding, deficit, .. } = closed;
        let ExitFill { price, rate, reason, when } = fill;
        let gross = side(long) * quantity * (price - entry);
        let fee = if reason == Reason::Liquidation {
            0.0
        } else if SIMPLE && long {
            // Less than what is left, as the rate is far below 1.
            quantity * price * rate
        } else if SIMPLE {
            let (fee, left) = (quantity * price * rate, quantity * entry + gross);
            let left = if left > 0.0 { left } else { 0.0 };
            if fee < left { fee } else { left }
        } else {
            let fee = quantity * price * rate + self.execution.order_fee;
            let left = (quantity * entry / self.execution.leverage - deficit) + gross;
            let left = if left > 0.0 { left } else { 0.0 };
            if fee < left { fee } else { left }
        };
        let fees = entry_fees + fee;
        let net = gross - fees - funding;
        ledger.record(&Trade {
            entry_time: self.market.bars.time[entry_index],
            exit_time: self.market.bars.time[i],
            entry_index: entry_index as i64,
            exit_index: i as i64,
            side: if long { 1 } else { -1 },
            reason: reason as i64,
            quantity,
            entry_price: entry,
            exit_price: price,
            gross,
            fees,
            funding,
            net,
            mae: closed.excursions.0,
            mfe: closed.excursions.1,
        });
        let account = &mut self.account;
        account.balance = account.balance + gross - fee;
        account.totals.traded_notional += quantity * price;
        if closed.closes_position {
            // A position that is left at an open was not open in that bar, unless it was entered in it.
            let until = i + usize::from(when != When::Open || i == entry_index);
            let from = exposed_from.max(account.exposed_until);
            account.totals.exposed_bars += until.saturating_sub(from) as i64;
            account.exposed_until = account.exposed_until.max(until);
            if account.balance <= self.dust {
                account.balance = 0.0;
                account.totals.ruined = true;
            }
        }
        net
    }
}

/// The exit price `price` of a position or, if that is worse, `bankruptcy`.
#[inline(always)]
pub fn no_worse(long: bool, price: f64, bankruptcy: f64) -> f64 {
    if long == (price > bankruptcy) { price } else { bankruptcy }
}

/// Exchanges stamp funding some milliseconds late.
fn whole_minute(time_ms: i64) -> i64 {
    time_ms.saturating_sub(time_ms.rem_euclid(MINUTE_MS))
}
