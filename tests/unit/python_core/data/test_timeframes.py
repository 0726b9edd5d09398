"""Names of timeframes, and the alignment of their bars."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from python_core.data import timeframes
from python_core.errors import BarstormError


@pytest.mark.parametrize(
    ("given", "name"),
    [
        *((name, name) for name in ["1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d", "1w"]),
        *((minutes, name) for minutes, name in ((1, "1m"), (60, "1h"), (240, "4h"), (1_440, "1d"), (10_080, "1w"))),
        *((text, name) for text, name in (("60", "1h"), (" 5 ", "5m"), ("720", "12h"), ("D", "1d"), ("W", "1w"))),
    ],
)
def test_every_way_to_write_a_timeframe_gives_its_canonical_name(given: str | int, name: str) -> None:
    assert timeframes.parse(given) == name


@pytest.mark.parametrize("given", ["", "7m", "1M", "1s", 0, -60, 7, "60m", "٦٠", "1e2", None, 1.5, True, "x" * 10_000, 10**30])
def test_an_unknown_timeframe_is_rejected_with_the_known_ones(given: Any) -> None:
    with pytest.raises(BarstormError) as caught:
        timeframes.parse(given)
    assert caught.value.code == "unknown_timeframe"
    assert "1m 3m 5m 15m 30m 1h 2h 4h 6h 12h 1d 1w" in caught.value.hint
    assert len(str(caught.value)) < 300


def test_a_timeframe_is_as_long_as_its_name_says() -> None:
    units = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
    for name in timeframes.MILLISECONDS:
        assert timeframes.milliseconds(name) == int(name[:-1]) * units[name[-1]]


def test_the_smallest_step_is_the_timeframe() -> None:
    assert timeframes.infer(np.array([0, 3, 4, 10]) * 300_000) == "5m"
    with pytest.raises(BarstormError, match="90,000 ms"):
        timeframes.infer(np.array([0, 90_000, 300_000]))
    with pytest.raises(BarstormError, match="give the timeframe"):
        timeframes.infer(np.array([0]))


@given(st.integers(0, 253_402_300_799_999), st.sampled_from(list(timeframes.MILLISECONDS)))
def test_a_time_belongs_to_the_last_bar_that_starts_before_it(time_ms: int, name: str) -> None:
    length = timeframes.milliseconds(name)
    start = int(timeframes.bucket_start(np.array([time_ms]), length)[0])
    assert start <= time_ms < start + length
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=start)
    assert (moment.second, moment.microsecond) == (0, 0)
    if name == "1w":
        assert (moment.weekday(), moment.hour, moment.minute) == (0, 0, 0)
    else:
        assert (moment.hour * 60 + moment.minute) % (length // 60_000) == 0
