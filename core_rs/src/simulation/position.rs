//! An open position, its fees and funding, and the levels that close it: the twin of `python_core.engine.position`.

#[derive(Clone, Copy, Debug)]
pub struct Position {
    pub long: bool,
    /// 1 for a long position, -1 for a short one.
    pub side: f64,
    pub entry_index: usize,
    /// The first bar in which the position is open: that of the entry, or the next one after an entry at a close.
    pub exposed_from: usize,
    /// The strategy bar of the first entry's signal, as the number of strategy bars closed by then.
    pub entry_strategy_bar: i64,
    /// Average entry price.
    pub entry: f64,
    pub quantity: f64,
    /// The largest quantity so far, of which partial exits close shares.
    pub max_quantity: f64,
    pub entries: u32,
    pub fees: f64,
    pub funding: f64,
    /// Margin that funding has used up.
    pub deficit: f64,
    /// Sum of net of the exits so far.
    pub net: f64,
    /// Highest and lowest price since the entry.
    pub highest: f64,
    pub lowest: f64,
    /// Prices, NaN if there is none.
    pub stop_loss: f64,
    pub take_profit: f64,
    /// Distance of the trailing stop, NaN if there is none: a fraction of the price if the execution sets one, else an amount.
    pub trailing_distance: f64,
    pub partial_exits_done: usize,
}

/// 1 for a long position, -1 for a short one.
#[inline(always)]
pub fn side(long: bool) -> f64 {
    if long { 1.0 } else { -1.0 }
}

impl Position {
    /// Extend the price range by that of a bar at whose end the position is still open.
    pub fn observe_bar(&mut self, high: f64, low: f64) {
        self.highest = if high > self.highest { high } else { self.highest };
        self.lowest = if low < self.lowest { low } else { self.lowest };
    }

    /// MAE and MFE of an exit at `price`, as fractions of the entry price.
    #[inline(always)]
    pub fn excursions(&self, price: f64) -> (f64, f64) {
        let high = if price > self.highest { price } else { self.highest };
        let low = if price < self.lowest { price } else { self.lowest };
        let (favourable, adverse) = if self.long { (high, low) } else { (low, high) };
        (self.side * (adverse - self.entry) / self.entry, self.side * (favourable - self.entry) / self.entry)
    }

    pub fn best_price(&self) -> f64 {
        if self.long { self.highest } else { self.lowest }
    }

    /// Margin that is left: isolated, so it is all that the position can lose.
    #[inline(always)]
    pub fn margin(&self, leverage: f64) -> f64 {
        self.quantity * self.entry / leverage - self.deficit
    }
}
