"""Whatever a file holds, reading it gives bars or an error of the library."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from python_core.data.synthetic import synthetic
from python_core.errors import BarsError, FileError
from python_core.files import read as files
from tests.unit.python_core.files.samples import FEWER, WRITERS, table, text

VALID = {kind: WRITERS[kind](synthetic(300)) for kind in ("csv", "gzip", "parquet", "arrow", "arrow stream")}


def read_or_reject(data: bytes) -> None:
    for policy in ("reject", "drop", "repair"):
        try:
            outcome = f"{len(files.read_bars(data, policy=policy))} bars"
        except (FileError, BarsError) as error:
            outcome = str(error)
        assert "not a readable file" not in outcome  # the last resort for unforeseen errors


@given(
    st.binary(max_size=400),
    st.sampled_from(
        [b"", b"PAR1", b"ARROW1\0\0", b"\xff\xff\xff\xff", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"time,open,high,low,close,volume\n"]
    ),
)
@example(b"\r\r\r", b"")
def test_random_bytes_raise_only_library_errors(data: bytes, start: bytes) -> None:
    read_or_reject(start + data)


@settings(max_examples=FEWER)
@given(st.text(alphabet=",;\t|\n\r\"'.-+eE0123456789 :TZNaninf/éx", max_size=300))
def test_random_cells_raise_only_library_errors(cells: str) -> None:
    read_or_reject(b"time,open,high,low,close,volume\n" + cells.encode())
    read_or_reject(text(table()) + cells.encode())


@pytest.mark.parametrize("kind", VALID)
@given(st.data())
@settings(max_examples=FEWER)
def test_a_damaged_file_raises_only_library_errors(kind: str, data: st.DataObject) -> None:
    damaged = bytearray(VALID[kind])
    for position in data.draw(st.lists(st.integers(0, len(damaged) - 1), max_size=4)):
        damaged[position] = data.draw(st.integers(0, 255))
    read_or_reject(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))
    read_or_reject(bytes(damaged))
