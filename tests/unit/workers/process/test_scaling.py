"""How many workers there should be."""

from __future__ import annotations

import pytest

from workers.process.scaling import Scaling, wanted
from workers.queue.queue import QueueStats

SCALING = Scaling(least=0, most=8, levels="12")


def figures(ready: int, held: int = 0, age_ms: int = 5000, *, levels: str = "1", paused: bool = False) -> QueueStats:
    return QueueStats(ready, 0, held, age_ms if ready else -1, paused, levels if ready else "")


@pytest.mark.parametrize(
    ("running", "found", "idle", "expected"),
    [
        (0, figures(0), False, 0),
        (0, figures(1, age_ms=0), False, 1),
        (1, figures(5, 2, age_ms=10), False, 1),
        (1, figures(100, 2), False, 2),
        (2, figures(100, 4), False, 4),
        (6, figures(100, 12), False, 8),
        (1, figures(1, 2), False, 2),
        (4, figures(1, 2), False, 4),
        (4, figures(0, 2), True, 3),
        (4, figures(0, 8), False, 4),
        (0, figures(9, levels="0"), False, 0),
        (0, figures(9, paused=True), False, 0),
        (3, figures(9, paused=True), True, 2),
    ],
)
def test_workers_follow_the_jobs_that_wait(running: int, found: QueueStats, idle: bool, expected: int) -> None:
    assert wanted(running, found, SCALING, concurrency=2, idle=idle) == expected


def test_there_are_never_fewer_than_the_least() -> None:
    assert wanted(2, figures(0), Scaling(2, 4, "012"), concurrency=2, idle=True) == 2
    assert wanted(0, figures(0), Scaling(2, 4, "012"), concurrency=2, idle=False) == 2
