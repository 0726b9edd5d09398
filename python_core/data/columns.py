"""Column names, dtypes and checks of bars, funding rates and mark prices."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from python_core.errors import BarsError
from python_core.immutable import frozen

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

PRICES: Final = ("open", "high", "low", "close")
COLUMNS: Final = ("time", *PRICES, "volume")
# 9999-12-31: the last day that datetime can represent, and far below the limits of int64 arithmetic.
LAST_TIME_MS: Final = 253_402_300_799_999


def iso(time_ms: int | np.int64) -> str:
    """Epoch milliseconds as ISO 8601 in UTC, such as 2024-03-01T12:00Z, with seconds if they are not 0; the number itself outside the years
    of datetime."""
    try:
        seconds = "" if int(time_ms) // 1000 % 60 == 0 else ":%S"
        return datetime.fromtimestamp(int(time_ms) // 1000, UTC).strftime(f"%Y-%m-%dT%H:%M{seconds}Z")
    except (OverflowError, ValueError, OSError):
        return str(time_ms)


def float_column(name: str, values: npt.ArrayLike) -> Floats:
    """`values` as a read-only, contiguous float64 array; BarsError if the conversion would change a value."""
    array = _one_dimension(name, values)
    if array.dtype.kind not in "fiu" or array.dtype.itemsize > 8:
        raise BarsError(f"the dtype is {array.dtype}", where=name, hint="use float64")
    if array.dtype.kind in "iu" and (wide := (array > 2**53) | (array < -(2**53))).any():
        i = int(wide.argmax())
        raise BarsError(f"bar {i} has {array[i]}, which float64 can't hold", where=name, hint="use values up to 2**53")
    return frozen(np.require(array, np.float64, ["C", "A"]))


def integer_column(name: str, values: npt.ArrayLike) -> Integers:
    """`values` as a read-only, contiguous int64 array of epoch milliseconds; datetime64 is converted."""
    array = _one_dimension(name, values)
    if array.dtype.kind == "M":
        if np.isnat(array).any():
            raise BarsError(f"row {int(np.isnat(array).argmax())} is not a time (NaT)", where=name)
        milliseconds = array.astype("datetime64[ms]")
        # Converted back to compare, as a time beyond the range of milliseconds wraps around.
        if not (exact := milliseconds.astype(array.dtype) == array).all():
            i = int((~exact).argmax())
            raise BarsError(f"row {i} is {array[i]}, which int64 milliseconds can't hold", where=name, hint="use whole milliseconds")
        array = milliseconds.astype(np.int64)
    if array.dtype.kind == "f":
        integral = np.isfinite(array) & (np.abs(array) < 2**53)
        integral &= np.floor(np.where(integral, array, 0.5)) == array
        if not integral.all():
            i = int((~integral).argmax())
            raise BarsError(f"row {i} is {array[i]!s}, not a whole number of milliseconds", where=name, hint="use int64 epoch milliseconds")
    elif array.dtype.kind not in "iu" or array.dtype == np.uint64:
        raise BarsError(f"the dtype is {array.dtype}", where=name, hint="use int64 epoch milliseconds or datetime64")
    return frozen(np.require(array, np.int64, ["C", "A"]))


def _one_dimension(name: str, values: npt.ArrayLike) -> np.ndarray:
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise BarsError(f"bar {int(np.ma.getmaskarray(values).argmax())} is masked", where=name, hint="pass a value for each bar")
    try:
        array = np.asarray(values)
    except Exception as error:  # whatever an object's own conversion raises
        raise BarsError(f"not an array ({error})", where=name, hint="pass one number for each bar") from error
    if array.ndim != 1:
        raise BarsError(f"the shape is {array.shape}", where=name, hint="pass a one-dimensional array with one value for each bar")
    return array if array.size else array.astype(np.float64)


def funding_columns(time: npt.ArrayLike, rate: npt.ArrayLike) -> tuple[Integers, Floats]:
    """A checked funding series: int64 times, strictly increasing, and finite float64 rates."""
    times, rates = _times("funding time", time), float_column("funding rate", rate)
    if len(times) != len(rates):
        raise BarsError(f"{len(rates):,} values for {len(times):,} times", where="funding rate", hint="pass one rate for each time")
    if len(rates) and not np.isfinite(rates).all():
        i = int((~np.isfinite(rates)).argmax())
        raise BarsError(f"row {i} is {rates[i]!s}", where="funding rate", hint="rates must be finite fractions; 0.0001 is one basis point")
    return times, rates


def mark_columns(time: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike) -> tuple[Integers, Floats, Floats]:
    """A checked mark price series: int64 open times, strictly increasing, and the lowest and highest mark price of each bar."""
    times = _times("mark time", time)
    return times, *mark_extremes(times, low, high)


def _times(name: str, values: npt.ArrayLike) -> Integers:
    times = integer_column(name, values)
    if len(times) > 1 and not (ordered := times[1:] > times[:-1]).all():
        i = int((~ordered).argmax()) + 1
        raise BarsError(f"row {i} ({iso(times[i])}) is not after the row before", where=name, hint="times must be strictly increasing")
    return times


def mark_extremes(times: Integers, low: npt.ArrayLike, high: npt.ArrayLike) -> tuple[Floats, Floats]:
    """The checked lowest and highest mark price of the bars at `times`: finite, > 0, low <= high."""
    columns = float_column("mark low", low), float_column("mark high", high)
    for name, values in zip(("mark low", "mark high"), columns, strict=True):
        if len(values) != len(times):
            raise BarsError(f"{len(values):,} values for {len(times):,} bars", where=name, hint="pass one value for each bar")
        if len(values) and not (np.isfinite(values.max()) and values.min() > 0):
            i = int((~(np.isfinite(values) & (values > 0))).argmax())
            raise BarsError(f"bar {i} has {values[i]!s}", where=name, hint="prices must be finite and greater than 0")
    if (columns[0] > columns[1]).any():
        i = int((columns[0] > columns[1]).argmax())
        raise BarsError(
            f"bar {i} has {columns[0][i]} above the mark high {columns[1][i]}", where="mark low", hint="low must not be above high"
        )
    return columns
