"""Dead letters on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from workers.errors import Invalid
from workers.model.runs import RunError
from workers.runs.dead_letters import DeadLetterSelection
from workers.service.queue import QueueAdministration

ACTIONS: Final = ("list", "show", "redrive", "discard")


async def dead_lines(queue: QueueAdministration, action: str, ids: Sequence[str], *, every: bool) -> Sequence[str]:
    """Do it, and tell in lines."""
    if action == "list":
        return await _list(queue)
    if action == "show":
        return [line for run_id in ids for line in await _show(queue, run_id)]
    try:
        choice = DeadLetterSelection(ids=tuple(ids), all=every)
    except ValueError as error:
        raise Invalid(str(error), where=f"dead {action}", hint="give ids of runs, or --all") from None
    chosen = await (queue.redrive if action == "redrive" else queue.discard)(choice)
    return [*chosen.ids, f"{len(chosen.ids)} {'sent again' if action == 'redrive' else 'discarded'}"]


async def _list(queue: QueueAdministration) -> Sequence[str]:
    lines, cursor = [], None
    while True:
        page = await queue.list_dead_letters(limit=500, cursor=cursor)
        lines += [f"{letter.id}  {letter.kind}  {_time(letter.died_at)}  {_error(letter.error)}" for letter in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return [*lines, f"{len(lines)} dead"]


async def _show(queue: QueueAdministration, run_id: str) -> Sequence[str]:
    letter = await queue.get_dead_letter(run_id)
    return [
        f"{letter.id}  {letter.kind}  owner {letter.owner!r}  {letter.priority}  died {_time(letter.died_at)}",
        f"  asked    {msgspec.json.encode(letter.request).decode()}",
        *(
            f"  attempt {attempt.attempt}  {_time(attempt.started_at)}  {attempt.worker}  {attempt.outcome}  {_error(attempt.error)}"
            for attempt in letter.attempts or ()
        ),
    ]


def _error(error: RunError | None) -> str:
    return "" if error is None else f"{error.code}: {error.message}"


def _time(time_ms: int | None) -> str:
    return "-" if time_ms is None else datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
