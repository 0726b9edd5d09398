"""The settings of older requests, applied to strategies and executions."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

import python_core as bt
from api.http.older.backtests import OlderBacktestRequest
from api.http.older.config import changes_strategy, check_config, configure, levels
from api.http.older.filters import OlderFilter
from api.http.problems import ProblemError

SIDES = {
    "entry_long": "crossover(close, sma(close, n))",
    "exit_long": "",
    "entry_short": "crossunder(close, sma(close, n))",
    "exit_short": "close > open",
}
STRATEGY = bt.Strategy(
    **SIDES,  # type: ignore[arg-type]
    params={"n": 20, "self": 1, "mode": bt.Param(type="choice", default="a", choices=("a", "b")), "on": True},
    htf_filters={"long": [{"timeframe": "1d", "condition": "close > open"}], "short": [{"timeframe": "1w", "condition": "close < open"}]},  # type: ignore[dict-item]
)


@pytest.mark.parametrize(("percent", "fraction"), [(2, 0.02), (0.6, 0.006), (5.5, 0.055), (1.1, 0.011), (0.29, 0.0029), (99.9, 0.999)])
def test_percentages_are_the_nearest_fractions(percent: float, fraction: float) -> None:
    assert levels({"stop_loss_pct": percent, "take_profit_pct": None}) == {"stop_loss": fraction}


def test_without_a_side_its_entries_are_exits_of_the_other() -> None:
    long = configure(STRATEGY, {"direction": "long"}, ())
    filtered = "crossunder(close, sma(close, n)) and at('1w', close < open)"
    assert (long.entry_long, long.entry_short, long.exit_short) == (SIDES["entry_long"], "", "")
    assert long.exit_long == f"({filtered})"
    assert set(long.htf_filters) == {"long"}
    short = configure(STRATEGY, {"direction": "short"}, ())
    assert short.exit_short == "(close > open) or (crossover(close, sma(close, n)) and at('1d', close > open))"
    bars = bt.synthetic(3_000)
    both = bt.backtest(bars, STRATEGY)
    assert {trade.side for trade in both.trades} == {"long", "short"}
    of_both = [(trade.entry_time, trade.exit_time) for trade in both.trades if trade.side == "long"]
    assert [(trade.entry_time, trade.exit_time) for trade in bt.backtest(bars, long).trades] == of_both


def test_an_exit_that_is_the_opposite_entry_is_not_repeated() -> None:
    strategy = bt.Strategy(entry_long="close > open", exit_long="close<open", entry_short="close < open", exit_short="close>open")
    assert configure(strategy, {"direction": "long"}, ()).exit_long == "(close < open)"


def test_filters_are_added_to_all_entries() -> None:
    added = OlderFilter(timeframe="240", type="trend_ma", period=200, condition="price_above")
    filtered = configure(STRATEGY, {}, (added,))
    assert [[each.timeframe for each in filtered.htf_filters[side]] for side in ("long", "short")] == [["1d", "4h"], ["1w", "4h"]]
    assert filtered.condition("entry_short").endswith("at('4h', close > sma(close, 200))")
    assert configure(STRATEGY, {"direction": "long"}, (added,)).htf_filters.keys() == {"long"}


def test_params_of_every_kind_are_set_by_name() -> None:
    changed = configure(STRATEGY, {"n": 25, "self": 2, "mode": "b", "on": False, "stop_loss_pct": 2}, ())
    assert changed.values == {"n": 25, "self": 2, "mode": "b", "on": False}
    assert configure(STRATEGY, {"n": None}, ()) == STRATEGY


def test_settings_of_the_execution_leave_the_strategy_alone() -> None:
    assert not changes_strategy({"stop_loss_pct": 2, "take_profit_pct": 5, "direction": "both"})
    assert changes_strategy({"direction": "long"})
    assert changes_strategy({"n": 5})


ODD = [None, True, 0, -1, 1.5, 1e308, 10**30, "", "x", "long", [], [1], {}, {"a": 1}]


@pytest.mark.parametrize("name", ["stop_loss_pct", "take_profit_pct", "direction", "n", "self", "mode", "on", "", "x" * 500])
@pytest.mark.parametrize("value", ODD)
def test_odd_settings_are_applied_or_refused_by_name(name: str, value: Any) -> None:
    refused = []
    try:
        check_config({name: value})
        bt.Execution(**levels({name: value}))  # type: ignore[arg-type]
        configure(STRATEGY, {name: value}, ())
    except ValueError as error:
        refused = [f"$.{str(error).partition(': ')[0]}"]
    except ProblemError as problem:
        refused = [each.path for each in problem.errors]
    assert refused in ([], [f"$.config.{name[:60]}"])


def test_a_request_without_aliases_is_valid_in_the_words_of_today() -> None:
    request = msgspec.json.decode(b'{"dataset": "d", "strategy": "s", "start": 5, "end": 9}', type=OlderBacktestRequest)
    assert (request.selection()["start"], request.selection()["end"], request.execution) == (5, 9, bt.Execution())
