"""Marks that many tests share."""

from __future__ import annotations

import pytest

import python_core as bt

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
needs_rust = pytest.mark.skipif(bt.engine != "rust", reason=f"no compiled engine: {bt.engine_reason}")
