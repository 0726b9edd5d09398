"""JSON lines: the same bits as other formats, and errors that name the line."""

from __future__ import annotations

import gzip
import re

from python_core.data.synthetic import synthetic
from python_core.files import read as files
from tests.unit.python_core.files.samples import rejection


def test_json_lines_are_read_with_the_same_bits_and_errors_name_the_line() -> None:
    bars = synthetic(2_000, timeframe="1m")
    text = bars.to_polars().write_ndjson()
    assert files.read_bars(text.encode()).fingerprint == bars.fingerprint
    assert files.read_bars(gzip.compress(text.encode())).fingerprint == bars.fingerprint
    lines = text.splitlines()
    strings = [re.sub(r":([\d.]+)", r':"\1"', line) for line in lines]
    assert files.read_bars("\n".join(strings).encode()).fingerprint == bars.fingerprint
    assert files.read_bars("\n\n".join(lines).encode()).fingerprint == bars.fingerprint
    lines[1200] = lines[1200].replace('"high":', '"hi":')
    assert "line 1201, high: the cell is empty" in str(rejection("\n".join(lines).encode()))
    lines[1200] = '{"time": oops'
    assert "line 1201" in str(rejection("\n".join(lines).encode()))
