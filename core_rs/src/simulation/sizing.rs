//! The size of an entry, and whether account and market accept it: the twin of `python_core.engine.sizing`.

use crate::numerics::ticks::whole_units;
use crate::simulation::execution::{Execution, Sizing};

/// An entry at its fill price, and what there is to pay for it.
#[derive(Clone, Copy, Debug)]
pub struct SizeInput {
    pub side: f64,
    pub price: f64,
    /// Fee of this fill, a fraction of its notional.
    pub rate: f64,
    /// The notional that one unit of money can buy, fee included.
    pub power: f64,
    /// Value of the account at the price before slippage.
    pub equity: f64,
    /// Part of the balance that is not margin.
    pub free: f64,
    /// What `Execution::sizing` interprets.
    pub size: f64,
    /// Price of the stop-loss, NaN if there is none.
    pub stop: f64,
    /// Money that counts as nothing.
    pub dust: f64,
}

/// The quantity of an entry, and whether it was clipped to what is free; none if the entry is rejected.
#[inline(always)]
pub fn size_entry(execution: &Execution, input: &SizeInput) -> Option<(f64, bool)> {
    let &SizeInput { side, price, rate, power, equity, free, size, stop, dust } = input;
    let limit = (free - execution.order_fee) * power;
    let (mut notional, mut quantity) = match execution.sizing {
        Sizing::EquityFraction => {
            let notional = (equity * size - execution.order_fee) * power;
            (notional, notional / price)
        }
        Sizing::FixedNotional => (size, size / price),
        Sizing::FixedQuantity => (size * price, size),
        Sizing::Risk => {
            if stop.is_nan() {
                return None;
            }
            let stop_fill = stop * (1.0 - side * execution.slippage);
            let loss = side * (price - stop_fill) + rate * price + execution.commission * stop_fill;
            let quantity = if loss > 0.0 { (equity * size - 2.0 * execution.order_fee) / loss } else { f64::INFINITY };
            (quantity * price, quantity)
        }
    };
    let clipped = notional > limit && matches!(execution.sizing, Sizing::EquityFraction | Sizing::Risk);
    if clipped {
        if limit <= dust {
            return None;
        }
        (notional, quantity) = (limit, limit / price);
    }
    if execution.step > 0.0 {
        quantity = round_down_to_step(quantity, execution.step);
        let rounded = quantity * price;
        notional = if rounded < notional { rounded } else { notional };
    }
    let accepted = price > 0.0
        && 0.0 < notional
        && notional <= limit
        && 0.0 < quantity
        && quantity < f64::INFINITY
        && quantity * price >= execution.min_notional;
    accepted.then_some((quantity, clipped))
}

/// `size_entry` where `Execution::is_simple`: a fraction of the equity, all of which is free, is never more than there is.
#[inline(always)]
pub fn size_simple_entry(input: &SizeInput) -> Option<(f64, bool)> {
    let notional = input.equity * input.size * input.power;
    let quantity = notional / input.price;
    (input.price > 0.0 && 0.0 < notional && 0.0 < quantity && quantity < f64::INFINITY).then_some((quantity, false))
}

/// `quantity` rounded down to a multiple of `step`.
pub fn round_down_to_step(quantity: f64, step: f64) -> f64 {
    whole_units(quantity, step, false).map_or(quantity, |steps| steps * step)
}
