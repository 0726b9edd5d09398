"""States and priorities of runs."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class RunState(StrEnum):
    """The state of a run. `succeeded`, `failed`, `cancelled` and `dead` are final, unless a dead run is redriven."""

    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DEAD = "dead"


class AttemptOutcome(StrEnum):
    """How an attempt ended. `lost`: its worker died or stopped responding. `requeued`: its worker was stopped."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DEAD = "dead"
    LOST = "lost"
    REQUEUED = "requeued"


class Priority(StrEnum):
    """Runs of higher priority start first. Waiting raises the rank of a run, so that every run starts."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


# running -> running: another worker takes over after the lease expired; running -> queued: a stopping worker returns the job.
# dead -> queued: a dead letter is replayed; dead -> cancelled: it is discarded.
TRANSITIONS: Final = {
    RunState.QUEUED: frozenset({RunState.RUNNING, RunState.CANCELLED}),
    RunState.RUNNING: frozenset(RunState),
    RunState.RETRYING: frozenset({RunState.RUNNING, RunState.CANCELLED}),
    RunState.SUCCEEDED: frozenset[RunState](),
    RunState.FAILED: frozenset[RunState](),
    RunState.CANCELLED: frozenset[RunState](),
    RunState.DEAD: frozenset({RunState.QUEUED, RunState.CANCELLED}),
}
WAITING: Final = frozenset({RunState.QUEUED, RunState.RETRYING})
OPEN: Final = WAITING | {RunState.RUNNING}
DONE: Final = frozenset(RunState) - OPEN


def predecessors(state: RunState) -> frozenset[RunState]:
    """The states from which a run may change to `state`."""
    return frozenset(origin for origin, targets in TRANSITIONS.items() if state in targets)
