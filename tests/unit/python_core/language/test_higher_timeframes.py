"""Higher timeframes have the values worked out by hand; unsuitable ones are rejected."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import python_core as bt

MINUTE, DAY = 60_000, 86_400_000
# Bars but the last on which a condition is true. The minutes count 1, 2, 3 ... from 00:00; five of them close with 5, 10 and 15.
MINUTES = {
    "at('5m', close) == 5": [4, 5, 6, 7, 8],
    "at('5m', close) == 10": [9, 10, 11, 12, 13],
    "at('5m', True)": list(range(4, 18)),
    "not at('5m', close > 6)": [4, 5, 6, 7, 8],
    "at('5m', close[1]) == 5": [9, 10, 11, 12, 13],
    "at('5m', close)[1] == 5": [5, 6, 7, 8, 9],
    "at('5m', open) == 6 and at('5m', high) == 10": [9, 10, 11, 12, 13],
    "at('5m', sma(close, 2)) == 7.5": [9, 10, 11, 12, 13],
    "at('5m', volume) == 5": list(range(4, 18)),
    "at('5m', minute) == 5": [9, 10, 11, 12, 13],
    # a crossing on minutes is true once; one on higher bars stays true while its bar is the latest
    "crossover(at('5m', close), 7)": [9],
    "at('5m', crossover(close, 7))": [9, 10, 11, 12, 13],
    "crossover(close, at('5m', close) + 2)": [7, 12, 17],
    "at('15m', close) == 15": [14, 15, 16, 17],
    "at('5m', at('15m', close)) == 15": [14, 15, 16, 17],
    "at('5m', close > at('15m', close) - 1)": [14, 15, 16, 17],
    "at('1h', close) > 0": [],
    "close > at('1m', close[1])": list(range(1, 18)),
    "at(5, close) == 5 and at(frame, close) == 5": [4, 5, 6, 7, 8],
    "at('5m', twice) == 10": [4, 5, 6, 7, 8],
}


@pytest.mark.parametrize("timeframe", [None, "1m"])
@pytest.mark.parametrize("text", MINUTES)
def test_a_higher_bar_is_known_from_its_close_on(text: str, timeframe: str | None, engine: str, make_bars: Callable[..., bt.Bars]) -> None:
    bars = make_bars(list(range(1, 20)), step=MINUTE)
    strategy = bt.Strategy(entry_long=text, timeframe=timeframe, params={"frame": "5m"}, define={"twice": "2 * close"})
    rules = bt.Execution(max_bars=1, sizing="fixed_quantity", size=0.001, commission=0)
    entries = bt.backtest(bars, strategy, rules, engine=engine).trades.array["entry_index"] - 1  # type: ignore[arg-type]
    assert entries.tolist() == MINUTES[text]


def test_weeks_close_on_monday(engine: str, make_bars: Callable[..., bt.Bars]) -> None:
    bars = make_bars(list(range(1, 17)), step=DAY)  # from Monday on
    rules = bt.Execution(max_bars=1, sizing="fixed_quantity", size=0.001, commission=0)
    result = bt.backtest(bars, bt.Strategy(entry_long="at('1w', close) == 7"), rules, engine=engine)  # type: ignore[arg-type]
    assert (result.trades.array["entry_index"] - 1).tolist() == [6, 7, 8, 9, 10, 11, 12]


def test_a_strategy_coarser_than_its_bars_reads_higher_bars_at_its_own_closes(engine: str, make_bars: Callable[..., bt.Bars]) -> None:
    bars = make_bars(list(range(1, 62)), step=MINUTE)
    strategy = bt.Strategy(entry_long="at('15m', close) == 30 and close > 30", timeframe="5m")
    rules = bt.Execution(max_bars=1, sizing="fixed_quantity", size=0.001, commission=0)
    result = bt.backtest(bars, strategy, rules, engine=engine)  # type: ignore[arg-type]
    assert result.trades.array["entry_index"].tolist() == [35, 40]


def test_a_stop_may_be_the_low_of_a_higher_timeframe(engine: str, make_bars: Callable[..., bt.Bars]) -> None:
    rows = [100, 100, (100, 100, 90, 100), 100, 100, 100, (100, 100, 89, 95), 95, 95]
    result = bt.backtest(
        make_bars(rows, step=MINUTE),
        bt.Strategy(entry_long="at('5m', close) > 0"),
        bt.Execution(stop_loss="at('5m', low)", commission=0),
        engine=engine,  # type: ignore[arg-type]
    )
    first = result.trades[0]
    assert (first.reason, first.entry_price, first.exit_price) == ("stop_loss", 100, 90)
    assert result.trades.array["entry_index"][0] == 5


@pytest.mark.parametrize("metrics", [None, ["trades"]])
def test_a_sweep_equals_single_runs_on_higher_timeframes(metrics: list[str] | None) -> None:
    bars = bt.synthetic(3_000, timeframe="5m")
    strategy = bt.Strategy(
        entry_long="close > at('1h', ema(close, length)) and at(frame, rising(close, bars))",
        exit_long="close < at('1h', ema(close, length))",
        params={"length": 5, "bars": 1, "frame": "4h"},
    )
    grid = {"length": [2, 5, 9], "bars": [1, 2]}
    rules = bt.Execution(stop_loss="at('1h', low - atr(length))")
    table = bt.sweep(bars, strategy, grid, rules, objective="final_equity", metrics=metrics)
    assert len(set(table.column("final_equity"))) == 6
    for i in range(len(table)):
        alone = bt.backtest(bars, table.strategy(i), rules, engine="python")
        assert table.column("final_equity")[i] == alone.metrics.final_equity
        assert table.column("trades")[i] == len(alone.trades)


@pytest.mark.parametrize(
    ("text", "timeframe", "warm_up"),
    [
        ("at('4h', close) > 1", "1h", 3),
        ("at('4h', close) > 1", "4h", 0),
        ("at('4h', sma(close, 20)) > 1", "1h", 79),
        ("at('4h', sma(close, 20))[2] > 1", "1h", 81),
        ("crossover(close, at('4h', sma(close, 20)))", "1h", 80),
        ("sma(at('4h', close), 3) > 1", "1h", 5),
        ("at('4h', close > at('1d', sma(close, 2)))", "1h", 47),
        ("at('1w', close) > 1", "1d", 6),
    ],
)
def test_the_warm_up_ends_on_the_first_known_bar(text: str, timeframe: str, warm_up: int) -> None:
    from python_core.engine.evaluate import evaluate
    from python_core.engine.strategy_bars import StrategyBars
    from python_core.strategy.compile import compile_plan

    strategy = bt.Strategy(entry_long=text, timeframe=timeframe)
    assert strategy.warm_up_bars == warm_up
    plan = compile_plan(strategy, ())
    bars = bt.synthetic(300, timeframe=timeframe)
    time = 345_600_000 + np.arange(300) * (bars.time[1] - bars.time[0])  # from a Monday on
    aligned = bt.Bars(time, bars.open, bars.high, bars.low, bars.close, bars.volume, timeframe=timeframe)
    known = evaluate(plan.nodes, StrategyBars(aligned, timeframe))[plan.conditions[0]][1]
    assert known.argmax() == warm_up
    assert known[warm_up:].all()


@pytest.mark.parametrize(("start", "known_after"), [("2024-01-01", 30), ("2024-02-01", 28), ("2023-02-01", 27), ("2024-04-01", 29)])
def test_the_warm_up_of_a_month_is_that_of_the_longest(start: str, known_after: int, engine: str) -> None:
    strategy = bt.Strategy(entry_long="at('1M', close) > 1", timeframe="1d")
    assert strategy.warm_up_bars == 30
    rules = bt.Execution(max_bars=1, sizing="fixed_quantity", size=0.001)
    result = bt.backtest(bt.synthetic(60, timeframe="1d", start=start), strategy, rules, engine=engine)  # type: ignore[arg-type]
    assert result.trades.array["entry_index"][0] == known_after + 1


@pytest.mark.parametrize(
    ("text", "timeframe", "warm_up"),
    [
        ("at('1M', sma(close, 2)) > 1", "12h", 123),
        ("at('1M', close > at('1M', close)) and True", "45m", 991),
        ("at('8h', close)>1", "2m", 239),
    ],
)
def test_the_warm_up_counts_bars_of_the_strategy(text: str, timeframe: str, warm_up: int) -> None:
    assert bt.Strategy(entry_long=text, timeframe=timeframe).warm_up_bars == warm_up


def test_without_a_timeframe_the_warm_up_is_counted_in_minutes() -> None:
    assert bt.Strategy(entry_long="at('4h', close) > 1").warm_up_bars == 239
    assert bt.Strategy(entry_long="at('30s', close[2]) > 1").warm_up_bars == 2


BAD = {
    "at('30m', close) > 1": "1: 30m bars can't be built from 1h bars; 1h bars fit into 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M",
    "at('4h', at('2h', close)) > 1": "10: 2h bars can't be built from 4h bars; 4h bars fit into 4h 8h 12h 1d 3d 1w 1M",
    "at('1M', at('1w', close)) > 1": "10: 1w bars can't be built from 1M bars; 1M bars fit into 1M",
    "at('1M', at('3d', close)) > 1": "10: 3d bars can't be built from 1M bars; 1M bars fit into 1M",
    "at('3d', at('1M', close)) > 1": "10: 1M bars can't be built from 3d bars; 3d bars fit into 3d",
    "at('45m', close) > 1": "1: 45m bars can't be built from 1h bars; 1h bars fit into 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M",
    "at('4h') > 1": "1: at takes 2 arguments, not 1; write it as in at('4h', close > open)",
    "at('4x', close) > 1": "4: unknown timeframe '4x'; use one of 1s 5s ...",
    "at(close, close) > 1": "4: expected a timeframe; write it in quotes, as in at('4h', close), or use a text parameter",
    "at(length, close) > 1": "4: unknown timeframe 7; use one of 1s 5s ...",
    "at('4h', clse) > 1": "10: unknown name 'clse'; did you mean 'close'?",
    "at > 1": "1: 'at' is a function; call it, as in at(close, ...)",
    "'4h' > 1": "1: expected a number, got '4h'; use numbers, names and functions",
    "frame > 1": "1: parameter 'frame' is text; text can only be a timeframe, as in at(frame, close)",
}


@pytest.mark.parametrize("text", BAD)
def test_an_invalid_timeframe_is_rejected(text: str) -> None:
    with pytest.raises(bt.StrategyError) as caught:
        bt.Strategy(entry_long=text, timeframe="1h", params={"length": 7, "frame": "4h"})
    message = str(caught.value).removeprefix("entry_long, column ")
    assert message == BAD[text] or (BAD[text].endswith("...") and message.startswith(BAD[text][:-3]))


def test_a_timeframe_finer_than_the_bars_is_rejected_before_the_run(engine: str) -> None:
    strategy = bt.Strategy(entry_long="close > 1 and at('1h', close) > 1")
    with pytest.raises(bt.StrategyError, match=r"^entry_long, column 15: 1h bars can't be built from 4h bars; "):
        bt.backtest(bt.synthetic(100, timeframe="4h"), strategy, engine=engine)  # type: ignore[arg-type]
    with pytest.raises(bt.StrategyError, match=r"^entry_long, column 15: 1h bars can't be built from 4h bars; "):
        bt.sweep(bt.synthetic(100, timeframe="4h"), bt.Strategy(entry_long=strategy.entry_long, params={"n": 1}), {"n": [1, 2]})
