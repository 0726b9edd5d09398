"""Runs over real prices agree with backtesting.py, trade by trade, where both have the same rules.

Both fill at the next open, charge a fraction of each fill as commission and put the whole equity into a position, in fractional units. Levels
are set at the signal's bar, as backtesting.py requires; a stop is hit before a target. They treat positions open at the end differently, so all
are closed before.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import python_core as bt

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
    trades, wanted = result.trades.array, stats["_trades"].sort_values(["ExitBar", "EntryBar"])
    assert len(trades) == len(wanted) > 10
    np.testing.assert_array_equal(trades["entry_index"], wanted["EntryBar"])
    np.testing.assert_array_equal(trades["exit_index"], wanted["ExitBar"])
    np.testing.assert_allclose(trades["side"] * trades["quantity"], wanted["Size"], rtol=1e-6)
    np.testing.assert_allclose(trades["entry_price"], wanted["EntryPrice"], rtol=1e-9)
    np.testing.assert_allclose(trades["exit_price"], wanted["ExitPrice"], rtol=1e-9)
    np.testing.assert_allclose(trades["net"], wanted["PnL"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(result.equity, stats["_equity_curve"]["Equity"], rtol=1e-7)
