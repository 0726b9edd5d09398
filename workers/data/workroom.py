"""Child processes for work that may take long: diagnoses, imports and the like. What they do can be stopped, which a thread can't be.

Each process does one task at a time, within limits of time and memory. It is killed, and replaced, when a limit is passed or the caller is
cancelled; otherwise it does the next task. A task is a message to `workers.data.task_process`, its result is the answer: MessagePack,
preceded by its length in four bytes. Files are passed as descriptors.
"""

from __future__ import annotations

import asyncio
import io
import math
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Final, Literal, TypeVar

import msgspec

from python_core.files.options import Asker, asker
from workers import errors
from workers.errors import LimitExceeded, TooManyRequests, WorkersError
from workers.settings import Settings

T = TypeVar("T")

Source = Path | bytes | BinaryIO
# Each kind of work has places of its own, so that none waits for another.
Kind = Literal["strategies", "backtests", "files", "bars"]
LENGTH: Final = struct.Struct(">I")
# How long a process is kept without a task. It takes 60 MB, and half a second to start.
IDLE_S: Final = 300.0
# Requests that may wait for each place of a kind. What is done with bars takes milliseconds, and clients submit many runs at once.
WAITING: Final[dict[Kind, int]] = {"strategies": 4, "backtests": 4, "files": 4, "bars": 100}


class Order(msgspec.Struct, frozen=True):
    """A task, whom its hints address, and the path of its file unless the file is passed as a descriptor."""

    task: msgspec.Raw
    asker: Asker
    path: str = ""


class Answer(msgspec.Struct, frozen=True):
    """The result, or what went wrong.

    Attributes:
        error: an error for the client: the name of its class, message, where, hint and code.
        machine_error: text of an error of the machine, such as a full disk.
        bug: traceback of an error that nobody expected.
        is_spent: whether the process holds too much memory for another task.
    """

    result: msgspec.Raw = msgspec.Raw(b"\xc0")  # null
    error: tuple[str, str, str, str, str] | None = None
    machine_error: str = ""
    bug: str = ""
    is_out_of_memory: bool = False
    is_spent: bool = False


class Process:
    """A child process, ready for tasks from its start: they wait until it has imported what it needs."""

    def __init__(self, settings: Settings) -> None:
        self.is_free = True
        self.tasks_done = 0
        self._settings = settings
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen([sys.executable, "-m", "workers.data.task_process"], stdin=theirs.fileno())
        encoded = msgspec.msgpack.encode(msgspec.structs.asdict(settings))
        self._socket.sendall(LENGTH.pack(len(encoded)) + encoded)
        self._socket.setblocking(False)

    @property
    def is_alive(self) -> bool:
        return self._child.poll() is None

    async def run(self, task: msgspec.Struct, reply: type[T], source: Source | None = None, *, holds: bool = False) -> T:
        """Do a task of `workers.data.tasks` with a file. With `holds`, it leaves something for the next task, without which the process ends,
        unless it fails.

        Raises:
            WorkersError: what the task raises; errors of the library as `Invalid`.
            LimitExceeded: it took more time or memory than it may.
            OSError: the machine failed, or the process died.
        """
        self.is_free = False
        try:
            async with asyncio.timeout(self._settings.work_timeout_s):
                with _with_descriptor(source) as file:
                    path = str(source) if isinstance(source, Path) else ""
                    await self._send(Order(msgspec.Raw(msgspec.msgpack.encode(task)), asker.get(), path), file)
                    answer = msgspec.msgpack.decode(await self._receive(), type=Answer)
        except TimeoutError:
            raise LimitExceeded(
                f"this takes longer than the limit of {self._settings.work_timeout_s:g} s",
                hint="use fewer or shorter functions, fewer bars or a smaller file",
                code="time_limit",
            ) from None
        except (EOFError, ConnectionError):
            raise await self._death() from None
        if answer.is_out_of_memory:
            raise self._out_of_memory()
        is_refused = answer.error is not None or answer.machine_error != ""
        self.is_free = (is_refused or not holds) and not answer.is_spent
        if answer.error is not None:
            name, message, where, hint, code = answer.error
            kind: type[WorkersError] = getattr(errors, name)
            raise kind(message, where=where, hint=hint, code=code)
        if answer.machine_error:
            raise OSError(answer.machine_error)
        if answer.bug:
            raise RuntimeError(f"a task failed in its process:\n{answer.bug}")
        return msgspec.msgpack.decode(answer.result, type=reply)

    def kill(self) -> None:
        self._child.kill()
        self._socket.close()

    async def gone(self) -> None:
        """Wait for the end of the process."""
        while self.is_alive:
            await asyncio.sleep(0.002)

    async def _send(self, order: Order, file: BinaryIO | None) -> None:
        encoded = msgspec.msgpack.encode(order)
        # The process has read all earlier messages, so these few bytes always fit.
        socket.send_fds(self._socket, [LENGTH.pack(len(encoded))], [] if file is None else [file.fileno()])
        await asyncio.get_running_loop().sock_sendall(self._socket, encoded)

    async def _receive(self) -> bytes:
        return await self._read(*LENGTH.unpack(await self._read(LENGTH.size)))

    async def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            chunk = await asyncio.get_running_loop().sock_recv(self._socket, min(size - len(data), 1 << 18))
            if not chunk:
                raise EOFError
            data += chunk
        return bytes(data)

    async def _death(self) -> Exception:
        await self.gone()
        # Compiled code aborts when it can't allocate; a system that is out of memory kills.
        if self._child.returncode in (-signal.SIGABRT, -signal.SIGKILL):
            return self._out_of_memory()
        return OSError(f"a work process died with exit code {self._child.returncode}")

    def _out_of_memory(self) -> LimitExceeded:
        return LimitExceeded(
            f"this needs more memory than the limit of {self._settings.work_memory_mb:,} MB",
            hint="use fewer functions, fewer bars or a smaller file",
            code="memory_limit",
        )


class Workroom:
    """Processes that do tasks, a few of each kind at once. The first starts with the first task, and all end when there is none for `IDLE_S`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._queues = {kind: _Queue(settings.work_processes, waiting) for kind, waiting in WAITING.items()}
        self._idle: list[Process] = []
        self._all: set[Process] = set()
        self._endings: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def run(self, kind: Kind, task: msgspec.Struct, reply: type[T], source: Source | None = None) -> T:
        """`Process.run` in one of the processes."""
        async with self.enter(kind) as process:
            return await process.run(task, reply, source)

    @asynccontextmanager
    async def enter(self, kind: Kind) -> AsyncIterator[Process]:
        """A process for several tasks that belong together.

        Raises:
            TooManyRequests: all places are taken, and enough requests wait.
        """
        async with self._queues[kind].place():
            process = self._take()
            try:
                yield process
            finally:
                await self._put_back(process)

    async def close(self) -> None:
        """End all processes, whatever they do."""
        self._is_closed = True
        self._idle.clear()
        await asyncio.gather(*(self._end(process) for process in tuple(self._all)))

    def _start(self) -> Process:
        process = Process(self._settings)
        self._all.add(process)
        return process

    def _take(self) -> Process:
        while self._idle:
            process = self._idle.pop()
            if process.is_alive:
                return process
            process.kill()
            self._all.discard(process)
        return self._start()

    async def _put_back(self, process: Process) -> None:
        if process.is_free and not self._is_closed and len(self._idle) < self._settings.work_processes:
            self._keep(process)
            return
        await asyncio.shield(self._begin_end(process))
        if not self._idle and not self._is_closed:
            self._keep(self._start())  # so that the next task need not wait for its imports

    def _keep(self, process: Process) -> None:
        self._idle.append(process)
        process.tasks_done += 1
        asyncio.get_running_loop().call_later(IDLE_S, self._end_if_idle, process, process.tasks_done)

    def _end_if_idle(self, process: Process, tasks_done: int) -> None:
        if process in self._idle and process.tasks_done == tasks_done:
            self._idle.remove(process)
            self._begin_end(process)

    def _begin_end(self, process: Process) -> asyncio.Task[None]:
        ending = asyncio.create_task(self._end(process))
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)
        return ending

    async def _end(self, process: Process) -> None:
        process.kill()
        await process.gone()
        self._all.discard(process)


class _Queue:
    """The places of one kind of work, and the requests that wait for one."""

    def __init__(self, places: int, waiting_per_place: int) -> None:
        self._places = places
        self._free = asyncio.Semaphore(places)
        self._max_waiting = places * waiting_per_place
        self._waiting = 0
        self._mean_s = 1.0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        if self._free.locked() and self._waiting >= self._max_waiting:
            retry_after_s = math.ceil(self._mean_s * (1 + self._waiting) / self._places)
            raise TooManyRequests(
                f"{self._places} requests of this kind are being worked on, and {self._waiting} wait",
                hint=f"try again in {retry_after_s} s",
                retry_after_s=retry_after_s,
            )
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        began = time.monotonic()
        try:
            yield
        finally:
            self._free.release()
            self._mean_s += (time.monotonic() - began - self._mean_s) / 8


@contextmanager
def _with_descriptor(source: Source | None) -> Iterator[BinaryIO | None]:
    """An open file with a descriptor, at its position; None for a path."""
    if source is None or isinstance(source, Path):
        yield None
        return
    if not isinstance(source, bytes):
        try:
            os.lseek(source.fileno(), source.tell(), os.SEEK_SET)
        except (AttributeError, io.UnsupportedOperation):
            source = source.read()
        else:
            yield source
            return
    with TemporaryFile() as file:
        file.write(source)
        file.seek(0)
        yield file


def encode_error(error: WorkersError) -> tuple[str, str, str, str, str]:
    """An error as `Answer` holds it."""
    name = type(error).__name__
    return (name if hasattr(errors, name) else "WorkersError", error.message, error.where, error.hint, error.code)


def encode_result(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.msgpack.encode(value))
