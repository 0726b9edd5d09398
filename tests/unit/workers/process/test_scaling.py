"""The target number of workers."""

from __future__ import annotations

import pytest

from workers.process.scaling import Scaling, target_workers
from workers.queue.queue import QueueStats

SCALING = Scaling(min_workers=0, max_workers=8, priorities="12")


def stats(ready: int, held: int = 0, age_ms: int = 5000, *, priorities: str = "1", paused: bool = False) -> QueueStats:
    return QueueStats(ready, 0, held, age_ms if ready else -1, paused, priorities if ready else "")


@pytest.mark.parametrize(
    ("running", "queue", "idle", "expected"),
    [
        (0, stats(0), False, 0),
        (0, stats(1, age_ms=0), False, 1),
        (1, stats(5, 2, age_ms=10), False, 1),
        (1, stats(100, 2), False, 2),
        (2, stats(100, 4), False, 4),
        (6, stats(100, 12), False, 8),
        (1, stats(1, 2), False, 2),
        (4, stats(1, 2), False, 4),
        (4, stats(0, 2), True, 3),
        (4, stats(0, 8), False, 4),
        (0, stats(9, priorities="0"), False, 0),
        (0, stats(9, paused=True), False, 0),
        (3, stats(9, paused=True), True, 2),
    ],
)
def test_workers_follow_the_waiting_jobs(running: int, queue: QueueStats, idle: bool, expected: int) -> None:
    assert target_workers(running, queue, SCALING, concurrency=2, idle=idle) == expected


def test_there_are_never_fewer_than_the_minimum() -> None:
    assert target_workers(2, stats(0), Scaling(2, 4, "012"), concurrency=2, idle=True) == 2
    assert target_workers(0, stats(0), Scaling(2, 4, "012"), concurrency=2, idle=False) == 2
