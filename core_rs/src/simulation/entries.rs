//! Orders that are due, exits before entries, and what an entry does to the account. The twin is `python_core.engine.fills`.

use crate::market::DAY_MS;
use crate::signals::orders::{ENTRY_LONG, ENTRY_SHORT, EXIT_LONG, EXIT_SHORT, EntrySeries, Orders};
use crate::simd::bitmask::{self, Mask};
use crate::simulation::account::{Ledger, Trader};
use crate::simulation::execution::Sizing;
use crate::simulation::fills::{Entered, Entry, Moment, RestingEntry, When};
use crate::simulation::position::{Position, side};
use crate::simulation::sizing::{SizeInput, size_entry, size_simple_entry};
use crate::simulation::trade::Reason;

impl Trader<'_> {
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
        let side = usize::from(!long);
        let (series, rests) = (orders.entry_series(side, at), orders.rests(side, at));
        if self.cools_down(moment.strategy_bar) || (!rests && !self.allows_entry(moment.bar)) {
            self.account.totals.filtered_entries += 1;
        } else if rests {
            let level = orders.resting_price(side, at);
            let resting = RestingEntry { level, placed_in: moment.bar, strategy_bar: moment.strategy_bar, series };
            self.account.resting[side] = Some(resting);
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
        p.trailing_distance = self.levels.trailing_stop[usize::from(!order.long)].amount(order.series.trailing_stop);
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
    /// of the account, `free` the part of the balance that is not margin. Every entry passes through here. `SIMPLE` means
    /// `Trader::is_simple`; the compiler then leaves out what has no effect.
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
        self.levels.stop_loss[usize::from(!long)].price(series.stop_loss, entry, !long, self.execution.ticks)
    }

    /// Price of the take-profit of an entry at `entry`, NaN if there is none.
    #[inline(always)]
    fn target_price(&self, series: &EntrySeries, long: bool, entry: f64) -> f64 {
        self.levels.take_profit[usize::from(!long)].price(series.take_profit, entry, long, self.execution.ticks)
    }
}
