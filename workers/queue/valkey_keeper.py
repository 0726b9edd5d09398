"""Runs the embedded Valkey for as long as a process uses it: python -I -S valkey_keeper.py FOLDER LOCK PROGRAM ARGUMENTS...

A process of its own and the parent of the server, so that the server ends whichever processes are killed: if all users are, this one stops it;
if this one is, the system does (on Linux). It imports nothing of the service, so that it starts fast and stays small. `workers.queue.valkey`
describes the locks; LOCK is the descriptor of `server`.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal
import sys
import time
from typing import BinaryIO

POLL_S = 0.5
STOP_S = 10.0
PR_SET_PDEATHSIG = 1


def main(folder: str, lock: str, *command: str) -> None:
    ended = _end_of_child()
    server = _start(command)
    os.close(int(lock))
    signal.signal(signal.SIGTERM, lambda number, frame: os.kill(server, signal.SIGTERM))
    with open(os.path.join(folder, "turn"), "ab") as turn, open(os.path.join(folder, "owners"), "ab") as owners:
        while not _has_ended(server):
            select.select([ended], [], [], POLL_S)
            # Whoever holds `turn` is starting to use the server, or stopping it: a new user can't come in between.
            if _try_lock(turn):
                if _try_lock(owners):
                    _stop(server)
                    return
                fcntl.flock(turn, fcntl.LOCK_UN)


def _start(command: tuple[str, ...]) -> int:
    keeper = os.getpid()
    server = os.fork()
    if server == 0:
        try:
            if sys.platform == "linux":
                ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() == keeper:  # otherwise it died before the call above
                os.execv(command[0], command)
        finally:
            os._exit(1)
    return server


def _end_of_child() -> int:
    """A descriptor that is readable once a child has ended."""
    reading, writing = os.pipe()
    signal.signal(signal.SIGCHLD, lambda number, frame: os.close(writing))
    return reading


def _stop(server: int) -> None:
    os.kill(server, signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    while not _has_ended(server):
        if time.monotonic() > deadline:
            os.kill(server, signal.SIGKILL)  # its append-only file is written before each answer
        time.sleep(0.01)


def _has_ended(server: int) -> bool:
    return os.waitpid(server, os.WNOHANG)[0] != 0


def _try_lock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    main(*sys.argv[1:])
