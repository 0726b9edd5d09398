"""The size of an entry, and whether account and market accept it. The twin is `core_rs/src/simulation/sizing.rs`."""

from __future__ import annotations

import math

from python_core.execution import Execution


def size_entry(
    execution: Execution, side: float, price: float, stop_loss: float | None, equity: float, free_balance: float
) -> float | None:
    """Quantity of an entry, or None if it is too large for the account or too small for the market.

    Args:
        side: 1.0 for long, -1.0 for short.
        price: fill price, after slippage.
        stop_loss: its price; needed for sizing by risk.
        equity: value of the account.
        free_balance: part of the balance not used as margin.
    """
    buying_power = execution.leverage / (1.0 + execution.commission)
    limit = free_balance * buying_power
    if execution.sizing == "equity_fraction":
        notional = equity * execution.size * buying_power
        quantity = notional / price if price > 0 else math.inf
    elif execution.sizing == "fixed_notional":
        notional = execution.size
        quantity = notional / price if price > 0 else math.inf
    elif execution.sizing == "fixed_quantity":
        quantity = execution.size
        notional = quantity * price
    else:
        assert stop_loss is not None
        # The loss at the stop counts slippage and the fees of both fills.
        stop_fill = stop_loss * (1.0 - side * execution.slippage)
        loss = side * (price - stop_fill) + execution.commission * price + execution.commission * stop_fill
        quantity = equity * execution.size / loss if loss > 0 else math.inf
        notional = quantity * price
    if execution.step > 0:
        quantity = round_down_to_step(quantity, execution.step)
        notional = min(notional, quantity * price)
    accepted = price > 0 and 0 < notional <= limit and 0 < quantity < math.inf and quantity * price >= execution.min_notional
    return quantity if accepted else None


def round_down_to_step(quantity: float, step: float) -> float:
    """`quantity` rounded down to a multiple of `step`.

    Within a billionth of a multiple it is that multiple: in float64, 0.3 is slightly less than 3 * 0.1 but is three steps of 0.1.
    """
    ratio = quantity / step
    if not ratio < 2.0**52:  # every float this large is an integer
        return quantity
    nearest = math.floor(ratio + 0.5)
    steps = nearest if abs(ratio - nearest) <= 1e-9 * nearest else math.floor(ratio)
    return float(steps) * step
