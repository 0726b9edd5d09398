"""Times that callers give, as epoch milliseconds."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import numpy as np

from python_core.errors import BarsError

Moment = int | str | date | np.datetime64
_ISO_8601: Final = re.compile(r"\d{4}(-?\d\d-?\d\d|-?W\d\d(-?\d)?)([Tt ].+)?", re.ASCII | re.DOTALL)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def to_epoch_ms(value: Moment, where: str) -> int:
    """A time as UTC epoch milliseconds.

    Args:
        value: epoch milliseconds, ISO 8601 text (`"2012-01-01"`, `"2012-01-01T05:00+02:00"`), a datetime or date, a NumPy datetime64 or a
            pandas Timestamp; in UTC unless it has an offset. Parts of a millisecond are rounded up.
        where: name of the argument, for the error.

    Raises:
        BarsError: not a time.
    """
    moment: object = value
    if callable(convert := getattr(moment, "to_datetime64", None)):  # a pandas Timestamp
        moment = convert()
    try:
        if isinstance(moment, np.datetime64):
            return _from_datetime64(moment)
        if isinstance(moment, int | np.integer) and not isinstance(moment, bool) and -(2**63) <= int(moment) < 2**63:
            return int(moment)
        if isinstance(moment, str):
            if not _ISO_8601.fullmatch(
                text := moment.strip()
            ):  # Python takes any character between date and time, even the sign of an offset
                raise ValueError
            moment = datetime.fromisoformat(text)
        if isinstance(moment, datetime):
            utc = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
            return -((_EPOCH - utc) // timedelta(milliseconds=1))
        if isinstance(moment, date):
            return to_epoch_ms(datetime.combine(moment, time(tzinfo=UTC)), where)
    except (ValueError, OverflowError):
        pass
    raise BarsError(
        f"{value!r:.60} is not a time",
        where=where,
        hint="use epoch milliseconds, ISO 8601 text such as 2012-01-01T05:00Z, a datetime or a date",
        code="invalid_time",
    )


def _from_datetime64(moment: np.datetime64) -> int:
    if np.isnat(moment):
        raise ValueError
    milliseconds = moment.astype("datetime64[ms]")
    rounded = int(milliseconds.astype(np.int64))
    return rounded + 1 if milliseconds < moment else rounded
