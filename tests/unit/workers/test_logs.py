"""Logs name no API key, wherever it stands."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from workers import logs
from workers.settings import Settings

PREFIX = "bst_0123456789ab"
KEY = f"{PREFIX}_{'A-_' * 14}A"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers, root.level
    yield
    root.handlers, level = before
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_key_is_logged_as_its_prefix(capsys: pytest.CaptureFixture[str], log_format: Literal["console", "json"]) -> None:
    logs.set_up(Settings(log_format=log_format))
    try:
        raise ValueError(f"dataset {KEY!r} not found")
    except ValueError:
        structlog.stdlib.get_logger("x").exception("failed", path=f"/keys/{KEY}")
    logging.getLogger("y").warning("reference %s", KEY)
    written = capsys.readouterr().err
    assert written.count(PREFIX) >= 3
    assert "A-_" not in written
