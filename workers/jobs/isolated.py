"""The Python kernel in a process of its own, where it doesn't block other jobs and can be killed at once.

The worker starts `python -m workers.jobs.isolated`, writes a `Task`, and reads `Message`s: progress, then the result. All are MessagePack,
each preceded by its length in four bytes.
"""

from __future__ import annotations

import asyncio
import os
import struct
import sys
import threading
import time
from typing import Any, BinaryIO, Final

import msgspec

import python_core as bt
from workers.data.bars_cache import open_bars_cache
from workers.data.parts import Part
from workers.errors import WorkersError
from workers.jobs.attempt import KernelDied
from workers.jobs.compute import Computed, compute
from workers.jobs.job import Job
from workers.model.datasets import Dataset
from workers.model.runs import Backtest, RunError
from workers.settings import Settings
from workers.storage.open import open_artifacts

PROGRESS_S: Final = 0.1
_LENGTH: Final = struct.Struct(">I")


class Task(msgspec.Struct, frozen=True):
    settings: dict[str, Any]
    dataset: Dataset
    parts: tuple[Part, ...]
    request: Backtest


class Message(msgspec.Struct, frozen=True):
    """Progress, or the end: the result, an error of the request, or a failure of the machine."""

    progress: float = 0.0
    computed: Computed | None = None
    error: RunError | None = None
    machine_error: str | None = None
    out_of_memory: bool = False


async def compute_isolated(settings: Settings, job: Job, dataset: Dataset, parts: tuple[Part, ...], request: Backtest) -> Computed:
    """Like `compute`, in a process that is killed when the job is stopped.

    Raises:
        Cancelled: the job was stopped.
        WorkersError: the request can't be carried out.
        OSError, MemoryError: the machine failed.
        KernelDied: the process died.
    """
    task = msgspec.msgpack.encode(Task(msgspec.structs.asdict(settings), dataset, parts, request))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "workers.jobs.isolated", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        return await job.unless_stopped(_communicate(process, task, job))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _communicate(process: asyncio.subprocess.Process, task: bytes, job: Job) -> Computed:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(_LENGTH.pack(len(task)) + task)
        await process.stdin.drain()
        while True:
            (length,) = _LENGTH.unpack(await process.stdout.readexactly(_LENGTH.size))
            message = msgspec.msgpack.decode(await process.stdout.readexactly(length), type=Message)
            if message.computed is not None:
                return message.computed
            if message.error is not None:
                raise message.error.to_exception()
            if message.machine_error is not None:
                raise (MemoryError if message.out_of_memory else OSError)(message.machine_error)
            job.control.flag.progress = message.progress
    except (asyncio.IncompleteReadError, ConnectionError):
        raise KernelDied(f"the kernel process died with exit code {await process.wait()}") from None


def main() -> None:
    task = msgspec.msgpack.decode(sys.stdin.buffer.read(*_LENGTH.unpack(sys.stdin.buffer.read(_LENGTH.size))), type=Task)
    output, lock, control = sys.stdout.buffer, threading.Lock(), bt.Control()
    threading.Thread(target=_send_progress, args=(output, lock, control), daemon=True).start()
    threading.Thread(target=_end_with_worker, daemon=True).start()
    message = _execute(task, control)
    # The lock keeps the result from being mixed with a progress message.
    with lock:
        _write(output, message)


def _execute(task: Task, control: bt.Control) -> Message:
    try:
        settings = Settings(**task.settings)
        artifacts = open_artifacts(settings)
        return Message(
            computed=compute(artifacts, open_bars_cache(settings, artifacts, 0), task.dataset, task.parts, task.request, control)
        )
    except (bt.BarstormError, WorkersError) as error:
        return Message(error=RunError.from_exception(error))
    except (OSError, MemoryError) as error:
        return Message(machine_error=f"{type(error).__name__}: {error}", out_of_memory=isinstance(error, MemoryError))


def _send_progress(output: BinaryIO, lock: threading.Lock, control: bt.Control) -> None:
    while True:
        time.sleep(PROGRESS_S)
        with lock:
            _write(output, Message(progress=control.progress))


def _end_with_worker() -> None:
    sys.stdin.buffer.read(1)  # returns when the worker closes the pipe or dies; nothing else is written to it
    os._exit(1)


def _write(output: BinaryIO, message: Message) -> None:
    encoded = msgspec.msgpack.encode(message)
    output.write(_LENGTH.pack(len(encoded)) + encoded)
    output.flush()


if __name__ == "__main__":
    main()
