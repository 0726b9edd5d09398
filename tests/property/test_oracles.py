"""Runs over real prices agree with backtesting.py, trade by trade, where both have the same rules.

Both fill at the next open, or at the level of an order that rests, charge a fraction of each fill as commission and put the whole equity into a
position, in fractional units. Levels are set at the signal's bar, as backtesting.py requires; a stop is hit before a target. They treat positions
open at the end differently, so all are closed before.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

import python_core as bt
from tests.property.oracles.one_way import one_way_bars

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import backtesting
    from backtesting.lib import FractionalBacktest
    from backtesting.test import EURUSD, GOOG

MARKETS = {"GOOG": (GOOG, "1d"), "EURUSD": (EURUSD, "1h")}
CAPITAL, FEE = 10_000.0, 0.0006
ALL = 1 - 1e-12  # of the equity; 1 would mean one unit
Masks = dict[str, np.ndarray]
Levels = tuple[float, float] | None


def closed_at_the_end(masks: Masks) -> Masks:
    for name, mask in masks.items():
        if name.startswith("exit"):
            mask &= ~masks[name.replace("exit", "entry")]  # together they cancel each other here, and reopen the position there
        mask[0] = False  # backtesting.py doesn't call the strategy on the first bar
        mask[-2:] = (name.startswith("exit"), False)
    return masks


def crossings(close: np.ndarray) -> Masks:
    average = {length: np.convolve(close, np.ones(length) / length)[: len(close)] for length in (5, 20)}
    above = average[5] > average[20]
    up, down = np.zeros(len(close), np.bool_), np.zeros(len(close), np.bool_)
    up[20:], down[20:] = above[20:] & ~above[19:-1], ~above[20:] & above[19:-1]
    return {"entry_long": up, "exit_long": down.copy(), "entry_short": down, "exit_short": up.copy()}


def random_masks(close: np.ndarray, density: float) -> Masks:
    random = np.random.default_rng(17)
    return {name: random.random(len(close)) < density for name in ("entry_long", "exit_long", "entry_short", "exit_short")}


def run_backtesting_py(frame: Any, masks: Masks, levels: Levels) -> Any:
    class Given(backtesting.Strategy):  # type: ignore[misc]
        def init(self) -> None:
            pass

        def next(self) -> None:
            i = len(self.data) - 1
            buys, sells = bool(masks["entry_long"][i]), bool(masks["entry_short"][i])
            buys, sells = buys and not sells, sells and not buys
            if self.position:
                exits = masks["exit_long"][i] or sells if self.position.is_long else masks["exit_short"][i] or buys
                if not exits:
                    return
                self.position.close()
            if buys or sells:
                order, side = (self.buy, 1) if buys else (self.sell, -1)
                close = frame["Close"].iloc[i]
                # FractionalBacktest scales prices to its unit.
                unit = self.data.Close[-1] / close
                prices = (
                    {} if levels is None else {"sl": close * (1 - side * levels[0]) * unit, "tp": close * (1 + side * levels[1]) * unit}
                )
                order(size=ALL, **prices)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return FractionalBacktest(frame, Given, fractional_unit=1e-9, cash=CAPITAL, commission=FEE).run()


def assert_trades_agree(result: bt.Result, stats: Any) -> None:
    trades, wanted = result.trades.array, stats["_trades"].sort_values(["ExitBar", "EntryBar"])
    assert len(trades) == len(wanted) > 10
    np.testing.assert_array_equal(trades["entry_index"], wanted["EntryBar"])
    np.testing.assert_array_equal(trades["exit_index"], wanted["ExitBar"])
    np.testing.assert_allclose(trades["side"] * trades["quantity"], wanted["Size"], rtol=1e-6)
    np.testing.assert_allclose(trades["entry_price"], wanted["EntryPrice"], rtol=1e-9)
    np.testing.assert_allclose(trades["exit_price"], wanted["ExitPrice"], rtol=1e-9)
    np.testing.assert_allclose(trades["net"], wanted["PnL"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(result.equity, stats["_equity_curve"]["Equity"], rtol=1e-7)


@pytest.mark.parametrize(
    ("sides", "levels"),
    [
        (("long", "short"), None),
        (("long",), (0.002, 0.004)),
        (("short",), (0.002, 0.004)),
        (("long",), (0.02, 0.01)),
        (("short",), (0.02, 0.01)),
    ],
)
@pytest.mark.parametrize("signals", ["crossings", "5 % of bars", "40 % of bars"])
@pytest.mark.parametrize("market", MARKETS)
def test_trades_and_equity_agree_with_backtesting_py(
    market: str, signals: str, sides: tuple[str, ...], levels: Levels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backtesting.backtesting, "_tqdm", lambda steps, **_options: steps)
    frame, timeframe = MARKETS[market]
    close = frame["Close"].to_numpy()
    masks = closed_at_the_end(crossings(close) if signals == "crossings" else random_masks(close, 0.05 if signals[0] == "5" else 0.4))
    toward = 1 if sides == ("long",) else -1
    for name, mask in masks.items():
        mask &= name.endswith(sides)
        if levels is not None and name.startswith("entry"):
            # An open beyond the target fills at the open here; in backtesting.py the bar's stop goes first.
            gap = toward * (np.append(frame["Open"].to_numpy()[1:], 0) / close - 1)
            mask &= (gap > -levels[0]) & (gap < levels[1])
    stats = run_backtesting_py(frame, masks, levels)

    columns = [frame[name].to_numpy().astype(float) for name in ("Open", "High", "Low", "Close", "Volume")]
    bars = bt.Bars(frame.index.as_unit("ms").asi8, *columns, timeframe=timeframe)
    prices = (
        {} if levels is None else {"stop_loss": f"close * {1 - toward * levels[0]}", "take_profit": f"close * {1 + toward * levels[1]}"}
    )
    execution = bt.Execution(initial_capital=CAPITAL, commission=FEE, **prices)
    result = bt.simulate(bars, bt.Signals(**masks), execution)
    assert_trades_agree(result, stats)


SHAPES = {"limit": ("entry_limit", -1), "stop": ("entry_stop", 1)}  # with the direction from the close to a long's level
DISTANCE, STEP = 0.01, 0.015  # of the levels from the close; the longest bar doesn't reach from one side's level to the other's


def run_resting_in_backtesting_py(bars: bt.Bars, masks: Masks, shape: str, expires: int, quantity: float | None, levels: Levels) -> Any:
    """Orders are placed again on each bar, for the size that also closes an opposite position, as long as they rest here."""
    columns = {name.title(): getattr(bars, name) for name in ("open", "high", "low", "close", "volume")}
    frame = pd.DataFrame(columns, index=pd.to_datetime(bars.time, unit="ms"))
    names = {1: "long", -1: "short"}

    class Given(backtesting.Strategy):  # type: ignore[misc]
        def init(self) -> None:
            self.resting: dict[int, int] = {}  # the signal's bar of each side
            self.fills = 0

        def next(self) -> None:
            i = len(self.data) - 1
            if (fills := len(self.trades) + len(self.closed_trades)) > self.fills:
                self.fills = fills
                self.resting.clear()
            for order in [order for order in self.orders if not order.is_contingent]:
                order.cancel()
            held, opposite = np.sign(self.position.size), self.position.size
            for side, name in names.items():
                if masks[f"exit_{name}"][i]:
                    self.resting.pop(side, None)
                    if held == side:
                        self.position.close()
                        opposite = 0
                if i - self.resting.get(side, i) >= expires:
                    del self.resting[side]
                if masks[f"entry_{name}"][i] and held != side:
                    self.resting[side] = i
            unit = self.data.Close[-1] / bars.close[i]  # FractionalBacktest scales prices to its unit.
            for side, k in self.resting.items():
                close = bars.close[k] * unit
                size = ALL if quantity is None else quantity * 1e9 + abs(opposite)
                prices = {} if levels is None else {"sl": close * (1 - side * levels[0]), "tp": close * (1 + side * levels[1])}
                level = {shape: close * (1 + side * SHAPES[shape][1] * DISTANCE)}
                (self.buy if side > 0 else self.sell)(size=size, **level, **prices)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return FractionalBacktest(frame, Given, fractional_unit=1e-9, cash=CAPITAL, commission=FEE).run()


def fills_away_from_levels(bars: bt.Bars, side: int, shape: str, expires: int, levels: tuple[float, float]) -> np.ndarray:
    """Whether the bar in which an entry may fill leaves its stop and its target alone, bool[bars] by the bar of the signal.

    backtesting.py looks at them from the next bar on; only the target of a stop entry does it see in the same bar.
    """
    worst, best = (bars.low, bars.high) if side > 0 else (bars.high, bars.low)
    toward = SHAPES[shape][1]
    fine = np.zeros(len(bars), np.bool_)
    for k in range(len(bars) - 1):
        close = bars.close[k]
        level, stop, target = (close * (1 + side * fraction) for fraction in (toward * DISTANCE, -levels[0], levels[1]))
        j = slice(k + 1, k + 1 + expires)
        touched = side * toward * ((best if shape == "stop" else worst)[j] - level) >= 0
        bad = touched & (
            (side * (worst[j] - stop) <= 0)
            | (side * (bars.open[j] - target) >= 0)
            | ((shape == "limit") & (side * (bars.open[j] - level) <= 0) & (side * (best[j] - target) >= 0))
        )
        fine[k] = not bad.any()
    return fine


@pytest.mark.parametrize(("sides", "levels"), [(("long", "short"), None), (("long",), (0.03, 0.035)), (("short",), (0.03, 0.035))])
@pytest.mark.parametrize("expires", [1, 4, 50])
@pytest.mark.parametrize("shape", SHAPES)
def test_resting_entries_agree_with_backtesting_py(
    shape: str, expires: int, sides: tuple[str, ...], levels: Levels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Limit and stop entries that wait, expire, gap, reverse a position, and have a stop and a target of their own.

    backtesting.py has no rule for two orders or levels met by one bar, so each bar moves one way.
    """
    monkeypatch.setattr(backtesting.backtesting, "_tqdm", lambda steps, **_options: steps)
    bars = one_way_bars(GOOG[["Open", "High", "Low", "Close"]].to_numpy().T.astype(float)[:, :1_000], STEP)
    masks = random_masks(bars.close, 0.05)
    masks["entry_short"] = masks["entry_long"].copy()  # the two sides of one breakout, or of one range
    for name, mask in closed_at_the_end(masks).items():
        mask &= name.endswith(sides)
        if levels is not None and name.startswith("entry"):
            mask &= fills_away_from_levels(bars, 1 if "long" in sides else -1, shape, expires, levels)
    quantity = 3.0 if levels is None else None
    stats = run_resting_in_backtesting_py(bars, masks, shape, expires, quantity, levels)

    toward = 1 if sides == ("long",) else -1
    prices = (
        {} if levels is None else {"stop_loss": bars.close * (1 - toward * levels[0]), "take_profit": bars.close * (1 + toward * levels[1])}
    )
    sizing: dict[str, Any] = {} if quantity is None else {"sizing": "fixed_quantity", "size": quantity}
    execution = bt.Execution(initial_capital=CAPITAL, commission=FEE, entry_expires=expires, **{SHAPES[shape][0]: DISTANCE}, **sizing)
    result = bt.simulate(bars, bt.Signals(**masks, **prices), execution)
    assert result.ambiguous_bars == 0
    assert_trades_agree(result, stats)
