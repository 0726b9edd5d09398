"""Kernels in threads: many short ones to a turn, and none kept waiting by a long one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

import python_core as bt
from workers.jobs import threads as module
from workers.jobs.job import Job, Stop
from workers.jobs.threads import KernelThreads

pytestmark = pytest.mark.anyio
WITHIN_S = 60


@pytest.fixture
def kernels() -> Iterator[KernelThreads]:
    kernels = KernelThreads(2, asyncio.Semaphore(2))
    yield kernels
    kernels.close()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Ends calls of its `wait`, at the latest with the test."""
    event = threading.Event()
    yield event
    event.set()


def call(kernels: KernelThreads, name: str, work: object) -> asyncio.Task[object]:
    return asyncio.create_task(kernels.call(Job(name), work))  # type: ignore[arg-type]


async def test_short_calls_share_a_thread_and_each_has_its_own_outcome(kernels: KernelThreads) -> None:
    def fail() -> None:
        raise bt.StrategyError("wrong")

    calls = [call(kernels, "a", threading.get_ident), call(kernels, "b", fail), call(kernels, "c", threading.get_ident)]
    first, error, last = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), WITHIN_S)
    assert first == last != threading.get_ident()
    assert isinstance(error, bt.StrategyError)


async def test_a_panic_fails_its_own_call_only(kernels: KernelThreads) -> None:
    class Panic(BaseException):
        pass

    def panic() -> None:
        raise Panic("index out of range")

    with pytest.raises(RuntimeError, match="Panic: index out of range"):
        await asyncio.wait_for(call(kernels, "a", panic), WITHIN_S)
    assert await asyncio.wait_for(call(kernels, "b", lambda: "fine"), WITHIN_S) == "fine"


async def test_a_long_call_delays_neither_those_before_it_nor_those_behind_it(kernels: KernelThreads, gate: threading.Event) -> None:
    before, long, behind = call(kernels, "a", lambda: "a"), call(kernels, "b", gate.wait), call(kernels, "c", lambda: "c")
    assert await asyncio.wait_for(asyncio.gather(before, behind), WITHIN_S) == ["a", "c"]
    assert not long.done()
    assert await asyncio.wait_for(call(kernels, "d", lambda: "d"), WITHIN_S) == "d"
    gate.set()
    assert await asyncio.wait_for(long, WITHIN_S) is True


async def test_no_more_calls_run_at_once_than_there_are_threads(kernels: KernelThreads, gate: threading.Event) -> None:
    running = threading.Semaphore(0)

    def wait() -> None:
        running.release()
        gate.wait()

    calls = [call(kernels, str(i), wait) for i in range(4)]
    for _ in range(2):
        assert await asyncio.to_thread(running.acquire, timeout=WITHIN_S)
    await asyncio.sleep(10 * module.TURN_S)
    assert not running.acquire(blocking=False)
    gate.set()
    await asyncio.wait_for(asyncio.gather(*calls), WITHIN_S)


async def test_a_job_that_is_stopped_before_its_call_is_not_called(kernels: KernelThreads, gate: threading.Event) -> None:
    long = [call(kernels, str(i), gate.wait) for i in range(2)]
    job, called = Job("waiting"), []
    waiting = asyncio.create_task(kernels.call(job, lambda: called.append(1)))
    while job.waits_since is None:
        await asyncio.sleep(0)
    job.stop(Stop.REQUEUE)
    with pytest.raises(bt.Cancelled, match="requeue"):
        await asyncio.wait_for(waiting, WITHIN_S)
    gate.set()
    await asyncio.wait_for(asyncio.gather(*long), WITHIN_S)
    assert await asyncio.wait_for(call(kernels, "last", lambda: "last"), WITHIN_S) == "last"
    assert not called


async def test_a_job_that_is_stopped_during_its_call_ends_with_it(kernels: KernelThreads, gate: threading.Event) -> None:
    job, begun = Job("running"), threading.Event()

    def work() -> str:
        begun.set()
        gate.wait()
        return "a result" if job.control.cancelled else "not cancelled"

    running = asyncio.create_task(kernels.call(job, work))
    await asyncio.to_thread(begun.wait, WITHIN_S)
    assert job.waits_since is None
    job.stop(Stop.CANCELLED)
    await asyncio.sleep(0.01)
    assert not running.done()
    gate.set()
    assert await asyncio.wait_for(running, WITHIN_S) == "a result"
