//! The account: money and position, and what orders do to them.
//!
//! Together with `intrabar` this is the contract of the simulation. It follows `python_core.engine.simulate` operation by operation, because
//! the order of float operations determines the last bit of every result.

use crate::market::Market;
use crate::signals::orders::{ENTRY_LONG, ENTRY_SHORT, EXIT_LONG, EXIT_SHORT, Orders};
use crate::simd::bitmask::{self, Mask};
use crate::simulation::execution::{Execution, Level};
use crate::simulation::position::{Position, side};
use crate::simulation::sizing::{Fill, size_entry};
use crate::simulation::trade::{Reason, Trade};

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
    pub ambiguous_bars: i64,
    pub ruined: bool,
}

/// Money and position at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    pub balance: f64,
    pub position: Option<Position>,
    pub totals: Totals,
    /// Strategy bars closed so far.
    pub strategy_bars: i64,
    /// Position of the next funding event.
    pub next_funding: usize,
}

/// What an exit closes: a position, or a share of one with that share of its entry fees and funding.
#[derive(Clone, Copy, Debug)]
pub struct ClosedPart {
    pub long: bool,
    pub entry_index: usize,
    pub entry: f64,
    pub quantity: f64,
    pub entry_fees: f64,
    pub funding: f64,
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
    /// The notional that one unit of equity can buy, fees included.
    pub buying_power: f64,
    /// Whether every bar of a position must be simulated, because its levels move or it pays funding. If not, `simulation::fill_excursions`
    /// computes excursions afterwards.
    pub follows_every_bar: bool,
    pub account: Account,
}

impl<'a> Trader<'a> {
    pub fn new(market: Market<'a>, execution: &'a Execution) -> Self {
        let account = Account { balance: execution.initial_capital, position: None, totals: Totals::default(), strategy_bars: 0, next_funding: 0 };
        let follows_every_bar = !execution.levels_are_constant() || market.funding.is_some() || market.mark.is_some();
        Self { market, execution, buying_power: execution.leverage / (1.0 + execution.commission), follows_every_bar, account }
    }

    /// Equity with the position valued at `price`.
    #[inline(always)]
    pub fn equity_at(&self, price: f64) -> f64 {
        match &self.account.position {
            None => self.account.balance,
            Some(p) => self.account.balance + p.side * p.quantity * (price - p.entry),
        }
    }

    pub fn pay_funding(&mut self, i: usize) {
        let Some((times, rates)) = self.market.funding else { return };
        while self.account.next_funding < times.len() && times[self.account.next_funding] <= self.market.bars.time[i] {
            if let Some(p) = &mut self.account.position {
                let cost = p.quantity * p.side * self.market.bars.open[i] * rates[self.account.next_funding];
                self.account.balance -= cost;
                p.funding += cost;
            }
            self.account.next_funding += 1;
        }
    }

    pub fn max_bars_reached(&self, strategy_closes: &Mask, at: usize) -> bool {
        match (self.execution.max_bars, &self.account.position) {
            (Some(max_bars), Some(p)) => bitmask::get(strategy_closes, at) && self.account.strategy_bars - p.entry_strategy_bar >= max_bars,
            _ => false,
        }
    }

    /// Fill the orders at position `at` of a tile at `price`, in bar `i`: exits before entries.
    #[allow(clippy::too_many_arguments)]
    #[inline(always)]
    pub fn fill_orders(
        &mut self,
        ledger: &mut impl Ledger,
        i: usize,
        at: usize,
        orders: &Orders,
        price: f64,
        max_bars_reached: bool,
        strategy_bar: i64,
    ) {
        let signal = |which: usize| bitmask::get(&orders.masks[which], at);
        if let Some(p) = &self.account.position {
            let (exits, reverses) =
                if p.long { (signal(EXIT_LONG), signal(ENTRY_SHORT)) } else { (signal(EXIT_SHORT), signal(ENTRY_LONG)) };
            if exits {
                self.close_position(ledger, i, price, Reason::Signal);
            } else if reverses {
                self.close_position(ledger, i, price, Reason::Reversal);
            } else if max_bars_reached {
                self.close_position(ledger, i, price, Reason::Time);
            }
        }
        let long = signal(ENTRY_LONG);
        if (long || signal(ENTRY_SHORT)) && self.account.position.is_none_or(|p| p.entries < self.execution.pyramiding) {
            self.enter(i, at, orders, long, price, strategy_bar);
        }
    }

    #[inline(always)]
    pub fn enter(&mut self, i: usize, at: usize, orders: &Orders, long: bool, price: f64, strategy_bar: i64) {
        let execution = self.execution;
        let side = side(long);
        let equity = self.equity_at(price);
        let free_balance = match &self.account.position {
            None => self.account.balance,
            Some(p) => self.account.balance - p.quantity * p.entry / execution.leverage,
        };
        let Some(Fill { price: fill_price, quantity, fee }) = self.settle_entry(orders, at, side, price, equity, free_balance) else {
            return;
        };
        let mut p = match self.account.position {
            None => Position {
                long,
                side,
                entry_index: i,
                entry_strategy_bar: strategy_bar,
                entry: fill_price,
                quantity: 0.0,
                max_quantity: 0.0,
                entries: 0,
                fees: 0.0,
                funding: 0.0,
                highest: fill_price,
                lowest: fill_price,
                stop_loss: None,
                take_profit: None,
                trailing_distance: None,
                partial_exits_done: 0,
            },
            Some(mut p) => {
                p.entry = (p.entry * p.quantity + fill_price * quantity) / (p.quantity + quantity);
                p
            }
        };
        p.quantity += quantity;
        p.max_quantity = if p.quantity > p.max_quantity { p.quantity } else { p.max_quantity };
        p.entries += 1;
        p.fees += fee;
        p.stop_loss = self.level(0, orders, at, side, p.entry);
        p.take_profit = self.level(1, orders, at, side, p.entry);
        p.trailing_distance = match execution.trailing_stop {
            Level::None => None,
            Level::Fraction(fraction) => Some(fraction),
            Level::Multiple(multiple) => Some(multiple * orders.level(2, at)),
            Level::Series => Some(orders.level(2, at)),
        };
        self.account.position = Some(p);
    }

    /// Fill an entry order at `price` and pay its fee, or reject the order. `equity` is the value of the account, `free_balance` the part
    /// of the balance not used as margin. Every entry passes through here.
    #[inline(always)]
    pub fn settle_entry(&mut self, orders: &Orders, at: usize, side: f64, price: f64, equity: f64, free_balance: f64) -> Option<Fill> {
        let stop = |entry| self.level(0, orders, at, side, entry).unwrap_or(f64::NAN);
        let Some(fill) = size_entry(self.execution, self.buying_power, side, price, equity, free_balance, stop) else {
            self.account.totals.rejected_orders += 1;
            return None;
        };
        self.account.balance -= fill.fee;
        self.account.totals.traded_notional += fill.quantity * fill.price;
        Some(fill)
    }

    /// Price of the stop-loss (0) or the take-profit (1) of an entry at `entry`.
    #[inline(always)]
    pub fn level(&self, which: usize, orders: &Orders, at: usize, side: f64, entry: f64) -> Option<f64> {
        let (level, toward) = if which == 0 { (self.execution.stop_loss, -side) } else { (self.execution.take_profit, side) };
        match level {
            Level::None => None,
            Level::Fraction(fraction) => Some(entry * (1.0 + toward * fraction)),
            Level::Multiple(multiple) => Some(entry + toward * (multiple * orders.level(which, at))),
            Level::Series => Some(orders.level(which, at)),
        }
    }

    /// Fill price of a market order that closes a position: `price` with slippage.
    #[inline(always)]
    pub fn exit_price(&self, side: f64, price: f64) -> f64 {
        price * (1.0 - side * self.execution.slippage)
    }

    /// Close the whole position with a market order.
    #[inline(always)]
    pub fn close_position(&mut self, ledger: &mut impl Ledger, i: usize, price: f64, reason: Reason) {
        if let Some(p) = self.account.position {
            self.close_quantity(ledger, i, &p, p.quantity, self.exit_price(p.side, price), reason);
        }
    }

    /// End the run at the close of bar `i`, where equity is 0 or less.
    pub fn ruin(&mut self, ledger: &mut impl Ledger, i: usize) {
        self.close_position(ledger, i, self.market.bars.close[i], Reason::Ruin);
        self.account.totals.ruined = true;
    }

    /// Close `quantity` of the position `p` at `price`.
    #[inline(always)]
    pub fn close_quantity(&mut self, ledger: &mut impl Ledger, i: usize, p: &Position, quantity: f64, price: f64, reason: Reason) {
        let closes_position = quantity >= p.quantity;
        let share = if closes_position { 1.0 } else { quantity / p.quantity };
        let (entry_fees, funding) = (p.fees * share, p.funding * share);
        let excursions = if self.follows_every_bar { p.excursions(price) } else { (f64::NAN, f64::NAN) };
        let closed = ClosedPart {
            long: p.long,
            entry_index: p.entry_index,
            entry: p.entry,
            quantity,
            entry_fees,
            funding,
            excursions,
            closes_position,
        };
        self.settle_exit(ledger, i, &closed, price, reason);
        if closes_position {
            self.account.position = None;
        } else if let Some(p) = &mut self.account.position {
            p.quantity -= quantity;
            p.fees -= entry_fees;
            p.funding -= funding;
        }
    }

    /// Book an exit at `price`: its trade, its effect on the balance and on the totals. Every exit passes through here. It takes plain
    /// values, not a `Position`, and is inlined, so that for `skip`, where funding and excursions are constants, it costs no more than a
    /// special case would.
    #[inline(always)]
    pub fn settle_exit(&mut self, ledger: &mut impl Ledger, i: usize, closed: &ClosedPart, price: f64, reason: Reason) {
        let &ClosedPart { long, entry_index, entry, quantity, entry_fees, funding, excursions: (mae, mfe), closes_position } = closed;
        let fee = if reason == Reason::Liquidation { 0.0 } else { quantity * price * self.execution.commission };
        let gross = side(long) * quantity * (price - entry);
        let fees = entry_fees + fee;
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
            net: gross - fees - funding,
            mae,
            mfe,
        });
        let account = &mut self.account;
        account.balance = account.balance + gross - fee;
        account.totals.traded_notional += quantity * price;
        if closes_position {
            account.totals.exposed_bars += (i - entry_index) as i64;
        }
    }
}
