"""Bars of tables in memory: those of pandas and polars, and any with Arrow's C stream interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from python_core.data.bars import Bars
from python_core.errors import FileError
from python_core.files.cleaning import clean
from python_core.files.headers import NAMES, normalize, translate_errors
from python_core.files.options import Keywords, read_options
from python_core.files.read import select

if TYPE_CHECKING:
    import polars


def from_arrow(table: Any, **options: Unpack[Keywords]) -> Bars:
    """Bars of a table with Arrow's C stream interface (`__arrow_c_stream__`), as in pyarrow, polars, pandas and DuckDB.

    Columns are found by name, as in a file. Options and errors are those of `read_bars`.
    """
    with translate_errors("", "an Arrow table"):
        import polars

        if not isinstance(table, polars.DataFrame):
            if not hasattr(table, "__arrow_c_stream__"):
                raise FileError(f"expected an Arrow table, got {type(table).__name__}", hint="pass an object with __arrow_c_stream__")
            table = polars.DataFrame(table)
        return _bars(table, "arrow", options)


def from_polars(frame: Any, **options: Unpack[Keywords]) -> Bars:
    """See `Bars.from_polars`."""
    with translate_errors("", "a table of polars"):
        import polars

        if isinstance(frame, polars.LazyFrame):
            frame = frame.collect()
        if not isinstance(frame, polars.DataFrame):
            raise FileError(f"expected a DataFrame of polars, got {type(frame).__name__}", hint="use Bars.from_pandas or from_arrow")
        return _bars(frame, "polars", options)


def from_pandas(frame: Any, **options: Unpack[Keywords]) -> Bars:
    """See `Bars.from_pandas`."""
    if not (hasattr(frame, "index") and hasattr(frame, "columns") and hasattr(frame, "to_numpy")):
        raise FileError(f"expected a DataFrame of pandas, got {type(frame).__name__}", hint="use Bars.from_polars or from_arrow")
    with translate_errors("", "a table of pandas"):
        import polars

        if frame.index.nlevels > 1:
            frame = frame.reset_index()
        titles = [str(title) for title in frame.columns]
        columns = [_series(frame.iloc[:, i]) for i in range(len(titles))]
        is_time = frame.index.dtype.kind == "M" or hasattr(frame.index.dtype, "tz")
        if is_time or not any(normalize(title) in NAMES["time"] for title in titles):
            titles, columns = [str(frame.index.name or "time"), *titles], [_series(frame.index), *columns]
        if len(set(titles)) < len(titles):
            twice = next(title for title in titles if titles.count(title) > 1)
            raise FileError(f"two columns are named {twice}", where=twice, hint="keep one of them", code="two_columns")
        return _bars(polars.DataFrame(dict(zip(titles, columns, strict=True))), "pandas", options)


def _series(values: Any) -> polars.Series:
    """A column or an index of pandas."""
    import polars

    if getattr(values.dtype, "tz", None) is not None:
        zoned = values.dt if hasattr(values, "dt") else values
        utc = zoned.tz_convert("UTC").tz_localize(None) if zoned is values else zoned.tz_convert("UTC").dt.tz_localize(None)
        return _series(utc).dt.replace_time_zone("UTC")
    array = values.to_numpy()
    if array.dtype.kind == "M" and np.datetime_data(array.dtype)[0] not in ("ns", "us", "ms"):
        array = array.astype("datetime64[ms]")
    if array.dtype.kind in "fiubM":
        return polars.Series(np.ascontiguousarray(array))
    missing = values.isna()
    cells = [None if empty else value for value, empty in zip(array.tolist(), missing, strict=True)]
    if all(cell is None or isinstance(cell, int | float) for cell in cells):
        return polars.Series(cells, strict=False)
    return polars.Series([None if cell is None else str(cell) for cell in cells], dtype=polars.String)


def _bars(frame: polars.DataFrame, format: str, options: Keywords) -> Bars:
    checked = read_options(**options)
    return clean(select(frame.lazy(), "", format, checked), checked)[0]
