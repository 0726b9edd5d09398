//! The contract: what one order, one bar and one level do to money and position. Written as in its Python twin, `simulate.Simulator`.

use crate::market::Market;
use crate::signals::orders::{ENTRY_LONG, ENTRY_SHORT, EXIT_LONG, EXIT_SHORT, Orders};
use crate::simd::bitmask::{self, Mask};
use crate::simulation::execution::{Level, Rules};
use crate::simulation::position::{Position, side};
use crate::simulation::sizing::{Fill, size_entry};
use crate::simulation::trade::{Reason, Trade};

/// Where closed trades go.
pub trait Ledger {
    fn record(&mut self, trade: &Trade);
}

/// Counts of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
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
    pub tally: Tally,
    /// Strategy bars closed so far.
    pub strategy_bars: i64,
    /// Funding events paid so far.
    pub paid: usize,
}

/// What an exit closes: a position, or a share of one with that share of its entry fees and funding.
#[derive(Clone, Copy, Debug)]
pub struct Closed {
    pub long: bool,
    pub opened: usize,
    pub entry: f64,
    pub quantity: f64,
    pub entry_fees: f64,
    pub funding: f64,
    /// MAE and MFE.
    pub excursions: (f64, f64),
    /// Whether nothing of the position is left.
    pub whole: bool,
}

/// An account that trades by the rules over a market.
#[derive(Clone, Debug)]
pub struct Trader<'a> {
    pub market: Market<'a>,
    pub rules: &'a Rules,
    /// Buying power of one unit of equity.
    pub power: f64,
    /// Whether positions have to be followed from bar to bar, since their levels move or are paid for. Where not, excursions are left to
    /// `simulate::excursions`.
    pub sees_every_bar: bool,
    pub account: Account,
}

impl<'a> Trader<'a> {
    pub fn new(market: Market<'a>, rules: &'a Rules) -> Self {
        let account = Account { balance: rules.capital, position: None, tally: Tally::default(), strategy_bars: 0, paid: 0 };
        let sees_every_bar = !rules.levels_are_constant() || market.funding.is_some() || market.mark.is_some();
        Self { market, rules, power: rules.leverage / (1.0 + rules.commission), sees_every_bar, account }
    }

    /// Equity with the position valued at `price`.
    #[inline(always)]
    pub fn marked(&self, price: f64) -> f64 {
        match &self.account.position {
            None => self.account.balance,
            Some(p) => self.account.balance + p.side * p.quantity * (price - p.entry),
        }
    }

    pub fn pay_funding(&mut self, i: usize) {
        let Some((times, rates)) = self.market.funding else { return };
        while self.account.paid < times.len() && times[self.account.paid] <= self.market.time[i] {
            if let Some(p) = &mut self.account.position {
                let cost = p.quantity * p.side * self.market.open[i] * rates[self.account.paid];
                self.account.balance -= cost;
                p.funding += cost;
            }
            self.account.paid += 1;
        }
    }

    pub fn time_is_up(&self, due: &Mask, at: usize) -> bool {
        match (self.rules.max_bars, &self.account.position) {
            (Some(max_bars), Some(p)) => bitmask::get(due, at) && self.account.strategy_bars - p.strategy_bar >= max_bars,
            _ => false,
        }
    }

    /// Orders that fill at `price` of bar `i`: exits before entries.
    #[allow(clippy::too_many_arguments)]
    #[inline(always)]
    pub fn fill(
        &mut self,
        ledger: &mut impl Ledger,
        i: usize,
        at: usize,
        orders: &Orders,
        price: f64,
        time_is_up: bool,
        strategy_bar: i64,
    ) {
        let signal = |which: usize| bitmask::get(&orders.masks[which], at);
        if let Some(p) = &self.account.position {
            let (leaves, reverses) =
                if p.long { (signal(EXIT_LONG), signal(ENTRY_SHORT)) } else { (signal(EXIT_SHORT), signal(ENTRY_LONG)) };
            if leaves {
                self.leave(ledger, i, price, Reason::Signal);
            } else if reverses {
                self.leave(ledger, i, price, Reason::Reversal);
            } else if time_is_up {
                self.leave(ledger, i, price, Reason::Time);
            }
        }
        let long = signal(ENTRY_LONG);
        if (long || signal(ENTRY_SHORT)) && self.account.position.is_none_or(|p| p.entries < self.rules.pyramiding) {
            self.enter(i, at, orders, long, price, strategy_bar);
        }
    }

    #[inline(always)]
    pub fn enter(&mut self, i: usize, at: usize, orders: &Orders, long: bool, price: f64, strategy_bar: i64) {
        let rules = self.rules;
        let side = side(long);
        let equity = self.marked(price);
        let free = match &self.account.position {
            None => self.account.balance,
            Some(p) => self.account.balance - p.quantity * p.entry / rules.leverage,
        };
        let Some(Fill { price: fill_price, quantity, fee }) = self.pay_entry(orders, at, side, price, equity, free) else { return };
        let mut p = match self.account.position {
            None => Position {
                long,
                side,
                opened: i,
                strategy_bar,
                entry: fill_price,
                quantity: 0.0,
                largest: 0.0,
                entries: 0,
                fees: 0.0,
                funding: 0.0,
                highest: fill_price,
                lowest: fill_price,
                stop: None,
                target: None,
                trail: None,
                rungs: 0,
            },
            Some(mut p) => {
                p.entry = (p.entry * p.quantity + fill_price * quantity) / (p.quantity + quantity);
                p
            }
        };
        p.quantity += quantity;
        p.largest = if p.quantity > p.largest { p.quantity } else { p.largest };
        p.entries += 1;
        p.fees += fee;
        p.stop = self.level(0, orders, at, side, p.entry);
        p.target = self.level(1, orders, at, side, p.entry);
        p.trail = match rules.trailing_stop {
            Level::None => None,
            Level::Fraction(fraction) => Some(fraction),
            Level::Multiple(multiple) => Some(multiple * orders.level(2, at)),
            Level::Series => Some(orders.level(2, at)),
        };
        self.account.position = Some(p);
    }

    /// Fill an entry order at `price`, in an account worth `equity` of which `free` is not used as margin, and take its fee; or reject it.
    #[inline(always)]
    pub fn pay_entry(&mut self, orders: &Orders, at: usize, side: f64, price: f64, equity: f64, free: f64) -> Option<Fill> {
        let stop = |entry| self.level(0, orders, at, side, entry).unwrap_or(f64::NAN);
        let Some(fill) = size_entry(self.rules, self.power, side, price, equity, free, stop) else {
            self.account.tally.rejected_orders += 1;
            return None;
        };
        self.account.balance -= fill.fee;
        self.account.tally.traded_notional += fill.quantity * fill.price;
        Some(fill)
    }

    /// Price of the stop (0) or the target (1) of an entry at `entry`.
    #[inline(always)]
    pub fn level(&self, which: usize, orders: &Orders, at: usize, side: f64, entry: f64) -> Option<f64> {
        let (level, toward) = if which == 0 { (self.rules.stop_loss, -side) } else { (self.rules.take_profit, side) };
        match level {
            Level::None => None,
            Level::Fraction(fraction) => Some(entry * (1.0 + toward * fraction)),
            Level::Multiple(multiple) => Some(entry + toward * (multiple * orders.level(which, at))),
            Level::Series => Some(orders.level(which, at)),
        }
    }

    /// Fill price of a market order that closes a position, slippage included.
    #[inline(always)]
    pub fn exit_price(&self, side: f64, price: f64) -> f64 {
        price * (1.0 - side * self.rules.slippage)
    }

    /// Close the whole position with a market order.
    #[inline(always)]
    pub fn leave(&mut self, ledger: &mut impl Ledger, i: usize, price: f64, reason: Reason) {
        if let Some(p) = self.account.position {
            self.exit(ledger, i, &p, p.quantity, self.exit_price(p.side, price), reason);
        }
    }

    /// Equity at the close of bar `i` is 0 or less: the run ends.
    pub fn ruin(&mut self, ledger: &mut impl Ledger, i: usize) {
        self.leave(ledger, i, self.market.close[i], Reason::Ruin);
        self.account.tally.ruined = true;
    }

    /// Close `quantity` of the position `p` at `price`.
    #[inline(always)]
    pub fn exit(&mut self, ledger: &mut impl Ledger, i: usize, p: &Position, quantity: f64, price: f64, reason: Reason) {
        let whole = quantity >= p.quantity;
        let share = if whole { 1.0 } else { quantity / p.quantity };
        let (entry_fees, funding) = (p.fees * share, p.funding * share);
        let excursions = if self.sees_every_bar { p.excursions(price) } else { (f64::NAN, f64::NAN) };
        let closed = Closed { long: p.long, opened: p.opened, entry: p.entry, quantity, entry_fees, funding, excursions, whole };
        self.settle(ledger, i, &closed, price, reason);
        if whole {
            self.account.position = None;
        } else if let Some(p) = &mut self.account.position {
            p.quantity -= quantity;
            p.fees -= entry_fees;
            p.funding -= funding;
        }
    }

    /// The sums of an exit at `price`: what it adds to the balance and the tally, and its trade. Every exit passes through here, those of
    /// `skip` too, which has no `Position`; inlined, so that what is constant there costs nothing.
    #[inline(always)]
    pub fn settle(&mut self, ledger: &mut impl Ledger, i: usize, closed: &Closed, price: f64, reason: Reason) {
        let &Closed { long, opened, entry, quantity, entry_fees, funding, excursions: (mae, mfe), whole } = closed;
        let fee = if reason == Reason::Liquidation { 0.0 } else { quantity * price * self.rules.commission };
        let gross = side(long) * quantity * (price - entry);
        let fees = entry_fees + fee;
        ledger.record(&Trade {
            entry_time: self.market.time[opened],
            exit_time: self.market.time[i],
            entry_index: opened as i64,
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
        account.tally.traded_notional += quantity * price;
        if whole {
            account.tally.exposed_bars += (i - opened) as i64;
        }
    }
}
