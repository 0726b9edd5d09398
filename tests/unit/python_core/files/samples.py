"""Files of bars in every format, for the tests of reading."""

from __future__ import annotations

import gzip
import io
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import polars
import pytest

from python_core.data.bars import Bars
from python_core.data.columns import COLUMNS
from python_core.errors import BarsError, BarstormError, FileError
from python_core.files import read as files
from python_core.files import tables
from python_core.files.formats import compression
from tests.support.cases import CASES

FEWER = max(CASES // 5, 1)

HOURS = np.array([1_637_110_800_000 + 3_600_000 * i for i in range(6)])


def table(rows: int = 6) -> list[list[str]]:
    """A header and hourly rows, as text."""
    lines = [[str(time), "1.5", "2.25", "1.25", "1.75", "10"] for time in itertools.islice(itertools.cycle(HOURS.tolist()), rows)]
    return [list(COLUMNS), *lines]


def text(rows: list[list[str]], separator: str = ",", end: str = "\n") -> bytes:
    return "".join(separator.join(row) + end for row in rows).encode()


def with_times(times: list[str]) -> bytes:
    return text([list(COLUMNS), *([time, "1.5", "2.25", "1.25", "1.75", "10"] for time in times)])


def rejection(source: Any, **options: Any) -> BarstormError:
    with pytest.raises((FileError, BarsError)) as caught:
        files.read_bars(source, **options)
    error = caught.value
    assert error.code
    assert error.hint
    return error


def rejection_of_frame(frame: Any) -> BarstormError:
    with pytest.raises((BarsError, FileError)) as caught:
        tables.from_arrow(frame)
    return caught.value


def zstd(data: bytes) -> bytes:
    packed: bytes = compression._zstd().compress(data)
    return packed


def write_to_bytes(write: Callable[[polars.DataFrame, io.BytesIO], object], bars: Bars) -> bytes:
    buffer = io.BytesIO()
    write(bars.to_polars(), buffer)
    return buffer.getvalue()


WRITERS: dict[str, Callable[[Bars], bytes]] = {
    "csv": lambda bars: write_to_bytes(lambda frame, to: frame.write_csv(to), bars),
    "csv with semicolons": lambda bars: write_to_bytes(lambda frame, to: frame.write_csv(to, separator=";"), bars),
    "csv with decimal commas": lambda bars: write_to_bytes(lambda frame, to: frame.write_csv(to, separator="\t", decimal_comma=True), bars),
    "quoted csv": lambda bars: write_to_bytes(lambda frame, to: frame.write_csv(to, quote_style="always"), bars),
    "gzip": lambda bars: gzip.compress(WRITERS["csv"](bars), 1),
    "zstd": lambda bars: zstd(WRITERS["csv"](bars)),
    "parquet": lambda bars: write_to_bytes(lambda frame, to: frame.write_parquet(to), bars),
    "arrow": lambda bars: write_to_bytes(lambda frame, to: frame.write_ipc(to), bars),
    "arrow stream": lambda bars: write_to_bytes(lambda frame, to: frame.write_ipc_stream(to), bars),
}
