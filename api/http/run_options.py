"""How a run is queued: headers and parameters of every operation that submits one."""

from __future__ import annotations

from typing import Annotated

from litestar.params import HeaderParameter, QueryParameter

from workers import Priority, RunOptions

IdempotencyKey = Annotated[
    str,
    HeaderParameter(
        name="Idempotency-Key",
        max_length=200,
        description="Unique text chosen by the client. A request that repeats an earlier one with the same key within a day starts nothing "
        "new and returns the earlier run; a different request with that key is rejected (409). Owners don't share keys.",
    ),
]
Owner = Annotated[
    str,
    HeaderParameter(
        name="Barstorm-Owner",
        max_length=120,
        description="Name of the owner. Owners share the workers in turn, and the server may limit the jobs and the market data of each.",
    ),
]
RunPriority = Annotated[
    Priority, QueryParameter(description="Jobs of higher priority start first. Waiting raises a job's rank, so that every job starts.")
]
RunAt = Annotated[int | None, QueryParameter(ge=0, le=2**53, description="Earliest start, UTC epoch milliseconds; default: now.")]


def provide_run_options(
    idempotency_key: IdempotencyKey = "", owner: Owner = "", priority: RunPriority = Priority.NORMAL, run_at: RunAt = None
) -> RunOptions:
    return RunOptions(owner=owner, priority=priority, run_at=run_at, key=idempotency_key)
