//! How much an entry buys or sells, and whether the account can bear it.

use crate::simulation::execution::{Rules, Sizing};

/// An entry that is accepted: at which price, slippage included, and for which fee.
#[derive(Clone, Copy, Debug)]
pub struct Fill {
    pub price: f64,
    pub quantity: f64,
    pub fee: f64,
}

/// The fill of an entry order at `price`, in an account worth `equity` of which `free` is not used as margin; none where it is rejected.
/// `power` is the buying power of one unit of equity, `stop` the stop price of an entry at a price.
#[inline(always)]
pub fn size_entry(rules: &Rules, power: f64, side: f64, price: f64, equity: f64, free: f64, stop: impl Fn(f64) -> f64) -> Option<Fill> {
    let fill_price = price * (1.0 + side * rules.slippage);
    let limit = free * power;
    let (notional, quantity) = match rules.sizing {
        Sizing::EquityFraction => {
            let notional = equity * rules.size * power;
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

/// `quantity` rounded down to whole steps; within a billionth of a step count it is that count, so that 0.3 is three steps of 0.1.
pub fn whole_steps(quantity: f64, step: f64) -> f64 {
    let ratio = quantity / step;
    if ratio.is_nan() || ratio >= 2f64.powi(52) {
        return quantity;
    }
    let nearest = (ratio + 0.5).floor();
    let steps = if (ratio - nearest).abs() <= 1e-9 * nearest { nearest } else { ratio.floor() };
    steps * step
}
