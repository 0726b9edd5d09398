"""`Prefer: wait=10` (RFC 7240): the answer comes when the run has finished, or after that time."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

from litestar import Request, Response
from litestar.datastructures import ResponseHeader
from litestar.params import HeaderParameter

from api.http.disconnects import while_connected
from api.http.protocol import ON_SHUTDOWN
from workers import Run, Service, Unavailable
from workers.model.states import DONE
from workers.service.backtests import MAX_WAIT_S

APPLIED: Final = "preference-applied"
Prefer = Annotated[
    str,
    HeaderParameter(
        name="Prefer",
        max_length=200,
        description=f"`wait=10` waits up to 10 seconds, at most {MAX_WAIT_S}, for the run to finish. Without it, or while very many requests wait, "
        "the answer is immediate.",
    ),
]


def applied_header() -> ResponseHeader:
    """The `Preference-Applied` header of an operation, for the OpenAPI document."""
    description = "`wait=10` if that was preferred and the run has finished."
    return ResponseHeader(name="Preference-Applied", value="", description=description, required=False, documentation_only=True)


async def finished(request: Request[Any, Any, Any], service: Service, run: Run, prefer: str) -> Run:
    """The run when it has finished, as it is when the preferred time is over or the server stops, or as given if that can't be told."""
    wait_s = _wait_s(prefer)
    if not wait_s or run.state in DONE:
        return run
    waiting = asyncio.ensure_future(service.backtests.get(run.id, wait_s=wait_s))
    request.scope["state"][ON_SHUTDOWN] = waiting.cancel
    try:
        return await while_connected(request, waiting)
    except Unavailable:
        return run
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
        return run


def mark_applied(response: Response[Run], run: Run, prefer: str) -> Response[Run]:
    """The response, with a note if the preference for a finished run was met."""
    if (wait_s := _wait_s(prefer)) and run.state in DONE:
        response.headers[APPLIED] = f"wait={wait_s}"
    return response


def _wait_s(prefer: str) -> int:
    """The preferred time, at most `MAX_WAIT_S`; 0 without one. What is not understood is ignored, as the standard wants."""
    for preference in prefer.split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        seconds = value.strip().strip('"')
        if name.strip().lower() == "wait" and seconds.isascii() and seconds.isdigit():
            return min(int(seconds), MAX_WAIT_S)
    return 0
