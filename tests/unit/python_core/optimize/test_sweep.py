"""Sweeps: every combination that meets the constraints, each with the metrics of a single run."""

from __future__ import annotations

import itertools
from typing import Any, cast

import numpy as np
import pytest

import python_core as bt
from tests.support.strategies import cross


def test_a_sweep_without_a_grid_covers_the_ranges_within_the_constraints() -> None:
    table = bt.sweep(bt.synthetic(500), cross())
    tried = list(zip(table.params["fast"].tolist(), table.params["slow"].tolist(), strict=True))
    assert tried == [(fast, slow) for fast, slow in itertools.product((5, 10, 15, 20), (10, 20, 30, 40)) if fast < slow]
    assert len(tried) == 12


@pytest.mark.parametrize("engine", ["python", "auto"])
def test_each_combination_of_a_sweep_is_the_single_run_with_its_values(engine: Any) -> None:
    bars = bt.synthetic(400)
    table = bt.sweep(bars, cross(), engine=engine)
    for i in range(len(table)):
        single = bt.backtest(bars, table.strategy(i))
        assert table.column("final_equity")[i] == single.metrics.final_equity


def test_a_grid_is_filtered_by_the_constraints_too() -> None:
    table = bt.sweep(bt.synthetic(300), cross(params={"fast": 10, "slow": 30}), {"fast": [10, 50]})
    assert table.params["fast"].tolist() == [10]


def test_a_sweep_without_a_valid_combination_is_rejected() -> None:
    with pytest.raises(bt.StrategyError, match="no combination meets fast < slow"):
        bt.sweep(bt.synthetic(300), cross(params={"fast": 10, "slow": 30}), {"fast": [40, 50]})


def test_a_sweep_needs_a_range_or_a_grid() -> None:
    with pytest.raises(bt.StrategyError, match="no parameter has a range"):
        bt.sweep(bt.synthetic(300), cross(params={"fast": 10, "slow": 30}))


def test_a_search_covers_choices_of_numbers_but_not_bools_and_texts() -> None:
    strategy = bt.Strategy(
        entry_long="close > sma(close, length) and active",
        params={
            "length": bt.Param(type="choice", default=21, choices=(8, 13, 21)),
            "active": bt.Param(type="bool", default=True),
            "note": bt.Param(type="choice", default="a", choices=("a", "b")),
        },
    )
    table = bt.sweep(bt.synthetic(300), strategy)
    assert list(table.params) == ["length"]
    np.testing.assert_array_equal(table.params["length"], [8, 13, 21])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bars": None}, "bars: expected Bars, got NoneType"),
        ({"strategy": "close > open"}, "strategy: expected Strategy, got str"),
        ({"execution": {}}, "execution: expected Execution, got dict"),
        ({"control": True}, "control: expected Control, got bool"),
        ({"grid": ["n"]}, "grid: the grid is empty"),
        ({"threads": 0}, "threads: 0 threads"),
        ({"threads": 1.5}, "threads: 1.5 threads"),
        ({"threads": 10**30}, "threads: 1000000000000000000000000000000 threads"),
    ],
    ids=str,
)
def test_an_invalid_argument_of_a_sweep_is_named(engine: Any, changes: dict[str, Any], words: str) -> None:
    strategy = bt.Strategy(entry_long="close > sma(close, n)", params={"n": 3})
    given: dict[str, Any] = {"bars": bt.synthetic(50), "strategy": strategy, "grid": {"n": [3, 4]}}
    with pytest.raises(bt.BarstormError, match=words):
        bt.sweep(**{**given, **changes}, engine=engine)


def test_a_sweep_computes_the_metrics_it_is_asked_for_and_the_objective(engine: Any) -> None:
    bars = bt.synthetic(800)
    table = bt.sweep(bars, cross(), objective="total_return", metrics=["trades", "long_win_rate"], engine=engine)
    whole = bt.sweep(bars, cross(), engine=engine)
    for name in bt.metrics.NAMES:
        asked = name in ("total_return", "trades", "long_win_rate")
        np.testing.assert_array_equal(table.column(name), whole.column(name) if asked else np.full(len(table), np.nan))
    assert table.metrics(0).trades == int(table.column("trades")[0])
    assert table.metrics(0).wins is None
    with pytest.raises(bt.StrategyError, match="metrics: unknown metric 'sharp'"):
        bt.sweep(bars, cross(), metrics=["sharp"], engine=engine)
    with pytest.raises(bt.StrategyError, match="metrics: expected names, got 5; use a list"):
        bt.sweep(bars, cross(), metrics=cast(Any, 5), engine=engine)
    with pytest.raises(bt.StrategyError, match="returns: expected true or false, got 'yes'"):
        bt.sweep(bars, cross(), returns=cast(Any, "yes"), engine=engine)


def test_a_sweep_returns_daily_returns_on_request(engine: Any) -> None:
    bars = bt.synthetic(800)
    table = bt.sweep(bars, cross(), returns=True, metrics=[], engine=engine)
    assert bt.sweep(bars, cross(), engine=engine).returns is None
    assert table.returns is not None
    ends = np.flatnonzero(np.append(np.diff(bars.time // 86_400_000) > 0, True))
    np.testing.assert_array_equal(table.return_times, bars.time[ends])
    for i in range(len(table)):
        equity = bt.backtest(bars, table.strategy(i), engine=engine).equity[ends]
        np.testing.assert_array_equal(table.returns[i], equity / np.append(10_000, equity[:-1]) - 1)


def test_daily_returns_are_those_of_the_run_after_a_warm_up(engine: Any) -> None:
    bars = bt.synthetic(800)
    start, warm_up_from = int(bars.time[300]), int(bars.time[200])
    table = bt.sweep(bars, cross(), returns=True, start=start, warm_up_from=warm_up_from, engine=engine)
    assert table.returns is not None
    time = bars.time[300:]
    ends = np.flatnonzero(np.append(np.diff(time // 86_400_000) > 0, True))
    np.testing.assert_array_equal(table.return_times, time[ends])
    for i in range(len(table)):
        result = bt.backtest(bars, table.strategy(i), start=start, warm_up_from=warm_up_from, engine=engine)
        equity = result.equity[ends]
        np.testing.assert_array_equal(table.returns[i], equity / np.append(10_000, equity[:-1]) - 1)


def test_a_ruined_combination_has_no_returns_after_its_ruin(engine: Any) -> None:
    price = np.array([100.0, 100, 100, 1, 1, 1])
    bars = bt.Bars(np.arange(6) * 86_400_000, price, price, price, price, np.ones(6), timeframe="1d")
    strategy = bt.Strategy(entry_long="close > n", params={"n": 1})
    table = bt.sweep(bars, strategy, {"n": [1, 200]}, bt.Execution(leverage=5), objective="final_equity", returns=True, engine=engine)
    assert table.returns is not None
    assert table.returns[0, 3] == -1.0
    assert np.isnan(table.returns[0, 4:]).all()
    assert table.returns[1].tolist() == [0.0] * 6
