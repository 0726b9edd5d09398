"""The size of an entry, and whether account and market accept it. The twin is `core_rs/src/simulation/sizing.rs`."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from python_core.engine.prices import whole_units
from python_core.execution import Execution

# Money up to this share of the initial capital is nothing.
DUST: Final = 1e-9


class Size(NamedTuple):
    """A quantity, and whether it is less than asked because the account can't pay for more."""

    quantity: float
    clipped: bool


def size_entry(
    execution: Execution, *, size: float, side: float, price: float, rate: float, stop_loss: float | None, equity: float, free: float
) -> Size | None:
    """Quantity of an entry, or None if it is too large for the account or too small for the market.

    Args:
        size: the execution's, or that of the signal.
        side: 1.0 for long, -1.0 for short.
        price: fill price, after slippage.
        rate: fee of the fill, a fraction of its notional.
        stop_loss: its price, needed for sizing by risk; None: there is none.
        equity: value of the account, with the position valued at the price before slippage.
        free: part of the balance that is not margin.
    """
    if not price > 0:
        return None
    power = execution.leverage / (1.0 + execution.leverage * rate)
    limit = (free - execution.order_fee) * power
    if execution.sizing == "equity_fraction":
        notional = (equity * size - execution.order_fee) * power
        quantity = notional / price
    elif execution.sizing == "fixed_notional":
        notional = size
        quantity = notional / price
    elif execution.sizing == "fixed_quantity":
        quantity = size
        notional = quantity * price
    else:
        if stop_loss is None:
            return None
        # The loss at the stop counts slippage and the fees of both fills.
        stop_fill = stop_loss * (1.0 - side * execution.slippage)
        loss = side * (price - stop_fill) + rate * price + execution.commission * stop_fill
        quantity = (equity * size - 2.0 * execution.order_fee) / loss if loss > 0 else math.inf
        notional = quantity * price
    clipped = execution.sizing in ("equity_fraction", "risk") and notional > limit
    if clipped:
        if not limit > DUST * execution.initial_capital:
            return None
        notional, quantity = limit, limit / price
    if execution.step > 0:
        quantity = round_down_to_step(quantity, execution.step)
        notional = min(notional, quantity * price)
    accepted = 0 < notional <= limit and 0 < quantity < math.inf and quantity * price >= execution.min_notional
    return Size(quantity, clipped) if accepted else None


def round_down_to_step(quantity: float, step: float) -> float:
    """`quantity` rounded down to a multiple of `step`."""
    ratio = quantity / step
    if not ratio < 2.0**52:  # every float this large is an integer
        return quantity
    return float(whole_units(ratio, -1.0)) * step
