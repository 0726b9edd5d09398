"""vectorbt by its engine-neutral functions, below `Portfolio`: three to five times faster than `Portfolio.from_signals` with `value()`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from cases import CAPITAL, FAST, FEE, SLOW, Grid, Job, Market, Mask, Signals, Stops
from reference import Rules

from contenders import Contender, Output, Table, Unsupported

# Combinations of a sweep at a time: the fastest size without and with equity curves.
_COLUMNS, _COLUMNS_OF_CURVES = 50, 4


class Numba(Contender):
    name = "vectorbt numba"
    package = "vectorbt"
    rules = Rules(orders_first=False, entry_bar=False)
    engine: ClassVar[str] = "numba"

    def __init__(self) -> None:
        import vectorbt
        from vectorbt._engine import is_rust_available
        from vectorbt.generic import dispatch as generic
        from vectorbt.portfolio import dispatch, enums
        from vectorbt.returns import dispatch as returns

        if self.engine == "rust" and not is_rust_available():
            raise ImportError("vectorbt-rust is not installed")
        self.version = vectorbt.__version__
        self.vectorbt, self.portfolio, self.generic, self.returns, self.enums = vectorbt, dispatch, generic, returns, enums

    def single(self, job: Job) -> Callable[[], Output]:
        if job.crossing and not job.shorts:
            raise Unsupported("measured with long and short positions only")
        prices, masks, bars = self._prices(job.market, job.stops), _next_bar(job.signals), len(job.market)

        def call() -> Output:
            signals = masks
            if job.crossing:
                averages = [self.generic.rolling_mean(prices["close"], length, engine=self.engine) for length in (FAST, SLOW)]
                signals = _crossings(*averages)
            orders, links = self._orders(prices, signals, bars, 1)
            trades = self.portfolio.get_exit_trades(orders, prices["close"], links, engine=self.engine)
            return Output(self._value(orders, links, prices["close"], 1)[:, 0], trades, len(trades))

        return call

    def sweep(self, grid: Grid) -> Callable[[], Table]:
        if grid.threads > 1:
            raise Unsupported("runs on one thread and holds the GIL")
        prices, bars, count = self._prices(grid.market, grid.stops), len(grid.market), len(grid.pairs)
        risk = grid.stops is not None
        columns = _COLUMNS_OF_CURVES if risk else _COLUMNS
        blocks = []
        for first in range(0, count, columns):
            masks = [_next_bar(grid.signals(pair)) for pair in grid.pairs[first : first + columns]]
            blocks.append({name: np.concatenate([mask[name] for mask in masks], axis=1) for name in ("entries", "exits")})

        def call() -> Table:
            return Table(*np.concatenate([self._summary(prices, masks, bars, risk) for masks in blocks], axis=1))

        return call

    def report(self, job: Job) -> Callable[[], Any]:
        market, (entries, exits) = job.market, (mask[:, 0] for mask in _next_bar(job.signals).values())
        portfolio = self.vectorbt.Portfolio

        def call() -> Any:
            options = {"price": market.open, "fees": FEE, "init_cash": CAPITAL, "freq": "1min", "engine": self.engine}
            made = portfolio.from_signals(market.close, entries, exits, **options)
            return made.stats(), made.trades.values, made.value()

        return call

    def _summary(self, prices: dict[str, Any], masks: dict[str, Any], bars: int, risk: bool) -> Any:
        columns = masks["entries"].shape[1]
        orders, links = self._orders(prices, masks, bars, columns)
        close = prices["close"]
        if not risk:
            wide = np.broadcast_to(close, (bars, columns))
            profit = self.portfolio.total_profit((bars, columns), np.ascontiguousarray(wide), orders, links, engine=self.engine)
            return np.stack((CAPITAL + profit, links[1] // 2))
        value = self._value(orders, links, np.ascontiguousarray(np.broadcast_to(close, (bars, columns))), columns)
        changes = self.returns.returns(value, np.full(columns, CAPITAL), engine=self.engine)
        drawdown = self.returns.max_drawdown(changes, engine=self.engine)
        return np.stack((value[-1], links[1] // 2, -drawdown, self.generic.nanstd(changes, 1, engine=self.engine)))

    def _prices(self, market: Market, stops: Stops) -> dict[str, Any]:
        prices: dict[str, Any] = {"price": market.open[:, None], "close": market.close[:, None], "use_stops": stops is not None}
        if stops is not None:
            prices |= {name: getattr(market, name)[:, None] for name in ("open", "high", "low")}
            prices |= {"sl_stop": np.asarray(stops[0]), "tp_stop": np.asarray(stops[1])}
            prices["stop_entry_price"] = np.asarray(self.enums.StopEntryPrice.FillPrice)
        return prices

    def _orders(self, prices: dict[str, Any], masks: dict[str, Any], bars: int, columns: int) -> tuple[Any, Any]:
        long_only = {"direction": np.asarray(self.enums.Direction.LongOnly)}
        both = {"upon_opposite_entry": np.asarray(self.enums.OppositeEntryMode.Reverse)}
        orders, _ = self.portfolio.simulate_from_signals(
            (bars, columns),
            np.ones(columns, np.int64),
            np.full(columns, CAPITAL),
            np.zeros((bars, columns), np.int64),
            fees=np.asarray(FEE),
            max_orders=2 * sum(int(np.count_nonzero(mask)) for mask in masks.values()) + 2,
            max_logs=1,
            engine=self.engine,
            **prices,
            **masks,
            **(long_only if "entries" in masks else both),
        )
        lengths = np.bincount(orders["col"], minlength=columns)
        return orders, (np.arange(len(orders)), lengths)

    def _value(self, orders: Any, links: Any, close: Any, columns: int) -> Any:
        portfolio, engine, shape = self.portfolio, self.engine, close.shape
        assets = portfolio.assets(portfolio.asset_flow(shape, orders, links, self.enums.Direction.Both, engine=engine), engine=engine)
        cash = portfolio.cash(portfolio.cash_flow(shape, orders, links, False, engine=engine), np.full(columns, CAPITAL), engine=engine)
        return portfolio.value(cash, portfolio.asset_value(close, assets, engine=engine), engine=engine)


class Rust(Numba):
    name = "vectorbt rust"
    engine = "rust"


def _next_bar(signals: Signals) -> dict[str, Any]:
    """The signals as columns, one bar later: vectorbt fills an order on the bar of its signal, at the given price."""
    names = ("entries", "exits") if signals.entry_short is None else ("long_entries", "long_exits", "short_entries", "short_exits")
    masks = (signals.entry_long, signals.exit_long, signals.entry_short, signals.exit_short)
    return {name: _later(mask)[:, None] for name, mask in zip(names, masks, strict=False) if mask is not None}


def _later(mask: Mask) -> Mask:
    return np.concatenate(([False], mask[:-1]))


def _crossings(fast: Any, slow: Any) -> dict[str, Any]:
    """Crossings of two columns, one bar later; NumPy's comparisons are faster than vectorbt's `crossed_above`."""
    above, below = fast > slow, fast < slow
    up, down = np.zeros(fast.shape, np.bool_), np.zeros(fast.shape, np.bool_)
    np.logical_and(above[1:-1], below[:-2], out=up[2:])
    np.logical_and(below[1:-1], above[:-2], out=down[2:])
    masks = {"long_entries": up, "long_exits": down, "short_entries": down.copy(), "short_exits": up.copy()}
    for name, mask in masks.items():
        mask[-1] = name.endswith("exits")
    return masks
