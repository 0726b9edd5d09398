"""The supervisor: starts child processes, restarts them when they die, and stops them together.

No child outlives its supervisor: it holds one end of a pipe, and when the other end closes, it stops as if by SIGTERM.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final, NamedTuple

import structlog

from workers import background
from workers.process.forking import PARENT_FD, ForkedProcess, Forks
from workers.process.scaling import Scaling, scale
from workers.process.worker import REQUEUE_S
from workers.queue.valkey import with_redis
from workers.settings import Settings

FIRST_PAUSE_S: Final = 0.2
MAX_PAUSE_S: Final = 30.0
# A child that ran for this long was healthy: its next restart begins with the first pause again.
HEALTHY_S: Final = 30.0
_log = structlog.stdlib.get_logger(__name__)


class Child(NamedTuple):
    """A `barstorm` command to run as a process; with `once`, it is not restarted after exit code 0."""

    name: str
    arguments: tuple[str, ...]
    once: bool = False


class WorkerPool(NamedTuple):
    """A number of workers that varies: the limits, the number at the start, and the command of each."""

    scaling: Scaling
    initial: int
    arguments: tuple[str, ...]


class Supervisor:
    """Keeps children running until `stop()`; `run()` returns when all have ended."""

    def __init__(self, settings: Settings, children: Sequence[Child], pool: WorkerPool | None = None, forks: Forks | None = None) -> None:
        self.processes: dict[str, asyncio.subprocess.Process | ForkedProcess] = {}
        self._forks = forks
        self._settings = settings
        self._children = children
        self._pool = pool
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._retired: set[str] = set()
        self._numbers = itertools.count(1)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        reading, writing = os.pipe()
        if self._forks is not None:
            self._forks.open(lost=self.stop)
        scaler: asyncio.Task[None] | None = None
        try:
            for child in self._children:
                self._start(child, reading)
            if (pool := self._pool) is not None:
                for _ in range(pool.initial):
                    self._start_worker(pool, reading)
                scaling = partial(
                    scale, self._settings, pool.scaling, self._workers, lambda: self._start_worker(pool, reading), self._retire
                )
                scaler = asyncio.create_task(background.supervise("scaling", scaling))
            await self._until_all_end(scaler)
            await self._end_all()
            await asyncio.gather(*self._tasks.values())
        finally:
            if scaler is not None:
                await background.stop(scaler)
            os.close(writing)
            os.close(reading)

    async def _until_all_end(self, scaler: asyncio.Task[None] | None) -> None:
        """Wait until `stop()`, or until all children have ended and none will be started."""
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            while not stopping.done() and (self._tasks or scaler):
                await asyncio.wait([stopping, *self._tasks.values(), *([scaler] if scaler else [])], return_when=asyncio.FIRST_COMPLETED)
                if scaler is not None and scaler.done():
                    scaler.result()
                for name in [name for name, task in self._tasks.items() if task.done()]:
                    self._tasks.pop(name).result()
                    self._retired.discard(name)
                    self.processes.pop(name, None)
        finally:
            stopping.cancel()
            self._stopping.set()

    def _start(self, child: Child, parent: int) -> None:
        self._tasks[child.name] = asyncio.create_task(self._keep_running(child, parent))

    def _start_worker(self, pool: WorkerPool, parent: int) -> None:
        self._start(Child(f"worker-{next(self._numbers)}", pool.arguments), parent)

    def _workers(self) -> dict[int, str]:
        """Names of the workers that are not retired, by process id; those not started yet have negative numbers."""
        names = [name for name in self._tasks if name.startswith("worker-") and name not in self._retired]
        processes = [self.processes.get(name) for name in names]
        return {process.pid if process else -i - 1: name for i, (process, name) in enumerate(zip(processes, names, strict=True))}

    def _retire(self, name: str) -> None:
        self._retired.add(name)
        if (process := self.processes.get(name)) is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()

    async def _keep_running(self, child: Child, parent: int) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stopping.is_set() and child.name not in self._retired:
            started_at = time.monotonic()
            process = self.processes[child.name] = await self._start_process(child, parent)
            if self._stopping.is_set() or child.name in self._retired:
                process.terminate()
            code = await process.wait()
            if self._stopping.is_set() or child.name in self._retired or (child.once and code == 0):
                return
            pause_s = FIRST_PAUSE_S if time.monotonic() - started_at > HEALTHY_S else pause_s
            _log.warning("process died; restarting", process=child.name, exit_code=code, in_s=pause_s)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)
            pause_s = min(pause_s * 2, MAX_PAUSE_S)

    async def _start_process(self, child: Child, parent: int) -> asyncio.subprocess.Process | ForkedProcess:
        environ = {**os.environ, **self._settings.to_env()}
        if self._forks is not None:
            return await self._forks.start(child.arguments, environ)
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "workers.cli.main",
            *child.arguments,
            env=environ | {PARENT_FD: str(parent)},
            pass_fds=(parent,),
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches only the supervisor, which then stops its children in order
        )

    async def _end_all(self) -> None:
        alive = [process for process in self.processes.values() if process.returncode is None]
        for process in alive:
            with suppress(ProcessLookupError):
                process.terminate()
        try:
            async with asyncio.timeout(self._settings.drain_s + REQUEUE_S + 5):
                await asyncio.gather(*(process.wait() for process in alive))
        except TimeoutError:
            for process in alive:
                if process.returncode is None:
                    process.kill()


async def supervise(settings: Settings, children: Sequence[Child], pool: WorkerPool | None = None, forks: Forks | None = None) -> None:
    """Run children until they end, or until SIGTERM or SIGINT; on an embedded Valkey if no Redis is configured."""
    async with with_redis(settings) as shared:
        supervisor = Supervisor(shared, children, pool, forks)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, supervisor.stop)
        await supervisor.run()
