"""A hand-written loop, compiled by numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from cases import CAPITAL, FAST, FEE, SLOW, Grid, Job

from contenders import Contender, Output, Table

TRADE = np.dtype(
    [
        ("entry", np.int64),
        ("exit", np.int64),
        ("side", np.int64),
        ("entry_price", np.float64),
        ("exit_price", np.float64),
        ("net", np.float64),
    ]
)


class NumbaLoop(Contender):
    name = "numba loop"
    package = "numba"

    def __init__(self) -> None:
        import numba

        self.version, self.numba = numba.__version__, numba
        loop = numba.njit(_loop)
        crossings = numba.njit(_crossings)

        def combinations(open_, high, low, close, averages, fast, slow, loss, profit, fee, capital, keep_risk, out):  # type: ignore[no-untyped-def]
            n = len(close)
            for k in numba.prange(len(fast)):
                up, down = crossings(averages[fast[k]], averages[slow[k]])
                equity, trades = np.empty(n), np.empty(n // 2 + 1, TRADE)
                count = loop(open_, high, low, close, up, down, up, down, False, loss, profit, fee, capital, equity, trades)
                out[k, 0], out[k, 1] = equity[n - 1], count
                if keep_risk:
                    peak, deepest, total, squares, before, days = capital, 0.0, 0.0, 0.0, capital, 0
                    for i in range(n):
                        peak = max(peak, equity[i])
                        deepest = max(deepest, (peak - equity[i]) / peak)
                        if i % 1440 == 1439 or i == n - 1:
                            change = equity[i] / before - 1
                            total, squares, before, days = total + change, squares + change * change, equity[i], days + 1
                    out[k, 2], out[k, 3] = deepest, np.sqrt((squares - total * total / days) / (days - 1))

        self.loop, self.crossings, self.averages = loop, crossings, numba.njit(_averages)
        self.combinations = numba.njit(parallel=True)(combinations)

    def single(self, job: Job) -> Callable[[], Output]:
        market, signals, loop = job.market, job.signals, self.loop
        prices = (market.open, market.high, market.low, market.close)
        stops = job.stops or (np.inf, np.inf)
        bars = len(market)
        none = np.zeros(0, np.bool_)
        short = (none, none) if signals.entry_short is None else (signals.entry_short, signals.exit_short)
        lengths = np.array([FAST, SLOW])

        def call() -> Output:
            if job.crossing:
                up, down = self.crossings(*self.averages(market.close, lengths))
                masks = (up, down, down, up)
            else:
                masks = (signals.entry_long, signals.exit_long, *short)
            equity, trades = np.empty(bars), np.empty(bars, TRADE)
            count = loop(*prices, *masks, job.shorts, *stops, FEE, CAPITAL, equity, trades)
            return Output(equity, trades[:count], count)

        return call

    def sweep(self, grid: Grid) -> Callable[[], Table]:
        lengths = np.array(sorted({*grid.fast, *grid.slow}))
        fast, slow = (np.searchsorted(lengths, np.array(side)) for side in zip(*grid.pairs, strict=True))
        market, risk = grid.market, grid.stops is not None
        prices = (market.open, market.high, market.low, market.close)

        def call() -> Table:
            self.numba.set_num_threads(grid.threads)
            out = np.empty((len(fast), 4))
            averages = self.averages(market.close, lengths)
            self.combinations(*prices, averages, fast, slow, *(grid.stops or (np.inf, np.inf)), FEE, CAPITAL, risk, out)
            return Table(*out.T[: 4 if risk else 2])

        return call


def _averages(close: Any, lengths: Any) -> Any:
    out = np.empty((len(lengths), len(close)))
    for k in range(len(lengths)):
        total, length = 0.0, lengths[k]
        for i in range(len(close)):
            total += close[i]
            if i >= length:
                total -= close[i - length]
            out[k, i] = total / length if i >= length - 1 else np.nan
    return out


def _crossings(fast: Any, slow: Any) -> Any:
    n = len(fast)
    up, down = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    for i in range(1, n):
        if slow[i - 1] == slow[i - 1]:
            up[i] = fast[i] > slow[i] and not fast[i - 1] > slow[i - 1]
            down[i] = fast[i] < slow[i] and not fast[i - 1] < slow[i - 1]
    return up, down


def _loop(  # type: ignore[no-untyped-def]
    open_, high, low, close, entry_long, exit_long, entry_short, exit_short, shorts, loss, profit, fee, balance, equity, trades
):
    side, quantity, entry, paid, opened, count = 0, 0.0, 0.0, 0.0, 0, 0
    buy = leave_long = sell = leave_short = False
    last = len(close) - 1
    for i in range(len(close)):
        price, begins = 0.0, 0
        if side > 0:
            if leave_long or sell:
                price = open_[i]
        elif side < 0:
            if leave_short or buy:
                price = open_[i]
        if buy != sell and (side == 0 or price > 0):
            begins = 1 if buy else -1
        while True:
            if price > 0:
                cost = quantity * price * fee
                gross = side * quantity * (price - entry)
                balance = balance + gross - cost
                trade = trades[count]
                trade["entry"], trade["exit"], trade["side"] = opened, i, side
                trade["entry_price"], trade["exit_price"], trade["net"] = entry, price, gross - paid - cost
                count += 1
                side, price = 0, 0.0
            if begins != 0:
                side, entry, opened, begins = begins, open_[i], i, 0
                quantity = balance / (1 + fee) / entry
                paid = quantity * entry * fee
                balance -= paid
            if side == 0:
                break
            if loss < np.inf:
                stop, target = entry * (1 - side * loss), entry * (1 + side * profit)
                worst, best = (low[i], high[i]) if side > 0 else (high[i], low[i])
                if side * (open_[i] - stop) <= 0 or side * (open_[i] - target) >= 0:
                    price = open_[i]
                elif side * (worst - stop) <= 0:
                    price = stop
                elif side * (best - target) >= 0:
                    price = target
            if price == 0 and i == last:
                price = close[i]
            if price == 0:
                break
        equity[i] = balance if side == 0 else balance + side * quantity * (close[i] - entry)
        buy, leave_long = entry_long[i], exit_long[i]
        if shorts:
            sell, leave_short = entry_short[i], exit_short[i]
    return count
