"""A process of `workers.data.workroom`: does the tasks that it receives on its standard input, which is a socket, and answers there."""

from __future__ import annotations

import fcntl
import os
import queue
import re
import resource
import signal
import socket
import threading
import traceback
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import polars

from python_core.files.options import asker
from workers import logs
from workers.data.bars_cache import open_bars_cache
from workers.data.tasks import SCRATCH, Desk, Task
from workers.data.workroom import LENGTH, Answer, Order, encode_error, encode_result
from workers.errors import WorkersError, as_client_error
from workers.settings import Settings
from workers.storage.open import open_artifacts

# Reads come first: requests that only read are answered by the process that started this one.
NICENESS: Final = 10
_STATUS: Final = Path("/proc/self/status")


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    connection = socket.socket(fileno=0)
    os.nice(NICENESS)
    os.environ["RUST_BACKTRACE"] = "0"  # needs memory when there is none
    settings = Settings(**msgspec.msgpack.decode(_receive(connection)[0]))
    logs.set_up(settings)
    orders: queue.SimpleQueue[tuple[Order, BinaryIO | None]] = queue.SimpleQueue()
    threading.Thread(target=_receive_orders, args=(connection, orders), daemon=True).start()
    artifacts = open_artifacts(settings)
    desk = Desk(artifacts, settings.folder / SCRATCH, open_bars_cache(settings, artifacts, 0))
    # Its threads start before the limit: a library that can't start threads may hang, one that can't allocate ends the process.
    polars.DataFrame({"a": [2.0, 1.0]}).lazy().select(polars.col("a").sort()).collect()
    spare = settings.work_memory_mb * 1_000_000
    limit = _limit_memory(spare)
    while True:
        order, file = orders.get()
        answer = _do(order, file, desk)
        if limit - _memory() < 3 * spare // 4:
            desk.flush()  # bars may be held only until they are on the disk
        if limit - _memory() < 3 * spare // 4:
            answer = msgspec.structs.replace(answer, is_spent=True)
        encoded = msgspec.msgpack.encode(answer)
        connection.sendall(LENGTH.pack(len(encoded)) + encoded)


def _do(order: Order, file: BinaryIO | None, desk: Desk) -> Answer:
    asker.set(order.asker)
    source: Any = Path(order.path) if order.path else file
    try:
        task: Any = msgspec.msgpack.decode(order.task, type=Task)
        with as_client_error():
            return Answer(result=encode_result(task.do(desk, source)))
    except WorkersError as error:
        desk.clear()
        return Answer(error=encode_error(error))
    except MemoryError:
        return Answer(is_out_of_memory=True)
    except OSError as error:
        desk.clear()
        return Answer(machine_error=f"{type(error).__name__}: {error}")
    except BaseException:  # also panics of compiled code
        return Answer(bug=traceback.format_exc())
    finally:
        if file is not None:
            file.close()


def _receive_orders(connection: socket.socket, orders: queue.SimpleQueue[tuple[Order, BinaryIO | None]]) -> None:
    """Receive while the main thread works, so that the process ends as soon as the one that started it has died."""
    try:
        while True:
            encoded, file = _receive(connection)
            orders.put((msgspec.msgpack.decode(encoded, type=Order), file))
    finally:
        os._exit(1)


def _receive(connection: socket.socket) -> tuple[bytes, BinaryIO | None]:
    """The next message and the file that came with it."""
    header, descriptors, _, _ = socket.recv_fds(connection, LENGTH.size, 1)
    (size,) = LENGTH.unpack(header + _read(connection, LENGTH.size - len(header)))
    file: BinaryIO | None = None
    for descriptor in descriptors:
        is_writable = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR
        file = os.fdopen(descriptor, "r+b" if is_writable else "rb")
    return _read(connection, size), file


def _read(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = connection.recv(size - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return bytes(data)


def _limit_memory(spare: int) -> int:
    """Limit the memory of this process to what it has and `spare`; returns the limit in bytes.

    Of RLIMIT_DATA, as mapped files, which the system can move out of memory, don't count. Only Linux enforces it.
    """
    limit = _memory() + spare
    if _STATUS.exists():
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    return limit


def _memory() -> int:
    """Memory of this process that is not that of a file, in bytes."""
    found = re.search(r"VmData:\s+(\d+) kB", _STATUS.read_text()) if _STATUS.exists() else None
    return int(found[1]) * 1024 if found else 0


if __name__ == "__main__":
    main()
