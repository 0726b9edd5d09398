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
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {within_s} s: {condition}")
        time.sleep(0.01)


async def until(condition: Callable[[], Awaitable[object]], within_s: float = 60) -> None:
    """Wait until the coroutine function returns a true value; fail at the deadline."""
    deadline = time.monotonic() + within_s
    while not await condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {within_s} s: {condition}")
        await asyncio.sleep(0.005)
