"""How a run is queued: headers and parameters that every submitting operation takes."""

from __future__ import annotations

from typing import Annotated

from litestar.params import HeaderParameter, QueryParameter

from workers import Priority, RunOptions

PRIORITIES = "|".join(Priority)
Key = Annotated[
    str,
    HeaderParameter(
        name="Idempotency-Key",
        max_length=200,
        description="Any text of your own; the same request under the same key is accepted once, another one is refused (409). Known for a day.",
    ),
]
Owner = Annotated[
    str, HeaderParameter(name="Barstorm-Owner", max_length=120, description="Whose it is: owners take turns, and each may have a limit.")
]
Urgency = Annotated[
    str, QueryParameter(pattern=rf"^({PRIORITIES})(?!\n)$", description=f"{PRIORITIES}; what waits long goes before what is more urgent.")
]
RunAt = Annotated[int | None, QueryParameter(ge=0, le=2**53, description="Not before this time, UTC epoch milliseconds.")]


def provide_run_options(
    idempotency_key: Key = "", owner: Owner = "", priority: Urgency = Priority.NORMAL.value, run_at: RunAt = None
) -> RunOptions:
    return RunOptions(owner=owner, priority=Priority(priority), run_at=run_at, key=idempotency_key)
