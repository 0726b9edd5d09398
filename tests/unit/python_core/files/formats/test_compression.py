"""Compressed files are bounded in size and checked."""

from __future__ import annotations

import zlib

import pytest

from python_core.files import read as files
from python_core.files.formats import compression
from tests.unit.python_core.files.samples import rejection, table, text, zstd


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


def test_without_a_zstd_module_the_error_says_how_to_install_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "_zstd", lambda: None)
    assert "backports.zstd" in str(rejection(b"\x28\xb5\x2f\xfd"))
