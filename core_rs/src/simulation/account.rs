//! The account: money and position, and what orders do to them.
//!
//! Together with `intrabar` and `resting` this is the contract of the simulation. It follows `python_core.engine.simulate` operation by
//! operation, because the order of float operations determines the last bit of every result.

use crate::market::{DAY_MS, Market};
use crate::signals::level::{Level, is_no_level};
use crate::signals::orders::{ENTRY_LONG, ENTRY_SHORT, EXIT_LONG, EXIT_SHORT, EntrySeries, Orders};
use crate::simd::bitmask::{self, Mask};
use crate::simulation::execution::{Execution, Levels, Sizing};
use crate::simulation::fills::{Entered, Entry, ExitFill, Moment, RestingEntry, When};
use crate::simulation::position::{Position, side};
use crate::simulation::sizing::{SizeInput, size_entry, size_simple_entry};
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
    entries_on_day: (i64, i64),
    /// Strategy bars closed when a position was last left with a loss.
    last_loss: Option<i64>,
}

impl Account {
    /// What is left is too little to trade with.
    pub fn leave_nothing(&mut self) {
        self.balance = 0.0;
        self.totals.ruined = true;
    }
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
    power: [f64; 2],
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

    /// Remove resting entries that expire at this open, at which the orders of a strategy bar are due.
    pub fn expire_resting_entries(&mut self) {
        for resting in &mut self.account.resting {
            if resting.is_some_and(|entry| self.account.strategy_bars - entry.strategy_bar >= self.execution.entry_expires) {
                *resting = None;
                self.account.totals.expired_orders += 1;
            }
        }
    }

    /// Fill the orders at position `at` of a tile: exits before entries. `time_exit` closes a position whatever the signals are.
    pub fn fill_orders(&mut self, ledger: &mut impl Ledger, orders: &Orders, at: usize, moment: Moment, time_exit: bool) {
        let signal = |masks: &[Mask], which: usize| masks.get(which).is_some_and(|mask| bitmask::get(mask, at));
        let mut entries = [signal(&orders.masks, ENTRY_LONG), signal(&orders.masks, ENTRY_SHORT)];
        let exits = [signal(&orders.masks, EXIT_LONG), signal(&orders.masks, EXIT_SHORT)];
        if let Some(p) = &self.account.position {
            let own = usize::from(!p.long);
            // An exit and an entry of the position's side rule each other out.
            entries[own] &= !signal(&orders.contradictions, own);
            let reverses = entries[1 - own] && !orders.rests(1 - own, at);
            let reason = match (exits[own], reverses) {
                (true, _) => Some(Reason::Signal),
                (_, true) => Some(Reason::Reversal),
                _ => time_exit.then_some(Reason::Time),
            };
            if let Some(reason) = reason {
                self.close_position(ledger, moment.bar, moment.price, reason, moment.when);
            }
        }
        for side in [0, 1] {
            if exits[side] {
                self.account.resting[side] = None;
            }
        }
        for side in [0, 1] {
            if self.ruined() {
                return;
            }
            if entries[side] {
                self.enter_or_rest(orders, at, side == 0, moment);
            }
        }
    }

    fn enter_or_rest(&mut self, orders: &Orders, at: usize, long: bool, moment: Moment) {
        if self.account.position.is_some_and(|p| p.long == long && p.entries >= self.execution.pyramiding) {
            return;
        }
        let series = orders.entry_series(usize::from(!long), at);
        let rests = orders.rests(usize::from(!long), at);
        if self.cools_down(moment.strategy_bar) || (!rests && !self.allows_entry(moment.bar)) {
            self.account.totals.filtered_entries += 1;
        } else if rests {
            let level = orders.resting_price(usize::from(!long), at);
            let resting = RestingEntry { level, placed_in: moment.bar, strategy_bar: moment.strategy_bar, series };
            self.account.resting[usize::from(!long)] = Some(resting);
        } else {
            let price = self.market_fill(long, moment.price);
            let entry = Entry { long, market_price: moment.price, price, maker: false, series };
            self.enter(moment.bar, moment.bar + usize::from(moment.when == When::Close), moment.strategy_bar, &entry);
        }
    }

    /// Whether entries of a strategy bar are void because a position was left with a loss shortly before.
    fn cools_down(&self, strategy_bar: i64) -> bool {
        self.account.last_loss.is_some_and(|loss| strategy_bar <= loss.saturating_add(self.execution.cooldown))
    }

    /// Whether an entry may fill in bar `i`: by its hour and day, and by the entries of that day.
    pub fn allows_entry(&self, i: usize) -> bool {
        let (day, count) = self.account.entries_on_day;
        let is_same_day = day == self.market.bars.time[i].div_euclid(DAY_MS);
        self.is_inside(i) && self.execution.max_entries_per_day.is_none_or(|most| !is_same_day || count < most)
    }

    /// Fill an entry in bar `i`, or reject it; returns whether it has filled. The position is exposed from bar `exposed_from` on.
    pub fn enter(&mut self, i: usize, exposed_from: usize, strategy_bar: i64, order: &Entry) -> bool {
        let held = self.account.position;
        let equity = self.equity_at(order.market_price);
        let free = held.map_or(self.account.balance, |p| self.account.balance - p.margin(self.execution.leverage));
        let Some(entered) = self.settle_entry::<false>(order, held.map(|p| (p.entry, p.quantity)), equity, free) else { return false };
        let mut p = held.unwrap_or(Position {
            long: order.long,
            side: side(order.long),
            entry_index: i,
            exposed_from,
            entry_strategy_bar: strategy_bar,
            entry: order.price,
            quantity: 0.0,
            max_quantity: 0.0,
            entries: 0,
            fees: 0.0,
            funding: 0.0,
            deficit: 0.0,
            net: 0.0,
            highest: order.price,
            lowest: order.price,
            stop_loss: f64::NAN,
            take_profit: f64::NAN,
            trailing_distance: f64::NAN,
            partial_exits_done: 0,
        });
        p.entry = entered.entry;
        p.quantity += entered.quantity;
        p.max_quantity = if p.quantity > p.max_quantity { p.quantity } else { p.max_quantity };
        p.entries += 1;
        p.fees += entered.fee;
        (p.stop_loss, p.take_profit) = (entered.stop_loss, entered.take_profit);
        p.trailing_distance = distance(self.levels.trailing_stop[usize::from(!order.long)], order.series.trailing_stop);
        self.account.position = Some(p);
        self.account.resting = [None; 2];
        if self.execution.max_entries_per_day.is_some() {
            let day = self.market.bars.time[i].div_euclid(DAY_MS);
            let (last, count) = self.account.entries_on_day;
            self.account.entries_on_day = (day, if last == day { count + 1 } else { 1 });
        }
        true
    }

    /// Pay for an entry and its fee, or reject it. `held` is the average price and quantity of a position that it adds to, `equity` the value
    /// of the account, `free` the part of the balance that is no margin. Every entry passes through here, with `SIMPLE` if
    /// `Execution::is_simple`, by which the compiler leaves out what then has no effect.
    #[inline(always)]
    pub fn settle_entry<const SIMPLE: bool>(&mut self, order: &Entry, held: Option<(f64, f64)>, equity: f64, free: f64) -> Option<Entered> {
        let &Entry { long, price, maker, series, .. } = order;
        let execution = self.execution;
        let rate = if maker { execution.maker_fee } else { execution.commission };
        let input = SizeInput {
            side: side(long),
            price,
            rate,
            power: self.power[usize::from(maker)],
            equity,
            free,
            size: if series.size.is_nan() { execution.size } else { series.size },
            stop: if execution.sizing == Sizing::Risk { self.stop_price(&series, long, price) } else { f64::NAN },
            dust: self.dust,
        };
        let sized = if SIMPLE { size_simple_entry(&input) } else { size_entry(execution, &input) };
        let Some((quantity, clipped)) = sized else {
            self.account.totals.rejected_orders += 1;
            return None;
        };
        let entry = held.map_or(price, |(entry, held)| (entry * held + price * quantity) / (held + quantity));
        let (mut stop_loss, mut take_profit) = (f64::NAN, f64::NAN);
        if self.has_stops {
            (stop_loss, take_profit) = (self.stop_price(&series, long, entry), self.target_price(&series, long, entry));
            let on_wrong_side = if long { stop_loss >= price || take_profit <= price } else { stop_loss <= price || take_profit >= price };
            if on_wrong_side {
                self.account.totals.rejected_orders += 1;
                return None;
            }
        }
        let totals = &mut self.account.totals;
        let fee = quantity * price * rate + if SIMPLE { 0.0 } else { execution.order_fee };
        totals.clipped_orders += i64::from(clipped);
        totals.traded_notional += quantity * price;
        self.account.balance -= fee;
        Some(Entered { quantity, fee, entry, stop_loss, take_profit })
    }

    /// Price of the stop-loss of an entry at `entry`, NaN if there is none.
    #[inline(always)]
    fn stop_price(&self, series: &EntrySeries, long: bool, entry: f64) -> f64 {
        let level = self.levels.stop_loss[usize::from(!long)];
        if level == Level::None {
            f64::NAN
        } else {
            self.execution.ticks.round(level_price(level, series.stop_loss, -side(long), entry), !long)
        }
    }

    /// Price of the take-profit of an entry at `entry`, NaN if there is none.
    #[inline(always)]
    fn target_price(&self, series: &EntrySeries, long: bool, entry: f64) -> f64 {
        let level = self.levels.take_profit[usize::from(!long)];
        if level == Level::None {
            f64::NAN
        } else {
            self.execution.ticks.round(level_price(level, series.take_profit, side(long), entry), long)
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

    /// End the run at the close of bar `i`, where nothing is left.
    pub fn ruin(&mut self, ledger: &mut impl Ledger, i: usize) {
        self.close_position(ledger, i, self.market.bars.close[i], Reason::Ruin, When::Close);
        self.account.leave_nothing();
    }

    /// Close `quantity` of the position; returns whether that starts a cool-down.
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
                self.account.last_loss = Some(self.account.strategy_bars + i64::from(fill.when == When::Close));
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
                account.leave_nothing();
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

/// The price of a level on the side `toward` (1 above, -1 below) of `entry`; `value` is its series at the signal bar. NaN if there is none.
#[inline(always)]
fn level_price(level: Level, value: f64, toward: f64, entry: f64) -> f64 {
    match level {
        Level::None => f64::NAN,
        Level::Fraction(fraction) => entry * (1.0 + toward * fraction),
        Level::Multiple(multiple) => entry + toward * (multiple * value),
        Level::Series => value,
        Level::Given => {
            if is_no_level(value) {
                f64::NAN
            } else {
                value
            }
        }
    }
}

/// The distance of a trailing stop: a fraction or an amount; NaN if there is none.
fn distance(level: Level, value: f64) -> f64 {
    match level {
        Level::None => f64::NAN,
        Level::Fraction(fraction) => fraction,
        Level::Multiple(multiple) => multiple * value,
        Level::Series => value,
        Level::Given => {
            if is_no_level(value) {
                f64::NAN
            } else {
                value
            }
        }
    }
}
