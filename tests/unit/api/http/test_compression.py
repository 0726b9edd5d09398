"""Which encoding an `Accept-Encoding` header prefers."""

from __future__ import annotations

import pytest

from api.http.compression import preferred


@pytest.mark.parametrize(
    ("accept_encoding", "expected"),
    [
        ("", None),
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "br"),
        ("GZip;q=1.0, br;q=0.5", "gzip"),
        ("zstd;q=0, br;q=0, gzip;q=0.001", "gzip"),
        ("zstd;q=0, *", "br"),
        ("*", "zstd"),
        ("*;q=0", None),
        ("identity", None),
        ("identity, gzip;q=0.5", None),
        ("identity;q=0.5, gzip", "gzip"),
        ("deflate, compress", None),
        ("gzipped", None),
        (",, ;q=1, gzip", "gzip"),
    ],
)
def test_the_highest_weight_wins_then_the_best_encoding(accept_encoding: str, expected: str | None) -> None:
    assert preferred(accept_encoding) == expected
