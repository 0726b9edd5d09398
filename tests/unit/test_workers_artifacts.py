"""Files that can't be written."""

from __future__ import annotations

from pathlib import Path

import polars
import pytest

from workers import artifacts


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
def test_a_full_disk_is_an_os_error_so_that_a_run_is_tried_again() -> None:
    frame = polars.DataFrame({"equity": [1.0] * 100_000})
    with Path("/dev/full").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        artifacts.write_parquet(frame, file)
