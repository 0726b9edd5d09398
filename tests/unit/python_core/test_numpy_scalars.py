"""NumPy's scalars are numbers wherever the library takes a number."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

import python_core as bt
from python_core.numerics.scalars import plain
from python_core.strategy import builder

RULES: dict[str, Any] = {"entry_long": "close > sma(close, n) * k", "exit_long": "close < sma(close, n)"}


@pytest.mark.parametrize("kind", [np.int8, np.int32, np.int64, np.uint16, np.float32, np.float64])
def test_a_scalar_parameter_equals_the_plain_one(kind: Any) -> None:
    strategy = bt.Strategy(**RULES, params={"n": kind(10), "k": kind(1)})
    assert strategy.hash == bt.Strategy(**RULES, params={"n": 10, "k": 1}).hash
    assert all(type(value) in (int, float) for value in strategy.values.values())
    assert msgspec.json.decode(msgspec.json.encode(strategy), type=bt.Strategy).hash == strategy.hash
    assert strategy.with_params(n=kind(20)).values["n"] == 20


def test_booleans_and_texts_of_numpy_are_plain_parameters() -> None:
    strategy = bt.Strategy(entry_long="close > open and on", params={"on": np.bool_(True), "name": np.str_("x")})  # type: ignore[dict-item]
    assert strategy.values == {"on": True, "name": "x"}
    assert [type(value) for value in strategy.values.values()] == [bool, str]


@pytest.mark.parametrize(
    "value", [np.float64("nan"), np.float32("inf"), np.datetime64("2024-01-01", "ns"), np.timedelta64(5, "m"), np.array([1.0])]
)
def test_a_scalar_that_is_no_finite_number_is_rejected(value: Any) -> None:
    with pytest.raises(bt.StrategyError, match=r"params\.n"):
        bt.Strategy(**RULES, params={"n": value, "k": 1})


def test_scalars_are_numbers_in_the_fields_of_a_param() -> None:
    given = bt.Param(type="int", default=np.int64(10), min=np.int32(5), max=np.float64(50), step=np.uint8(5))  # type: ignore[arg-type]
    assert given == bt.Param(type="int", default=10, min=5, max=50.0, step=5)
    assert given.search_values() == tuple(range(5, 55, 5))
    choice = bt.Param(type="choice", default=np.int64(2), choices=tuple(np.array([1, 2])))  # type: ignore[arg-type]
    assert msgspec.json.encode(choice) == msgspec.json.encode(bt.Param(type="choice", default=2, choices=(1, 2)))
    choice.check("n", np.int64(1))  # type: ignore[arg-type]


def test_scalars_are_numbers_in_a_grid() -> None:
    bars, strategy = bt.synthetic(300), bt.Strategy(**RULES, params={"n": 10, "k": 1})
    plain_grid = bt.sweep(bars, strategy, {"n": [5, 10], "k": [1.0]})
    scalars = bt.sweep(bars, strategy, {"n": np.array([5, 10], np.int16), "k": [np.float32(1)]}, threads=np.int64(1))  # type: ignore[arg-type, list-item]
    assert scalars.values.tobytes() == plain_grid.values.tobytes()


def test_scalars_are_numbers_in_the_builder() -> None:
    n = builder.param("n", np.int64(10), min=np.int64(5), max=np.float32(50))  # type: ignore[arg-type]
    made = builder.strategy(entry_long=builder.close > builder.sma(builder.close, n) * np.float64(1.5) + np.float32(0.5))
    assert made.entry_long == "close > sma(close, n) * 1.5 + 0.5"
    assert made.params["n"] == bt.Param(type="int", default=10, min=5, max=50.0)
    chosen = builder.param("m", np.int64(1), choices=np.array([1, 2]))  # type: ignore[arg-type]
    assert chosen.params["m"] == bt.Param(type="choice", default=1, choices=(1, 2))


def test_scalars_are_numbers_of_synthetic_bars_and_timeframes() -> None:
    made = bt.synthetic(np.int64(100), seed=np.uint64(7), timeframe=np.int64(60), tick=np.float64(0.01), price=np.float32(100))  # type: ignore[arg-type]
    expected = bt.synthetic(100, seed=7, timeframe="1h", tick=0.01, price=100)
    assert made.fingerprint == expected.fingerprint
    assert made.between(made.time[10], made.time[20]).fingerprint == expected[10:20].fingerprint  # type: ignore[arg-type]
    assert made[np.int64(10) : np.int64(20)].fingerprint == expected[10:20].fingerprint  # type: ignore[misc]
    rows = bt.Bars(made.time, made.open, made.high, made.low, made.close, made.volume, timeframe=np.int32(60))  # type: ignore[arg-type]
    assert rows.timeframe == "1h"


def test_only_numbers_booleans_and_texts_become_plain() -> None:
    moment = np.datetime64("2024-01-01", "ns")
    assert plain(moment) is moment
    assert plain("x") == "x"
    assert (plain(np.float32(0.5)), type(plain(np.float32(0.5)))) == (0.5, float)
