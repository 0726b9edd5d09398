"""Times in every form that callers use."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pytest

from python_core.data.epoch import to_epoch_ms
from python_core.errors import BarsError

NEW_YEAR = 1_325_376_000_000  # 2012-01-01 00:00 UTC
HOUR = 3_600_000


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0),
        (-5, -5),
        (2**53, 2**53),
        (np.int64(7), 7),
        ("2012-01-01", NEW_YEAR),
        (" 2012-01-01T05:00 ", NEW_YEAR + 5 * HOUR),
        ("2012-01-01T05:00:00Z", NEW_YEAR + 5 * HOUR),
        ("2012-01-01 05:00+02:00", NEW_YEAR + 3 * HOUR),
        ("1969-12-31T23:59:59.999", -1),
        (date(2012, 1, 1), NEW_YEAR),
        (datetime(2012, 1, 1, 1), NEW_YEAR + HOUR),
        (datetime(2012, 1, 1, 1, tzinfo=UTC), NEW_YEAR + HOUR),
        (datetime(2012, 1, 1, 1, tzinfo=timezone(timedelta(hours=-1))), NEW_YEAR + 2 * HOUR),
        (datetime(2012, 1, 1, microsecond=1), NEW_YEAR + 1),
        (datetime(9999, 12, 31), 253_402_214_400_000),
        (np.datetime64("2012-01-01"), NEW_YEAR),
        (np.datetime64("2012-01"), NEW_YEAR),
        (np.datetime64("2012-01-01T00:00:00.000000001"), NEW_YEAR + 1),
        (pd.Timestamp("2012-01-01"), NEW_YEAR),
        (pd.Timestamp("2012-01-01T02:00", tz="Europe/Berlin"), NEW_YEAR + HOUR),
    ],
)
def test_a_time_is_epoch_milliseconds_in_utc(value: Any, expected: int) -> None:
    assert to_epoch_ms(value, "start") == expected


@pytest.mark.parametrize(
    "value",
    [
        "",
        "soon",
        "2012-13-01",
        "1325376000000",
        "2012-01-01+02:00",
        "2012-01-01-0200",
        "2012-01-01x05:00",
        None,
        True,
        1.5,
        b"2012-01-01",
        [2012],
        2**63,
        np.datetime64("NaT"),
        pd.NaT,
        np.array([1, 2]),
    ],
)
def test_anything_else_is_an_error_that_names_the_argument(value: Any) -> None:
    with pytest.raises(BarsError, match=r"is not a time; use epoch milliseconds, ISO 8601 text such as ") as caught:
        to_epoch_ms(value, "start")
    assert (caught.value.where, caught.value.code) == ("start", "invalid_time")
