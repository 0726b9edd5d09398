"""Backtests worked out by hand: a row of a table is the input, and both engines must agree with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import python_core as bt
from python_core.engine.result import Counts
from python_core.strategy.compile import series_levels

Bar = float | tuple[float, float, float, float]

HOUR = 3_600_000
MONDAY = 1_704_067_200_000  # 2024-01-01 00:00 UTC
SIGNALS = {"L": "entry_long", "l": "exit_long", "S": "entry_short", "s": "exit_short"}
# Longer than the groups of bars that the compiled engine skips at once.
QUIET_BARS = 150


@pytest.fixture(params=["python", "rust"])
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine in turn."""
    if request.param == "rust" and bt.engine != "rust":
        pytest.skip(bt.engine_reason)
    return str(request.param)


@pytest.fixture(scope="session")
def make_bars() -> Callable[..., bt.Bars]:
    """`make_bars([100, (101, 103, 99, 102)])`: hourly bars; a number is a bar at one price, four numbers are open, high, low, close."""

    def make(
        rows: Sequence[Bar], *, times: Sequence[int] | None = None, step: int = HOUR, start: int = MONDAY, volume: Any = 1.0, **more: Any
    ) -> bt.Bars:
        table = np.array([row if isinstance(row, tuple) else (row,) * 4 for row in rows], dtype=float)
        time = start + step * np.array(range(len(table)) if times is None else times, dtype=np.int64)
        more = {"timeframe": step // 60_000, **more}
        return bt.Bars(time, *table.T.copy(), volume=np.broadcast_to(volume, len(table)).astype(float), **more)

    return make


@pytest.fixture(scope="session")
def read_signals() -> Callable[..., bt.Signals]:
    """`read_signals("L . ls")`: one word for each bar, of L (enter long), l (exit long), S and s for short; `.` for none.

    Sizes and levels are a number for all bars, one for each bar, or these for each side. Signals that no word has are not given.
    """

    def read(text: str, **levels: Any) -> bt.Signals:
        words = text.split()
        used = set("".join(words)) - {"."}
        assert used <= set(SIGNALS), text
        masks = {name: np.array([letter in word for word in words]) for letter, name in SIGNALS.items() if letter in used or not used}
        return bt.Signals(**masks, **{name: _columns(value, len(words)) for name, value in levels.items()})

    return read


@pytest.fixture(scope="session")
def check_by_hand(make_bars: Callable[..., bt.Bars], read_signals: Callable[..., bt.Signals]) -> Callable[..., None]:
    """Run one row of a table and compare the whole result.

    A trade is (side, entry bar, entry price, exit bar, exit price, reason) and, where they are not 1, 0 and 0, quantity, fees, funding.
    Capital is 1000, and each order buys or sells a quantity of 1 without costs, unless the row says otherwise. `levels` are those of the
    signals.
    """

    def check(
        engine: str,
        *,
        bars: Sequence[Bar],
        orders: str = "",
        levels: dict[str, Any] | None = None,
        strategy: bt.Strategy | None = None,
        rules: dict[str, Any] | None = None,
        trades: Sequence[tuple[Any, ...]],
        equity: Sequence[float],
        rejected: int = 0,
        clipped: int = 0,
        filtered: int = 0,
        expired: int = 0,
        ambiguous: int = 0,
        ruined: bool = False,
        funding: Sequence[tuple[int, float]] | None = None,
        mark: Sequence[tuple[float, float]] | None = None,
        **layout: Any,
    ) -> None:
        defaults = {"initial_capital": 1000, "commission": 0, "sizing": "fixed_quantity"}
        execution = bt.Execution(**{**defaults, **(rules or {})})
        plain = not any(level is not None for level in series_levels(execution))
        for quiet in (0, QUIET_BARS) if strategy is None and "times" not in layout and plain else (0,):
            first = bars[0][0] if isinstance(bars[0], tuple) else bars[0]
            made = make_bars(
                [*[first] * quiet, *bars],
                funding=None
                if funding is None
                else ([int(MONDAY + HOUR * (quiet + i)) for i, _ in funding], [rate for _, rate in funding]),
                mark=None if mark is None else tuple(zip(*[(first, first)] * quiet, *mark, strict=True)),
                **layout,
            )
            if strategy is None:
                result = bt.simulate(made, read_signals(". " * quiet + orders, **(levels or {})), execution, engine=engine)
            else:
                result = bt.backtest(made, strategy, execution, engine=engine)
            wanted = [_trade(quiet, *trade) for trade in trades]
            assert [_fields(row, trade) for row, trade in zip(result.trades.array, result.trades, strict=True)] == wanted
            assert len(equity) == len(bars), "the table needs one equity for each bar"
            assert result.equity.tolist() == pytest.approx([execution.initial_capital] * quiet + list(equity), rel=1e-12, abs=1e-9)
            counts = (rejected, clipped, filtered, expired, ambiguous, ruined)
            assert tuple(getattr(result, name) for name in Counts._fields) == counts
            assert result.engine == engine

    return check


def _columns(value: Any, n: int) -> Any:
    """A number or a list as an array of the last n bars, for each side if there are sides."""
    if isinstance(value, dict):
        return {side: _columns(part, n) for side, part in value.items()}
    values = np.full(n, np.nan if isinstance(value, list) else value)
    if isinstance(value, list):
        values[n - len(value) :] = value
    return values


def _trade(
    quiet: int,
    side: str,
    entry_index: int,
    entry_price: float,
    exit_index: int,
    exit_price: float,
    reason: str,
    quantity: float = 1,
    fees: float = 0,
    funding: float = 0,
) -> dict[str, Any]:
    gross = (1 if side == "long" else -1) * quantity * (exit_price - entry_price)
    money = {
        "entry_price": entry_price,
        "exit_price": exit_price,
        "quantity": quantity,
        "gross": gross,
        "fees": fees,
        "funding": funding,
        "net": gross - fees - funding,
    }
    return {
        "side": side,
        "reason": reason,
        "entry_index": quiet + entry_index,
        "exit_index": quiet + exit_index,
        **{name: pytest.approx(value, rel=1e-12, abs=1e-9) for name, value in money.items()},
    }


def _fields(row: np.void, trade: bt.Trade) -> dict[str, Any]:
    """One trade of the array, after a check that the struct has the same values."""
    names = ("entry_index", "exit_index", "entry_price", "exit_price", "quantity", "gross", "fees", "funding", "net")
    assert all(getattr(trade, name) == row[name] for name in names[2:])
    assert trade.bars_held == row["exit_index"] - row["entry_index"]
    return {"side": trade.side, "reason": trade.reason, **{name: row[name].item() for name in names}}
