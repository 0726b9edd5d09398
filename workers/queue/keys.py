"""The keys in Redis, all but ARQ's own `arq:job:<job id>`, which hold the payloads."""

from __future__ import annotations

from typing import Final

PREFIX: Final = "barstorm:"

# Described in queue.lua, which they are passed to.
QUEUE: Final = PREFIX + "queue"
TIMERS: Final = PREFIX + "timers"
JOBS: Final = PREFIX + "jobs"
LEASES: Final = PREFIX + "leases"
EXPIRED: Final = PREFIX + "expired"
RUNNING: Final = PREFIX + "running"
COUNTERS: Final = PREFIX + "counters"
PAUSED: Final = PREFIX + "paused"
READY: Final = PREFIX + "ready:"
OWNERS: Final = PREFIX + "owners:"
WAKE: Final = PREFIX + "wake:"

WORKERS: Final = PREFIX + "workers"
DURATIONS: Final = PREFIX + "durations"
# The channel of announcements about runs.
CHANGES: Final = PREFIX + "changes"
# The stream of the latest announcements, for those who were away.
ANNOUNCED: Final = PREFIX + "announced"
# The channel of the ids of runs whose workers are to stop them.
CANCELS: Final = PREFIX + "cancels"


def ready(priority: str, owner: str) -> str:
    """The ready jobs of an owner with one priority."""
    return f"{READY}{priority}:{owner}"


def wake(priority: str) -> str:
    """The list on which idle workers wait for jobs of one priority."""
    return WAKE + priority


def cancel(run_id: str) -> str:
    """The request to a run's worker to stop it."""
    return f"{PREFIX}cancel:{run_id}"


def period(task: str) -> str:
    """Exists while a periodic task has been done for this period."""
    return f"{PREFIX}period:{task}"


def rate(owner: str) -> str:
    """The token bucket of an owner's requests."""
    return f"{PREFIX}rate:{owner}"


def events(run_id: str) -> str:
    """The stream of a run's progress."""
    return f"{PREFIX}events:{run_id}"
