"""Compressed files are bounded in size and checked."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable

import pytest

import python_core as bt
from python_core.files import read as files
from python_core.files.formats import compression
from tests.support.files import csv
from tests.unit.python_core.files.samples import rejection, table, text, zstd


def zipped(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bars.csv", data)
    return file.getvalue()


def test_a_decompression_bomb_is_rejected_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "MAX_BYTES", 1 << 20)
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = packer.compress(bytes(1 << 24)) + packer.flush()
    assert rejection(bomb).code == "file_too_large"


def test_a_zstd_file_is_bounded_and_checked_like_a_gzip_file(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = zstd(text(table()))
    assert "not a complete zstd file" in str(rejection(packed[:-5]))
    monkeypatch.setattr(compression, "MAX_BYTES", 1 << 20)
    assert len(files.read_bars(packed)) == 6
    assert rejection(zstd(bytes(1 << 24))).code == "file_too_large"


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd,
    "zip": zipped,
}


@pytest.mark.parametrize("kind", PACKERS)
def test_a_small_file_that_unpacks_to_many_rows_is_rejected(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    header, row = b"time,open,high,low,close,volume\n", b"1704067200000,1,1,1,1,1\n"
    bomb = PACKERS[kind](header + row * 200_000)
    monkeypatch.setattr(compression, "RATIO_FLOOR", 1 << 20)
    error = rejection(bomb, policy="drop")
    assert error.code == "file_too_large"
    assert f"the limit for a file of {len(bomb):,} bytes" in str(error)


def test_a_small_parquet_file_of_many_rows_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    polars = pytest.importorskip("polars")
    file = io.BytesIO()
    flat = {name: polars.repeat(1.0, 1_000_000, eager=True) for name in ("open", "high", "low", "close")}
    polars.DataFrame({"time": polars.repeat(1_704_067_200_000, 1_000_000, eager=True), **flat}).write_parquet(file)
    monkeypatch.setattr(compression, "RATIO_FLOOR", 1 << 20)
    assert rejection(file.getvalue(), policy="drop").code == "file_too_large"


def test_real_bars_are_far_below_the_limits() -> None:
    text_ = csv(bt.synthetic(20_000))
    for pack in PACKERS.values():
        assert len(text_) < 20 * len(pack(text_)) < compression.MAX_RATIO * len(pack(text_)) / 5


def test_without_a_zstd_module_the_error_says_how_to_install_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "_zstd", lambda: None)
    assert "backports.zstd" in str(rejection(b"\x28\xb5\x2f\xfd"))
