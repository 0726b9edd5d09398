//! The size of an entry, and whether account and market accept it: the twin of `python_core.engine.sizing`.

use crate::simulation::execution::{Execution, Sizing};

/// An accepted entry; the price includes slippage.
#[derive(Clone, Copy, Debug)]
pub struct Fill {
    pub price: f64,
    pub quantity: f64,
    pub fee: f64,
}

/// The fill of an entry order at `price`, none if it is rejected. `equity` is the value of the account, `free_balance` the part of the
/// balance not used as margin, `buying_power` the notional that one unit of it can buy; `stop` gives the stop price of an entry at a price.
#[inline(always)]
pub fn size_entry(
    execution: &Execution,
    buying_power: f64,
    side: f64,
    price: f64,
    equity: f64,
    free_balance: f64,
    stop: impl Fn(f64) -> f64,
) -> Option<Fill> {
    let fill_price = price * (1.0 + side * execution.slippage);
    let limit = free_balance * buying_power;
    let (notional, quantity) = match execution.sizing {
        Sizing::EquityFraction => {
            let notional = equity * execution.size * buying_power;
            (notional, notional / fill_price)
        }
        Sizing::FixedNotional => (execution.size, execution.size / fill_price),
        Sizing::FixedQuantity => (execution.size * fill_price, execution.size),
        Sizing::Risk => {
            let stop_fill = stop(fill_price) * (1.0 - side * execution.slippage);
            let loss = side * (fill_price - stop_fill) + execution.commission * fill_price + execution.commission * stop_fill;
            let quantity = if loss > 0.0 { equity * execution.size / loss } else { f64::INFINITY };
            (quantity * fill_price, quantity)
        }
    };
    let (notional, quantity) = if execution.step > 0.0 {
        let quantity = round_down_to_step(quantity, execution.step);
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
        && quantity * fill_price >= execution.min_notional;
    accepted.then_some(Fill { price: fill_price, quantity, fee: quantity * fill_price * execution.commission })
}

/// `quantity` rounded down to a multiple of `step`. Within a billionth of a multiple it is that multiple: 0.3 is three steps of 0.1.
pub fn round_down_to_step(quantity: f64, step: f64) -> f64 {
    let ratio = quantity / step;
    if ratio.is_nan() || ratio >= 2f64.powi(52) {
        return quantity;
    }
    let nearest = (ratio + 0.5).floor();
    let steps = if (ratio - nearest).abs() <= 1e-9 * nearest { nearest } else { ratio.floor() };
    steps * step
}
