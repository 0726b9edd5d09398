"""Expected results: a plain bar-by-bar loop with each contender's variant of the rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from cases import CAPITAL, FEE, Job

try:
    from numba import njit
except ImportError:  # the same loop, slower

    def njit(**_options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        return lambda function: function


class Rules(NamedTuple):
    """How a bar with an open position and stops is simulated; the defaults are Barstorm's contract."""

    orders_first: bool = True  # orders at the open precede stops inside the bar; otherwise they follow them
    entry_bar: bool = True  # stops apply on the entry bar
    target_gap: bool = True  # a bar that opens beyond the target fills at its open; otherwise at the target

    def __str__(self) -> str:
        notes = []
        if not self.orders_first:
            notes.append("a stop hit inside a bar precedes the order at its open; no stops on the entry bar")
        elif not self.entry_bar:
            notes.append("no stops on the entry bar")
        if not self.target_gap:
            notes.append("a target passed by a gap at the open fills at the target")
        return "; ".join(notes) or "the same"


def expected(job: Job, rules: Rules) -> tuple[float, int]:
    """Final equity and number of trades of a job."""
    market, signals = job.market, job.signals
    never = np.zeros(len(market), np.bool_)
    short = (never, never) if signals.entry_short is None else (signals.entry_short, signals.exit_short)
    stops = (np.inf, np.inf) if job.stops is None else job.stops
    prices = (market.open, market.high, market.low)
    equity, trades = _run(*prices, signals.entry_long, signals.exit_long, *short, *stops, FEE, CAPITAL, *rules)
    return float(equity), int(trades)


@njit(cache=False)
def _run(open_, high, low, entry_long, exit_long, entry_short, exit_short, loss, profit, fee, balance, orders_first, entry_bar, target_gap):  # type: ignore[no-untyped-def]
    side, quantity, entry, opened, trades = 0, 0.0, 0.0, -1, 0
    for i in range(1, len(open_)):
        stopped = False
        for orders in (orders_first, not orders_first):
            if orders and not stopped:
                if (side > 0 and (exit_long[i - 1] or entry_short[i - 1])) or (side < 0 and (exit_short[i - 1] or entry_long[i - 1])):
                    balance += side * quantity * (open_[i] - entry) - quantity * open_[i] * fee
                    side, trades = 0, trades + 1
                if side == 0 and entry_long[i - 1] != entry_short[i - 1]:
                    side, entry, opened = 1 if entry_long[i - 1] else -1, open_[i], i
                    quantity = balance / (1 + fee) / entry
                    balance -= quantity * entry * fee
            elif not orders and side != 0 and (entry_bar or opened < i):
                stop, target = entry * (1 - side * loss), entry * (1 + side * profit)
                worst, best = (low[i], high[i]) if side > 0 else (high[i], low[i])
                price = 0.0
                if side * (open_[i] - stop) <= 0 or (target_gap and side * (open_[i] - target) >= 0):
                    price = open_[i]
                elif side * (worst - stop) <= 0:
                    price = stop
                elif side * (best - target) >= 0:
                    price = target
                if price > 0:
                    balance += side * quantity * (price - entry) - quantity * price * fee
                    side, trades, stopped = 0, trades + 1, True
    return balance, trades
