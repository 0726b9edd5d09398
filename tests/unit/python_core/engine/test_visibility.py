"""Which bars of a higher timeframe a bar sees, and where its orders fill: examples worked out by hand, in both engines."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import python_core as bt
from python_core.data import timeframes
from python_core.data.epoch import to_epoch_ms
from python_core.engine import kernel
from python_core.engine.strategy_bars import StrategyBars
from python_core.language.compiler import Compiler
from python_core.language.plan import PlanBuilder
from python_core.strategy.compile import Plan

EXAMPLES = Path(__file__).resolve().parents[5] / "shared" / "contract" / "examples.json"
DAY, HOUR = timeframes.DAY_MS, 3_600_000


def flat_bars(time: Sequence[int] | np.ndarray, timeframe: str) -> bt.Bars:
    """Bars whose close is their position, counted from 1."""
    price = np.arange(1.0, len(time) + 1)
    return bt.Bars(time, price, price, price, price, price, timeframe=timeframe)


def values(bars: bt.Bars, text: str, engine: str, *, timeframe: str | None = None, fill_at_close: bool = False) -> list[float]:
    """The values of an expression, 0 where unknown."""
    compiler = Compiler(PlanBuilder(strategy_ms=timeframes.milliseconds(timeframe or bars.timeframe)), {}, {})
    wanted = compiler.expression("expression", text)
    plan = Plan(tuple(compiler.builder.nodes), (-1, -1, -1, -1))
    found = kernel.node_values(bars, plan, (wanted,), timeframe, engine, fill_at_close=fill_at_close)  # type: ignore[arg-type]
    return list(np.nan_to_num(found[0]).tolist())


def check(bars: bt.Bars, frame: str, expected: dict[str, Any], engine: str) -> None:
    higher = StrategyBars(bars, frame)
    assert higher.ends.tolist() == expected["frame_ends"]
    assert higher.fills_at.tolist() == expected["frame_fills_at"]
    # The close of a bar is its last position, counted from 1, which is where its orders fill.
    closes = [0, *expected["frame_fills_at"]]
    assert values(bars, f"at('{frame}', close)", engine) == [closes[last + 1] for last in expected["last_visible_bar"]]


WEEK = {
    "time": [(4 + day) * DAY for day in (0, 1, 2, 3, 4, 7, 8, 9, 10, 11, 14)],
    "expected": {
        "frame_ends": [11 * DAY, 18 * DAY],
        "frame_fills_at": [5, 10],
        "last_visible_bar": [-1, -1, -1, -1, 0, 0, 0, 0, 0, 1, 1],
    },
}


def test_the_friday_bar_sees_its_week(engine: str) -> None:
    check(flat_bars(WEEK["time"], "1d"), "1w", WEEK["expected"], engine)


def test_the_last_bar_of_a_session_sees_its_day(engine: str) -> None:
    time = [day * DAY + hour * HOUR for day in (0, 1) for hour in (14, 15, 16, 17)]
    expected = {"frame_ends": [DAY], "frame_fills_at": [4], "last_visible_bar": [-1, -1, -1, 0, 0, 0, 0, 0]}
    check(flat_bars(time, "1h"), "1d", expected, engine)


def test_the_examples_of_the_contract_hold(engine: str) -> None:
    if not EXAMPLES.is_file():
        pytest.skip(f"no worked examples: {EXAMPLES} is not there")
    examples = {example["id"]: example for example in json.loads(EXAMPLES.read_text())["examples"]}
    for run in examples["11-week-closed-on-friday"]["runs"]:
        check(flat_bars(run["time"], timeframes.name(run["timeframe_ms"])), run["frame"], run["expected"], engine)


def test_an_order_on_its_week_fills_on_monday(engine: str, make_bars: Callable[..., bt.Bars]) -> None:
    days = [0, 1, 2, 3, 4, 7, 8]
    bars = make_bars([100, 100, 100, 100, 110, 120, 121], times=days, step=DAY)
    strategy = bt.Strategy(entry_long="at('1w', close) == 110 and close == 110")
    for fill, entry in (("next_open", [5]), ("close", [])):
        result = bt.backtest(bars, strategy, bt.Execution(commission=0, fill=fill), engine=engine)  # type: ignore[arg-type]
        assert result.trades.array["entry_index"].tolist() == entry, fill


def test_an_order_that_fills_at_a_close_does_not_see_what_ends_later(engine: str) -> None:
    bars = flat_bars(WEEK["time"], "1d")
    assert values(bars, "at('1w', close)", engine, fill_at_close=True) == [0, 0, 0, 0, 0, 5, 5, 5, 5, 5, 10]
    # Without a gap, a week ends with its Sunday: both rules agree.
    whole = flat_bars(np.arange(4, 20) * DAY, "1d")
    for fill_at_close in (False, True):
        assert values(whole, "at('1w', close)", engine, fill_at_close=fill_at_close) == [0] * 6 + [7] * 7 + [14] * 3


def test_nested_timeframes_follow_the_same_rule(engine: str) -> None:
    # Hours 14 and 15 of the days of a week and of the next Monday: Friday's bar is the last of its week.
    time = [day * DAY + hour * HOUR for day in (4, 5, 6, 7, 8, 11, 12) for hour in (14, 15)]
    bars = flat_bars(time, "1h")
    expected = [0.0] * 9 + [10.0] * 5
    assert values(bars, "at('1d', at('1w', close))", engine) == values(bars, "at('1w', close)", engine) == expected
    assert values(bars, "at('1d', close - at('1w', close))", engine) == [0] * 9 + [0, 0, 2, 2, 2]
    assert values(bars, "at('1d', at('1w', close))", engine, fill_at_close=True) == [0.0] * 12 + [10.0] * 2
    assert values(bars, "at('1w', close)", engine, timeframe="1d") == [0.0] * 4 + [10.0] * 2
    assert values(bars, "at('1w', close)", engine, timeframe="1d", fill_at_close=True) == [0.0] * 5 + [10.0]


def test_a_gap_over_several_higher_bars_shows_the_last_one_before_it(engine: str) -> None:
    # Minutes 0, 1, then 11 and 12 (a bar of its own), then 15 and on.
    bars = flat_bars(np.array([0, 1, 11, 12, 15, 16, 17, 18]) * 60_000, "1m")
    assert values(bars, "at('5m', close)", engine) == [0, 2, 2, 4, 4, 4, 4, 4]
    assert values(bars, "at('5m', close)", engine, fill_at_close=True) == [0, 0, 2, 2, 4, 4, 4, 4]


def test_months_are_those_of_the_calendar(engine: str) -> None:
    start = to_epoch_ms("2023-12-30", "start")
    bars = flat_bars(start + np.arange(100) * DAY, "1d")
    ends = [to_epoch_ms(day, "end") for day in ("2024-01-01", "2024-02-01", "2024-03-01", "2024-04-01")]
    higher = StrategyBars(bars, "1M")
    assert higher.ends.tolist() == ends
    assert higher.fills_at.tolist() == [2, 33, 62, 93]
    assert higher.columns["time"].tolist() == [to_epoch_ms("2023-12-01", "start"), *ends[:3]]
    seen = [0.0] * 1 + [2.0] * 31 + [33.0] * 29 + [62.0] * 31 + [93.0] * 8
    for fill_at_close in (False, True):
        assert values(bars, "at('1M', close)", engine, fill_at_close=fill_at_close) == seen
    assert values(bars, "at('1M', volume)", engine)[33:40] == [float(sum(range(3, 34)))] * 7


def test_a_month_of_weekdays_is_seen_on_its_last_one(engine: str) -> None:
    # June 2024 ends on a Sunday: Friday the 28th is its last weekday, the next bar opens on Monday, July 1st.
    days = to_epoch_ms("2024-06-24", "start") + np.array([0, 1, 2, 3, 4, 7, 8]) * DAY
    bars = flat_bars(days, "1d")
    assert values(bars, "at('1M', close)", engine) == [0, 0, 0, 0, 5, 5, 5]
    assert values(bars, "at('1M', close)", engine, fill_at_close=True) == [0, 0, 0, 0, 0, 5, 5]


def test_the_last_month_of_9999_is_complete_with_its_last_bar(engine: str) -> None:
    last = to_epoch_ms("9999-12-31T23:00", "start")
    bars = flat_bars(last - np.arange(24)[::-1] * HOUR, "1h")
    for frame in ("1d", "1M"):
        assert StrategyBars(bars, frame).fills_at.tolist() == [24]
        assert values(bars, f"at('{frame}', close)", engine)[-2:] == [0, 24]
    assert len(StrategyBars(bars[:-1], "1M")) == 0


def test_a_run_on_months_has_no_higher_bars_to_wait_for(engine: str) -> None:
    bars = bt.synthetic(120, timeframe="1M", start="2010-01-01")
    strategy = bt.Strategy(entry_long="close > sma(close, 3)", exit_long="close < at('1M', sma(close, 3))")
    result = bt.backtest(bars, strategy, bt.Execution(max_bars=5), engine=engine)  # type: ignore[arg-type]
    assert len(result.trades) > 3
    assert result.digest == bt.backtest(bars, strategy, bt.Execution(max_bars=5), engine="python").digest
