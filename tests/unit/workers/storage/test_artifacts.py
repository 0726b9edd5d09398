"""Local files."""

from __future__ import annotations

import os
from pathlib import Path

import polars
import pytest

from workers.storage import artifacts


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
def test_a_full_disk_is_an_os_error_so_that_the_run_is_retried() -> None:
    frame = polars.DataFrame({"equity": [1.0] * 100_000})
    with Path("/dev/full").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        artifacts.write_parquet(frame, file)


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="this system has no anonymous files")
def test_a_draft_is_published_without_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(artifacts, "_copy")
    folder = artifacts.Folder(tmp_path)
    kept = artifacts.write(folder, lambda file: file.write(b"whole"))
    assert folder.read(kept.hash).read_bytes() == b"whole"
