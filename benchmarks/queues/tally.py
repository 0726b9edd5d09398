"""Progress of the workers, in memory shared with the benchmark, so counting costs almost nothing."""

from __future__ import annotations

import mmap
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from queues import Contender

START_S = 60.0
_FIELDS = 4  # ready, jobs done, time of the first one's end, time of the last one's end
_WORKERS = 8


class Tally:
    """One row per worker, and a word that starts them all. Times are nanoseconds of the clock shared by all processes."""

    def __init__(self, path: Path, worker: int = 0) -> None:
        size = 8 * (1 + _FIELDS * _WORKERS)
        if not path.exists():
            path.write_bytes(bytes(size))
        with path.open("r+b") as file:
            self._words = memoryview(mmap.mmap(file.fileno(), size)).cast("q")
        self._row = 1 + _FIELDS * worker

    def ready(self) -> None:
        """Report this worker as ready, and wait for the start."""
        self._words[self._row] = 1
        while not self._words[0]:
            time.sleep(0.001)

    def count(self) -> None:
        words, row = self._words, self._row
        now = time.monotonic_ns()
        if words[row + 1] == 0:
            words[row + 2] = now
        words[row + 3] = now
        words[row + 1] += 1

    def begin(self) -> None:
        self._words[0] = 1

    @property
    def waiting(self) -> int:
        return sum(self._words[1::_FIELDS])

    @property
    def done(self) -> int:
        return sum(self._words[2::_FIELDS])

    @property
    def last_ns(self) -> int:
        return max(self._words[4::_FIELDS])

    @property
    def seconds(self) -> float:
        """From the end of the first job to the end of the last."""
        return (self.last_ns - min(first for first in self._words[3::_FIELDS] if first)) / 1e9


@contextmanager
def worker_processes(contender: Contender, count: int, folder: Path) -> Iterator[Tally]:
    """`count` workers, set up and waiting for `begin`."""
    path = folder / f"tally-{secrets.token_hex(6)}"
    tally = Tally(path)
    command = [sys.executable, str(Path(__file__).with_name("work.py")), contender.name, contender.redis_url, str(path)]
    started = [subprocess.Popen([*command, str(number)], stderr=subprocess.PIPE) for number in range(count)]
    try:
        deadline = time.monotonic() + START_S
        while tally.waiting < count:
            ended = [process for process in started if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                output = ended[0].stderr.read().decode()[-2000:] if ended and ended[0].stderr else ""
                raise RuntimeError(f"a worker of {contender.name} did not start: {output}")
            time.sleep(0.001)
        yield tally
    finally:
        for process in started:
            process.kill()
            process.communicate()
        path.unlink()
