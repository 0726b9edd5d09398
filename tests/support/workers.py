"""Worker processes that tests start, and the types of the fixtures about workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager

import workers
from workers.model.states import RunState
from workers.process.worker import LeaseWorker

Finished = Callable[..., Awaitable[workers.Run]]
StartWorker = Callable[[workers.Settings], AbstractAsyncContextManager[LeaseWorker]]

WORK = "import workers.process.run, workers; workers.process.run.run(workers.Settings.from_env())"
# A worker that never finishes a run.
HOLD = f"""
import time
from workers.jobs import backtest
compute = backtest.compute
def hold(*given):
    while not given[-1].cancelled:
        time.sleep(0.005)
    return compute(*given)
backtest.compute = hold
{WORK}
"""


class WorkerProcesses:
    """Worker processes of one test; `end` kills the remaining ones, including paused ones."""

    def __init__(self, settings: workers.Settings) -> None:
        self._settings = settings
        self._all: list[subprocess.Popen[bytes]] = []

    def start(self, script: str = WORK) -> subprocess.Popen[bytes]:
        environ = {**os.environ, **self._settings.to_env(), "BARSTORM_LOG_LEVEL": "error"}
        process = subprocess.Popen([sys.executable, "-c", script], env=environ)
        self._all.append(process)
        return process

    def end(self) -> None:
        for process in self._all:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()


def running(service: workers.Service, run_id: str) -> Callable[[], Awaitable[bool]]:
    """A condition for `until`: the run is running."""

    async def condition() -> bool:
        return (await service.backtests.get(run_id)).state == RunState.RUNNING

    return condition


@contextmanager
def worker_process(settings: workers.Settings) -> Iterator[None]:
    """A worker process that runs during the block and must exit cleanly."""
    process = subprocess.Popen([sys.executable, "-c", WORK], env={**os.environ, **settings.to_env()})
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(timeout=60) in (0, -signal.SIGTERM)  # the latter if it had not begun to listen for signals
