"""Synthetic bars are the same everywhere, always valid, and move like a market."""

from __future__ import annotations

import hashlib
import sys
from datetime import datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from python_core.data import timeframes
from python_core.data.columns import COLUMNS, PRICES
from python_core.data.synthetic import synthetic
from python_core.errors import BarsError, BarstormError
from tests.support.cases import CASES


def content(**arguments: Any) -> str:
    """A hash of the bytes, independent of the definition of fingerprints."""
    made = synthetic(**arguments)
    return hashlib.sha256(
        b"".join(getattr(made, name).astype(getattr(made, name).dtype.newbyteorder("<")).tobytes() for name in COLUMNS)
    ).hexdigest()


def test_a_seed_gives_the_same_bytes_on_every_machine() -> None:
    assert content() == "eac59b413e405917c103e9db9e31b8fa2f759dfcae8b405a133f9b3edb68b95b"
    assert (
        content(bars=50_000, seed=2**64 - 1, timeframe="1m", tick=0.25, price=4_000)
        == "0c7d00017dd96406353ef2660530b76988d322a847cac63a00077ab1156da4e6"
    )


def test_the_default_seed_starts_with_these_bars() -> None:
    made = synthetic(3)
    assert made.time.tolist() == [1_577_836_800_000 + 3_600_000 * i for i in range(3)]
    rows = [[float(getattr(made, name)[i]) for name in (*PRICES, "volume")] for i in range(3)]
    assert rows == [[100.03, 100.92, 99.91, 100.67, 70.774], [100.69, 100.71, 100.14, 100.21, 51.94], [100.24, 100.24, 99.5, 99.77, 38.342]]


@settings(max_examples=max(CASES // 5, 1))
@given(
    bars=st.integers(1, 300),
    seed=st.integers(0, 2**64 - 1),
    name=st.sampled_from(list(timeframes.MILLISECONDS)),
    tick=st.sampled_from([0.01, 0.00001, 0.05, 0.25, 1.0, 5.0, 0.03, 1e-8]),
    size=st.floats(1, 1e6),
)
def test_any_arguments_give_valid_bars_of_whole_ticks(bars: int, seed: int, name: str, tick: float, size: float) -> None:
    made = synthetic(bars, seed=seed, timeframe=name, tick=tick, price=tick * size)  # Bars itself checks that each bar is valid
    assert (len(made), made.timeframe, made.symbol) == (bars, name, "SYNTHETIC")
    assert (timeframes.bucket_start(made.time, made.timeframe_ms) == made.time).all()
    assert (timeframes.steps(made.time, made.timeframe_ms) == 1).all()
    for column in PRICES:
        prices = getattr(made, column)
        ticks = np.round(prices / tick)
        assert (np.abs(prices - ticks * tick) <= 1e-15 * prices).all()
    assert made.close.max() <= tick * size * 8 * 1.01 + tick
    assert made.close.min() >= max(tick * size / 8 * 0.99 - tick, tick * 0.999)


def test_prices_are_the_doubles_closest_to_their_decimals() -> None:
    for tick, places in ((0.01, 2), (0.00001, 5)):
        made = synthetic(5_000, tick=tick)
        assert all(value == round(value, places) for name in PRICES for value in getattr(made, name).tolist())


def test_a_longer_history_starts_with_the_shorter_one() -> None:
    assert synthetic(100_000)[:70_000].fingerprint == synthetic(70_000).fingerprint


def test_the_block_size_does_not_affect_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = synthetic(10_000)
    monkeypatch.setattr(sys.modules["python_core.data.synthetic"], "_BLOCK", 77)
    assert synthetic(10_000).fingerprint == expected.fingerprint


def test_different_seeds_give_different_markets() -> None:
    assert len({synthetic(100, seed=seed).fingerprint for seed in range(50)}) == 50


def test_the_market_has_trends_ranges_and_volatile_periods() -> None:
    made = synthetic(200_000)
    returns = np.diff(np.log(made.close))
    assert 0.004 < returns.std() < 0.012
    assert np.mean((returns / returns.std()) ** 4) > 4  # fat tails: calm and volatile periods alternate
    size = np.abs(returns)
    assert np.corrcoef(size[:-50], size[50:])[0, 1] > 0.1  # and persist
    days = np.log(made.close[::100])
    weekly = np.diff(days)
    assert (weekly > 0.1).sum() > 50
    assert (weekly < -0.1).sum() > 50
    quiet = np.array([made.close[i : i + 100].max() / made.close[i : i + 100].min() for i in range(0, 200_000, 100)])
    assert (quiet < 1.04).sum() > 50
    assert np.corrcoef(made.volume[1:], size)[0, 1] > 0.2


def test_volatility_grows_with_the_root_of_the_timeframe() -> None:
    minute, hour = (np.diff(np.log(synthetic(50_000, timeframe=name, price=50_000).close)).std() for name in ("1m", "1h"))
    assert hour / minute == pytest.approx(60**0.5, rel=0.02)


def test_the_start_is_utc_and_rounded_down_to_its_bar() -> None:
    def first(start: Any, name: str = "1h") -> int:
        return int(synthetic(2, start=start, timeframe=name).time[0])

    assert first("2021-11-17T01:30") == 1_637_110_800_000
    assert first("2021-11-17T04:00+03:00") == 1_637_110_800_000
    assert first(datetime(2021, 11, 17, 1, 59)) == 1_637_110_800_000
    assert first("2020-01-01", "1w") == first("2019-12-30", "1d")  # a Monday


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ({"bars": 0}, "bars"),
        ({"bars": -5}, "bars"),
        ({"bars": 10**12}, "bars"),
        ({"bars": True}, "bars"),
        ({"bars": 2.5}, "bars"),
        ({"seed": -1}, "seed"),
        ({"seed": "x"}, "seed"),
        ({"tick": 0.0}, "tick"),
        ({"tick": float("nan")}, "tick"),
        ({"price": 0.001}, "tick"),
        ({"price": float("inf")}, "tick"),
        ({"start": "soon"}, "start"),
        ({"start": "1969-12-31"}, "start"),
        ({"start": "9999-12-31"}, "bars"),
        ({"timeframe": "7m"}, "timeframe"),
    ],
)
def test_an_argument_out_of_range_is_reported_by_name(arguments: dict[str, Any], where: str) -> None:
    with pytest.raises(BarstormError) as caught:
        synthetic(**arguments)
    assert caught.value.where == where
    assert caught.value.hint
    assert isinstance(caught.value, BarsError) or where == "timeframe"
