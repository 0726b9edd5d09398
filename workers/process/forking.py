"""Processes that start within milliseconds: forks of one that has imported everything, whose memory they share.

A process with threads or an event loop can't be forked safely. So `run` makes the process that calls it the parent, which does nothing but fork
and wait for its children; the work goes on in its first child, which asks it for others (`Forks.start`).
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkContext, ForkProcess
from typing import Any, Final, NamedTuple, cast

# Environment variable with a descriptor that is at its end as soon as the supervisor has ended.
PARENT_FD: Final = "BARSTORM_PARENT_FD"
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class _Request(NamedTuple):
    """A process to start: its number, its arguments for `main`, and its whole environment."""

    number: int
    arguments: tuple[str, ...]
    environ: dict[str, str]


class _Event(NamedTuple):
    """A process was started, or has ended if there is an exit code."""

    number: int
    pid: int
    exit_code: int | None = None


class ForkedProcess:
    """A process of the parent, with the interface of `asyncio.subprocess.Process`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = asyncio.Event()

    async def wait(self) -> int:
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def end(self, exit_code: int) -> None:
        self.returncode = exit_code
        self._ended.set()

    def _send(self, number: signal.Signals) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)


class Forks:
    """The connection of the first child to the parent."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._numbers = itertools.count()
        self._starting: dict[int, asyncio.Future[ForkedProcess]] = {}
        self._running: dict[int, ForkedProcess] = {}

    def open(self, lost: Callable[[], None]) -> None:
        """Listen to the parent in the running event loop; `lost` is called when it has died."""
        asyncio.get_running_loop().add_reader(self._connection.fileno(), self._receive, lost)

    async def start(self, arguments: Sequence[str], environ: Mapping[str, str]) -> ForkedProcess:
        """Start a process that runs `main` with these arguments."""
        number = next(self._numbers)
        starting: asyncio.Future[ForkedProcess] = asyncio.get_running_loop().create_future()
        self._starting[number] = starting
        self._connection.send(_Request(number, tuple(arguments), dict(environ)))
        return await starting

    def _receive(self, lost: Callable[[], None]) -> None:
        try:
            event: _Event = self._connection.recv()
        except EOFError:
            asyncio.get_running_loop().remove_reader(self._connection.fileno())
            for process in self._running.values():
                process.end(0)  # nobody will know; they end with us
            lost()
            return
        if event.exit_code is not None:
            self._running.pop(event.number).end(event.exit_code)
            return
        process = self._running[event.number] = ForkedProcess(event.pid)
        if not (starting := self._starting.pop(event.number)).cancelled():
            starting.set_result(process)


def run(
    work: Callable[[Forks | None], int],
    main: Callable[[Sequence[str]], int],
    imports: Sequence[str],
    *,
    prepare: Callable[[], int] | None = None,
) -> int:
    """Run `work` in a child of this process, and what it starts (`main`) in others; returns its exit code.

    `prepare` comes first, in a child of its own, so that what it imports is gone. Where a fork is not safe, both run in this process.
    """
    if not _is_safe():
        return (prepare() if prepare else 0) or work(None)
    for name in imports:
        import_module(name)
    gc.freeze()  # a collection would write to the memory that is shared
    if prepare and (failed := _run_forked(prepare)):
        return failed
    return _Parent(work, main).run()


def _is_safe() -> bool:
    """Whether this process can be forked: it has no other threads, whose locks nobody would release, and its system's libraries allow it.

    Those of NumPy, which Python doesn't count, are made for it.
    """
    return sys.platform == "linux" and threading.active_count() == 1


def _run_forked(work: Callable[[], int]) -> int:
    process = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(work()))
    process.start()
    process.join()
    return process.exitcode or 0


class _Parent:
    def __init__(self, work: Callable[[Forks | None], int], main: Callable[[Sequence[str]], int]) -> None:
        self._main = main
        # Only the first child has the other end, so that the others notice when it has died.
        self._reading, writing = os.pipe()
        self._context: ForkContext = multiprocessing.get_context("fork")
        self._ours, theirs = self._context.Pipe()
        self._first = self._context.Process(target=self._in_child, args=(lambda: work(Forks(theirs)),))
        with _no_signals():
            self._first.start()
            for number in _SIGNALS:
                signal.signal(number, self._forward)
        theirs.close()
        os.close(writing)

    def run(self) -> int:
        children: dict[int, tuple[int, ForkProcess]] = {}
        while True:
            for ready in wait([self._first.sentinel, self._ours, *children]):
                if ready == self._first.sentinel:
                    self._first.join()
                    ended = self._first.exitcode or 0
                    return 128 - ended if ended < 0 else ended  # as shells tell which signal has ended it
                if ready is self._ours:
                    with suppress(EOFError):  # it has ended
                        number, process = self._fork(self._ours.recv())
                        children[process.sentinel] = number, process
                else:
                    number, process = children.pop(cast(int, ready))
                    process.join()
                    self._tell(_Event(number, process.pid or 0, process.exitcode))
                    process.close()

    def _fork(self, request: _Request) -> tuple[int, ForkProcess]:
        def work() -> int:
            os.environ.clear()
            os.environ.update(request.environ | {PARENT_FD: str(self._reading)})
            os.setsid()  # Ctrl-C reaches only the first child, which then stops the others in order
            return self._main(request.arguments)

        process = self._context.Process(target=self._in_child, args=(work,))
        with _no_signals():
            process.start()
        self._tell(_Event(request.number, process.pid or 0))
        return request.number, process

    def _tell(self, event: _Event) -> None:
        with suppress(BrokenPipeError):  # it has ended
            self._ours.send(event)

    def _in_child(self, work: Callable[[], int]) -> None:
        self._ours.close()  # or nobody would notice that the parent has died
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        sys.exit(work())

    def _forward(self, number: int, frame: Any) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._first.pid or 0, number)


def end_with_parent() -> None:
    """Called in a child: stop as if by SIGTERM when the supervisor has ended, even if it was killed."""
    if descriptor := os.environ.pop(PARENT_FD, ""):

        def watch() -> None:
            os.read(int(descriptor), 1)
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=watch, name="parent", daemon=True).start()


@contextmanager
def _no_signals() -> Iterator[None]:
    """Signals that arrive within the block are handled after it: a child must not handle those of its parent."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
