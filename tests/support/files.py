"""Bars as the bytes of a file."""

from __future__ import annotations

import io

import python_core as bt


def csv(bars: bt.Bars) -> bytes:
    return bars.to_polars().write_csv().encode()


def parquet(bars: bt.Bars) -> bytes:
    file = io.BytesIO()
    bars.to_polars().write_parquet(file)
    return file.getvalue()
