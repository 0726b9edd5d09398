"""Child processes: started together, started again when they die, and stopped together.

A child lives no longer than its supervisor: it holds one end of a pipe, and when the other end closes, it stops as by SIGTERM.
"""

from __future__ import annotations

import asyncio
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

from workers import embedded
from workers.lease import HAND_OVER_S
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


class Supervisor:
    """Keeps children running until `stop()`; `run()` returns when all have ended."""

    def __init__(self, settings: Settings, children: Sequence[Child]) -> None:
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        self._settings = settings
        self._children = children
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        reading, writing = os.pipe()
        try:
            keepers = [asyncio.create_task(self._keep(child, reading)) for child in self._children]
            ended = asyncio.create_task(self._until_all_end(keepers))
            await self._stopping.wait()
            await self._end_all()
            await ended
        finally:
            os.close(writing)
            os.close(reading)

    async def _until_all_end(self, keepers: Sequence[asyncio.Task[None]]) -> None:
        try:
            await asyncio.gather(*keepers)
        finally:
            self._stopping.set()

    async def _keep(self, child: Child, parent: int) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stopping.is_set():
            began = time.monotonic()
            process = self.processes[child.name] = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "workers.cli",
                *child.arguments,
                env={**os.environ, **self._settings.to_env(), PARENT_FD: str(parent)},
                pass_fds=(parent,),
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
            if self._stopping.is_set():
                process.terminate()
            code = await process.wait()
            if self._stopping.is_set() or (child.once and code == 0):
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


async def supervise(settings: Settings, children: Sequence[Child]) -> None:
    """Run children, on our own Valkey if no Redis is named, until they end or SIGTERM or SIGINT comes."""
    async with shared_queue(settings) as named:
        supervisor = Supervisor(named, children)
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
    async with embedded.valkey(settings.folder) as url:
        yield msgspec.structs.replace(settings, redis_url=url)


def end_with_parent() -> None:
    """In a child: stop as by SIGTERM when the supervisor is gone, however it went."""
    if descriptor := os.environ.pop(PARENT_FD, ""):

        def watch() -> None:
            os.read(int(descriptor), 1)
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=watch, name="parent", daemon=True).start()
