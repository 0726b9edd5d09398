"""Size of an entry, and whether account and market accept it."""

from __future__ import annotations

import math

from python_core.execution import Execution


def order_quantity(rules: Execution, side: float, price: float, stop: float | None, equity: float, free: float) -> float | None:
    """Quantity of an entry, or None if it is too large for the account or too small for the market.

    Args:
        side: 1.0 for long, -1.0 for short.
        price: fill price, after slippage.
        stop: price of the stop-loss; needed for sizing by risk.
        equity: account value, of which `free` is not bound as margin.
    """
    power = rules.leverage / (1.0 + rules.commission)
    limit = free * power
    if rules.sizing == "equity_fraction":
        notional = equity * rules.size * power
        quantity = notional / price if price > 0 else math.inf
    elif rules.sizing == "fixed_notional":
        notional = rules.size
        quantity = notional / price if price > 0 else math.inf
    elif rules.sizing == "fixed_quantity":
        quantity = rules.size
        notional = quantity * price
    else:
        assert stop is not None
        # The loss at the stop counts slippage and the fees of both fills.
        stop_fill = stop * (1.0 - side * rules.slippage)
        loss = side * (price - stop_fill) + rules.commission * price + rules.commission * stop_fill
        quantity = equity * rules.size / loss if loss > 0 else math.inf
        notional = quantity * price
    if rules.step > 0:
        quantity = whole_steps(quantity, rules.step)
        notional = min(notional, quantity * price)
    accepted = price > 0 and 0 < notional <= limit and 0 < quantity < math.inf and quantity * price >= rules.min_notional
    return quantity if accepted else None


def whole_steps(quantity: float, step: float) -> float:
    """`quantity` rounded down to a multiple of `step`.

    Within a billionth of a multiple it is that multiple: in float64, 0.3 is slightly less than 3 * 0.1 but is three steps of 0.1.
    """
    ratio = quantity / step
    if not ratio < 2.0**52:  # every float this large is an integer
        return quantity
    nearest = math.floor(ratio + 0.5)
    steps = nearest if abs(ratio - nearest) <= 1e-9 * nearest else math.floor(ratio)
    return float(steps) * step
