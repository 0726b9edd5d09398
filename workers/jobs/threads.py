"""The threads in which a worker runs kernels. One change of threads serves many short runs: it costs more than such a run."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple, TypeVar

from workers.db.batches import settle
from workers.jobs.job import Job

T = TypeVar("T")
# How long a thread goes on with calls before it reports what it has done.
TURN_S: Final = 0.02


class _Call(NamedTuple):
    job: Job
    work: Callable[[], Any]
    future: asyncio.Future[Any]


class KernelThreads:
    """Calls the work of jobs in threads, in order, one call in each of the `slots`, which other work of the worker shares.

    While calls are short, one thread makes them all: two would spend more time on taking the interpreter from each other than they gain.
    """

    def __init__(self, count: int, slots: asyncio.Semaphore) -> None:
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="kernel")
        self._slots = slots
        self._count = count
        self._waiting = deque[_Call]()
        self._tasks: set[asyncio.Task[None]] = set()
        # Tasks whose thread is in a call that takes longer than a turn.
        self._long = 0

    async def call(self, job: Job, work: Callable[[], T]) -> T:
        """The result of `work`.

        Raises:
            Cancelled: the job was stopped before a thread was free.
            RuntimeError: the kernel panicked.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Call(job, work, future))
        self._start()
        return await job.unless_stopped_before(future)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        if self._waiting and len(self._tasks) == self._long < self._count:
            self._tasks.add(asyncio.create_task(self._take_turns()))

    async def _take_turns(self) -> None:
        loop = asyncio.get_running_loop()
        done: list[tuple[asyncio.Future[Any], Any]] = []
        try:
            while self._waiting:
                async with self._slots:
                    turn = loop.run_in_executor(self._threads, self._take_turn, time.monotonic() + TURN_S, done)
                    await asyncio.wait((turn,), timeout=1.5 * TURN_S)
                    if not turn.done():
                        self._long += 1
                        # The calls before the long one are reported, those behind it made by another thread.
                        _report(done)
                        self._start()
                        await asyncio.wait((turn,))
                        self._long -= 1
                    _report(done)
        finally:
            self._tasks.discard(asyncio.current_task())

    def _take_turn(self, end: float, done: list[tuple[asyncio.Future[Any], Any]]) -> None:
        """In a thread: make calls until none is left or the turn is over."""
        while True:
            try:
                job, work, future = self._waiting.popleft()
            except IndexError:
                return
            if not future.done():  # not stopped while it waited
                job.waits_since = None
                done.append((future, _outcome(work)))
            if time.monotonic() >= end:
                return


def _report(done: list[tuple[asyncio.Future[Any], Any]]) -> None:
    reported, done[:] = done[:], []
    for future, outcome in reported:
        settle(future, outcome)


def _outcome(work: Callable[[], Any]) -> Any:
    """The result of `work`, or the exception to raise for it."""
    try:
        return work()
    except Exception as error:
        return error
    except BaseException as panic:  # of the compiled kernel: it is not an `Exception`, and would end the worker
        return RuntimeError(f"{type(panic).__name__}: {panic}")
