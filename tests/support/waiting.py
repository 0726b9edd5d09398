"""Wait for a condition; the deadline only bounds a hang."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

Eventually = Callable[..., None]
Until = Callable[..., Awaitable[None]]


def eventually(condition: Callable[[], object], within_s: float = 60) -> None:
    """Wait until the function returns a true value; fail at the deadline."""
    began = time.monotonic()
    while not condition():
        time.sleep(_pause_s(time.monotonic() - began, within_s, condition))


async def until(condition: Callable[[], Awaitable[object]], within_s: float = 60) -> None:
    """Wait until the coroutine function returns a true value; fail at the deadline."""
    began = time.monotonic()
    while not await condition():
        await asyncio.sleep(_pause_s(time.monotonic() - began, within_s, condition))


def _pause_s(waited_s: float, within_s: float, condition: object) -> float:
    """Until the next look. Looking often takes processor time from what is awaited, so what takes long is looked at less often."""
    if waited_s > within_s:
        pytest.fail(f"not within {within_s} s: {condition}")
    return min(0.005 + waited_s / 20, 0.1)
