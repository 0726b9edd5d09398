"""A run that starts after a warm-up: what exists at its start, and what its result covers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import python_core as bt

MakeBars = Callable[..., bt.Bars]
ReadSignals = Callable[..., bt.Signals]
FREE = bt.Execution(initial_capital=1000, commission=0, sizing="fixed_quantity")


def test_nothing_fills_on_the_first_bar_of_a_run(engine: str, make_bars: MakeBars, read_signals: ReadSignals) -> None:
    bars = make_bars([90, 91, 92, 100, 100, 110])
    result = bt.simulate(bars, read_signals(". . L L . ."), FREE, start=int(bars.time[3]), engine=engine)
    (trade,) = result.trades
    assert (trade.entry_time, trade.exit_time, trade.bars_held) == (bars.time[4], bars.time[5], 1)
    assert result.trades.array[["entry_index", "exit_index"]].tolist() == [(1, 2)]
    assert result.equity.tolist() == [1000, 1000, 1010]
    assert result.time.tolist() == bars.time[3:].tolist()
    assert result.bars == 3
    assert result.metrics.buy_and_hold_return == pytest.approx(0.1)
    assert result.metrics.exposure == pytest.approx(2 / 3)


def test_an_entry_at_the_close_of_the_first_bar_exists(engine: str, make_bars: MakeBars, read_signals: ReadSignals) -> None:
    bars = make_bars([90, 91, 92, 100])
    execution = bt.Execution(initial_capital=1000, commission=0, sizing="fixed_quantity", fill="close")
    result = bt.simulate(bars, read_signals(". L L ."), execution, start=int(bars.time[2]), engine=engine)
    assert result.trades.array[["entry_index", "entry_price"]].tolist() == [(0, 92.0)]


def test_indicators_are_warm_at_the_start(engine: str, make_bars: MakeBars) -> None:
    bars = make_bars([90, 91, 92, 100, 100, 110])
    strategy = bt.Strategy(entry_long="close > sma(close, 3)")
    warm = bt.backtest(bars, strategy, FREE, start=int(bars.time[3]), engine=engine)
    cold = bt.backtest(bars[3:], strategy, FREE, engine=engine)
    assert warm.trades.array["entry_index"].tolist() == [1]
    assert len(cold.trades) == 0


@pytest.mark.parametrize(("first", "shortfall"), [(0, 3), (2, 1), (3, 0), (5, 0)])
def test_the_shortfall_is_what_the_strategy_lacks_at_the_start(engine: str, make_bars: MakeBars, first: int, shortfall: int) -> None:
    bars, strategy = make_bars([100] * 9), bt.Strategy(entry_long="close > sma(close, 4)")
    assert strategy.warm_up_bars == 3
    assert bt.backtest(bars, strategy, FREE, start=int(bars.time[first]), engine=engine).warm_up_shortfall == shortfall


def test_the_shortfall_counts_strategy_bars(engine: str, make_bars: MakeBars) -> None:
    bars, strategy = make_bars([100] * 24), bt.Strategy(entry_long="close > sma(close, 4)", timeframe="4h")
    assert bt.backtest(bars, strategy, FREE, start=int(bars.time[8]), engine=engine).warm_up_shortfall == 1
    assert bt.backtest(bars, strategy, FREE, start=int(bars.time[7]), engine=engine).warm_up_shortfall == 2


def test_signals_lack_no_warm_up(engine: str, make_bars: MakeBars, read_signals: ReadSignals) -> None:
    assert bt.simulate(make_bars([100, 100]), read_signals("L ."), FREE, engine=engine).warm_up_shortfall == 0


def test_bars_before_the_warm_up_are_not_used(engine: str, make_bars: MakeBars, read_signals: ReadSignals) -> None:
    bars = make_bars([80, 90, 91, 92, 100, 100, 110])
    times: Any = {"start": int(bars.time[4]), "warm_up_from": int(bars.time[1])}
    signals, strategy = read_signals("L . . L L . ."), bt.Strategy(entry_long="close > ema(close, 2)")
    for program, part in ((signals, signals[1:]), (strategy, strategy)):
        run: Any = bt.simulate if program is signals else bt.backtest
        whole = run(bars, program, FREE, **times, engine=engine)
        cut = run(bars[1:], part, FREE, start=times["start"], engine=engine)
        assert (whole.digest, whole.fingerprint) == (cut.digest, cut.fingerprint)
        assert whole.fingerprint == bt.fingerprint(bars, program, FREE, **times)


def test_the_start_is_part_of_the_fingerprint(make_bars: MakeBars, read_signals: ReadSignals) -> None:
    bars, signals = make_bars([100] * 5), read_signals("L . . . .")
    found = [bt.fingerprint(bars, signals, FREE, start=int(bars.time[i])) for i in range(5)]
    assert len(set(found)) == 5
    assert found[0] == bt.fingerprint(bars, signals, FREE)
    # A time between two bars is that of the next one.
    assert found[2] == bt.fingerprint(bars, signals, FREE, start=int(bars.time[1]) + 1)


def test_a_start_may_be_a_date(make_bars: MakeBars, read_signals: ReadSignals) -> None:
    bars, signals = make_bars([100] * 30), read_signals(". " * 30)
    assert bt.simulate(bars, signals, FREE, start="2024-01-02", warm_up_from="2024-01-01T12:00Z").time[0] == bars.time[24]
    with pytest.raises(bt.BarsError, match="start"):
        bt.simulate(bars, signals, FREE, start="tomorrow")


def test_a_benchmark_is_part_of_the_fingerprint(make_bars: MakeBars, read_signals: ReadSignals) -> None:
    bars, signals = make_bars([100] * 5), read_signals("L . . . .")
    benchmarks: list[Any] = [None, (bars.time, bars.close), (bars.time, bars.close + 1), (bars.time[:4], bars.close[:4])]
    assert len({bt.fingerprint(bars, signals, FREE, benchmark=benchmark) for benchmark in benchmarks}) == 4


def test_funding_before_the_start_is_not_paid(engine: str, make_bars: MakeBars, read_signals: ReadSignals) -> None:
    bars = make_bars([100] * 6)
    bars = bars.with_series(funding=(bars.time, np.full(6, 0.01)))
    result = bt.simulate(bars, read_signals("L . L . . ."), FREE, start=int(bars.time[2]), engine=engine)
    (trade,) = result.trades
    assert (trade.entry_time, trade.funding) == (bars.time[3], 2)


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ({"start": -1}, "start: -1 is outside the bars"),
        ({"start": 10**15}, "start: 1000000000000000 is outside the bars"),
        (
            {"start": 1_704_067_200_000, "warm_up_from": 1_704_067_200_001},
            "before the warm-up from 1704067200001 (2024-01-01T00:00Z); set start to a time after",
        ),
        ({"warm_up_from": 1_704_070_800_000}, "before the warm-up from 1704070800000 (2024-01-01T01:00Z); set start to a time after"),
    ],
    ids=str,
)
def test_a_start_outside_the_bars_or_before_the_warm_up_is_rejected(
    times: dict[str, int], words: str, make_bars: MakeBars, read_signals: ReadSignals
) -> None:
    with pytest.raises(bt.BarstormError) as caught:
        bt.simulate(make_bars([100, 100]), read_signals("L ."), FREE, **times)
    assert words in str(caught.value)
