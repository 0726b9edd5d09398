"""How a run is queued: headers and parameters of every operation that submits one."""

from __future__ import annotations

from typing import Annotated

from litestar.di import NamedDependency
from litestar.params import QueryParameter

from api.http.idempotency import RunKey
from workers import Priority, RunOptions, Service
from workers.model.clock import LATEST_MS

RunPriority = Annotated[
    Priority,
    QueryParameter(
        description="Jobs of higher priority start first. Waiting raises a job's rank, so that every job starts. Default: `normal`."
    ),
]
RunAt = Annotated[
    int | None,
    QueryParameter(
        ge=0,
        lt=LATEST_MS,
        # Litestar omits limits of 0.
        schema_extra={"minimum": 0},
        description="Earliest start, UTC epoch milliseconds, before 2100; default: now.",
    ),
]


def provide_run_options(
    # Unused, but Litestar provides what depends on nothing in tasks of a group, which take longer than all the rest.
    service: NamedDependency[Service],
    idempotency_key: RunKey = "",
    priority: RunPriority = Priority.NORMAL,
    run_at: RunAt = None,
) -> RunOptions:
    return RunOptions(priority=priority, run_at=run_at, key=idempotency_key)
