"""Tasks in the background end when they must, and only then."""

from __future__ import annotations

import asyncio

import pytest

from workers import background

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_task_that_swallows_a_cancellation_is_cancelled_again() -> None:
    swallowed = 0

    async def work() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed > 1:
                    raise

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await background.stop(task)
    assert task.cancelled()
    assert swallowed == 2


async def test_tasks_that_ended_before_are_left_as_they_are() -> None:
    async def fail() -> None:
        raise ValueError("on purpose")

    failed, done = asyncio.create_task(fail()), asyncio.create_task(asyncio.sleep(0, "result"))
    await asyncio.wait([failed, done])
    await background.stop(failed, done)
    assert isinstance(failed.exception(), ValueError)
    assert done.result() == "result"
