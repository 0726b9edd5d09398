"""Child processes: started together, started again when they die, and stopped together.

A child lives no longer than its supervisor: it holds one end of a pipe, and when the other end closes, it stops as by SIGTERM.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, NamedTuple

import msgspec
import structlog

from workers.process.scaling import Scaling, scale
from workers.process.worker import HAND_OVER_S
from workers.queue import valkey
from workers.settings import Settings

PARENT_FD: Final = "BARSTORM_PARENT_FD"
FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 30.0
# A child that lived so long was well; its next death is not held against it.
WELL_S: Final = 30.0
_log = structlog.stdlib.get_logger(__name__)


class Child(NamedTuple):
    """A `barstorm` command run as a process; with `once`, a clean end is its end."""

    name: str
    arguments: tuple[str, ...]
    once: bool = False


class Scaled(NamedTuple):
    """Workers that come and go: how many, how many at first, and the command that each runs."""

    scaling: Scaling
    first: int
    arguments: tuple[str, ...]


class Supervisor:
    """Keeps children running until `stop()`; `run()` returns when all have ended."""

    def __init__(self, settings: Settings, children: Sequence[Child], scaled: Scaled | None = None) -> None:
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        self._settings = settings
        self._children = children
        self._scaled = scaled
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._retired: set[str] = set()
        self._numbers = itertools.count(1)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        reading, writing = os.pipe()
        scaler: asyncio.Task[None] | None = None
        try:
            for child in self._children:
                self._start(child, reading)
            if (scaled := self._scaled) is not None:
                for _ in range(scaled.first):
                    self._start_worker(scaled, reading)
                scaler = asyncio.create_task(
                    scale(self._settings, scaled.scaling, self._workers, lambda: self._start_worker(scaled, reading), self._retire)
                )
            await self._until_all_end(scaler)
            await self._end_all()
            await asyncio.gather(*self._keepers.values())
        finally:
            if scaler is not None:
                scaler.cancel()
                await asyncio.gather(scaler, return_exceptions=True)
            os.close(writing)
            os.close(reading)

    async def _until_all_end(self, scaler: asyncio.Task[None] | None) -> None:
        """Until told to stop, or nobody is left and nobody will come."""
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            while not stopping.done() and (self._keepers or scaler):
                await asyncio.wait([stopping, *self._keepers.values(), *([scaler] if scaler else [])], return_when=asyncio.FIRST_COMPLETED)
                if scaler is not None and scaler.done():
                    scaler.result()
                for name in [name for name, keeper in self._keepers.items() if keeper.done()]:
                    self._keepers.pop(name).result()
                    self._retired.discard(name)
                    self.processes.pop(name, None)
        finally:
            stopping.cancel()
            self._stopping.set()

    def _start(self, child: Child, parent: int) -> None:
        self._keepers[child.name] = asyncio.create_task(self._keep(child, parent))

    def _start_worker(self, scaled: Scaled, parent: int) -> None:
        self._start(Child(f"worker-{next(self._numbers)}", scaled.arguments), parent)

    def _workers(self) -> dict[int, str]:
        """Names of the workers that are not retired, by process id; one that is just being started has a number below zero."""
        names = [name for name in self._keepers if name.startswith("worker-") and name not in self._retired]
        processes = [self.processes.get(name) for name in names]
        return {process.pid if process else -i - 1: name for i, (process, name) in enumerate(zip(processes, names, strict=True))}

    def _retire(self, name: str) -> None:
        self._retired.add(name)
        if (process := self.processes.get(name)) is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()

    async def _keep(self, child: Child, parent: int) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stopping.is_set() and child.name not in self._retired:
            began = time.monotonic()
            process = self.processes[child.name] = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "workers.cli.main",
                *child.arguments,
                env={**os.environ, **self._settings.to_env(), PARENT_FD: str(parent)},
                pass_fds=(parent,),
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
            if self._stopping.is_set() or child.name in self._retired:
                process.terminate()
            code = await process.wait()
            if self._stopping.is_set() or child.name in self._retired or (child.once and code == 0):
                return
            pause_s = FIRST_PAUSE_S if time.monotonic() - began > WELL_S else pause_s
            _log.warning("process died; it is started again", process=child.name, exit_code=code, in_s=pause_s)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _end_all(self) -> None:
        alive = [process for process in self.processes.values() if process.returncode is None]
        for process in alive:
            with suppress(ProcessLookupError):
                process.terminate()
        try:
            async with asyncio.timeout(self._settings.drain_s + HAND_OVER_S + 5):
                await asyncio.gather(*(process.wait() for process in alive))
        except TimeoutError:
            for process in alive:
                if process.returncode is None:
                    process.kill()


async def supervise(settings: Settings, children: Sequence[Child], scaled: Scaled | None = None) -> None:
    """Run children, on our own Valkey if no Redis is named, until they end or SIGTERM or SIGINT comes."""
    async with shared_queue(settings) as named:
        supervisor = Supervisor(named, children, scaled)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, supervisor.stop)
        await supervisor.run()


@asynccontextmanager
async def shared_queue(settings: Settings) -> AsyncIterator[Settings]:
    """Settings that name a Redis, which is our own Valkey if they named none."""
    if settings.redis_url:
        yield settings
        return
    async with valkey.valkey(settings.folder) as url:
        yield msgspec.structs.replace(settings, redis_url=url)


def end_with_parent() -> None:
    """In a child: stop as by SIGTERM when the supervisor is gone, however it went."""
    if descriptor := os.environ.pop(PARENT_FD, ""):

        def watch() -> None:
            os.read(int(descriptor), 1)
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=watch, name="parent", daemon=True).start()
