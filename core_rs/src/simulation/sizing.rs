//! The size of an entry, and whether the account can afford it.

use crate::simulation::execution::{Rules, Sizing};

/// An accepted entry; the price includes slippage.
#[derive(Clone, Copy, Debug)]
pub struct Fill {
    pub price: f64,
    pub quantity: f64,
    pub fee: f64,
}

/// The fill of an entry order at `price`, none if it is rejected. `equity` is the value of the account, `free` the part of it not used as
/// margin, `buying_power` what one unit of it can buy; `stop` gives the stop price of an entry at a price.
#[inline(always)]
pub fn size_entry(
    rules: &Rules,
    buying_power: f64,
    side: f64,
    price: f64,
    equity: f64,
    free: f64,
    stop: impl Fn(f64) -> f64,
) -> Option<Fill> {
    let fill_price = price * (1.0 + side * rules.slippage);
    let limit = free * buying_power;
    let (notional, quantity) = match rules.sizing {
        Sizing::EquityFraction => {
            let notional = equity * rules.size * buying_power;
            (notional, notional / fill_price)
        }
        Sizing::FixedNotional => (rules.size, rules.size / fill_price),
        Sizing::FixedQuantity => (rules.size * fill_price, rules.size),
        Sizing::Risk => {
            let stop_fill = stop(fill_price) * (1.0 - side * rules.slippage);
            let loss = side * (fill_price - stop_fill) + rules.commission * fill_price + rules.commission * stop_fill;
            let quantity = if loss > 0.0 { equity * rules.size / loss } else { f64::INFINITY };
            (quantity * fill_price, quantity)
        }
    };
    let (notional, quantity) = if rules.step > 0.0 {
        let quantity = whole_steps(quantity, rules.step);
        let rounded = quantity * fill_price;
        (if rounded < notional { rounded } else { notional }, quantity)
    } else {
        (notional, quantity)
    };
    let accepted = fill_price > 0.0
        && 0.0 < notional
        && notional <= limit
        && 0.0 < quantity
        && quantity < f64::INFINITY
        && quantity * fill_price >= rules.min_notional;
    accepted.then_some(Fill { price: fill_price, quantity, fee: quantity * fill_price * rules.commission })
}

/// `quantity` rounded down to whole steps. A step count within a billionth of a whole number is that number, so that 0.3 is three steps of
/// 0.1.
pub fn whole_steps(quantity: f64, step: f64) -> f64 {
    let ratio = quantity / step;
    if ratio.is_nan() || ratio >= 2f64.powi(52) {
        return quantity;
    }
    let nearest = (ratio + 0.5).floor();
    let steps = if (ratio - nearest).abs() <= 1e-9 * nearest { nearest } else { ratio.floor() };
    steps * step
}
