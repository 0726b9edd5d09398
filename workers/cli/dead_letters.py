"""`barstorm dead`: dead letters on the command line."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from workers.cli.operations import add_command
from workers.cli.pages import LIMIT, all_items
from workers.errors import Invalid
from workers.model.runs import RunError
from workers.runs.dead_letters import DeadLetterSelection
from workers.service.queue import QueueAdministration
from workers.service.service import open_service
from workers.settings import Settings


def add_parsers(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of `barstorm dead`."""
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", dest="action")
    add_command(commands, "list", "queue.list_dead_letters")
    add_command(commands, "show", "queue.get_dead_letter").add_argument("id", nargs="+", metavar="ID", help="ids of runs")
    for name in ("redrive", "discard"):
        added = add_command(commands, name, f"queue.{name}")
        added.add_argument("id", nargs="*", metavar="ID", help="ids of runs")
        added.add_argument("--all", action="store_true", help="all dead letters")


def run(settings: Settings, options: argparse.Namespace) -> int:
    async def run() -> Sequence[str]:
        async with open_service(settings) as service:
            return await run_action(service.queue, options.action, getattr(options, "id", ()), select_all=getattr(options, "all", False))

    for line in asyncio.run(run()):
        print(line)
    return 0


async def run_action(queue: QueueAdministration, action: str, ids: Sequence[str], *, select_all: bool) -> Sequence[str]:
    """Execute a subcommand; returns the lines to print."""
    if action == "list":
        return await _list(queue)
    if action == "show":
        return [line for run_id in ids for line in await _show(queue, run_id)]
    try:
        selection = DeadLetterSelection(ids=tuple(ids), all=select_all)
    except ValueError:
        raise Invalid("select runs by their ids or with --all, not both", where=f"dead {action}") from None
    affected = await (queue.redrive if action == "redrive" else queue.discard)(selection)
    count, what = len(affected.ids), "queued again" if action == "redrive" else "discarded"
    return [*affected.ids, f"{count} {'run' if count == 1 else 'runs'} {what}"]


async def _list(queue: QueueAdministration) -> Sequence[str]:
    letters = all_items(lambda cursor: queue.list_dead_letters(limit=LIMIT, cursor=cursor))
    lines = [f"{letter.id}  {letter.kind}  {_time(letter.died_at)}  {_error(letter.error)}" async for letter in letters]
    return [*lines, f"{len(lines)} {'dead letter' if len(lines) == 1 else 'dead letters'}"]


async def _show(queue: QueueAdministration, run_id: str) -> Sequence[str]:
    letter = await queue.get_dead_letter(run_id)
    return [
        f"{letter.id}  {letter.kind}  owner {letter.owner!r}  priority {letter.priority}  died {_time(letter.died_at)}",
        f"  request  {msgspec.json.encode(letter.request).decode()}",
        *(
            f"  attempt {attempt.attempt}  {_time(attempt.started_at)}  {attempt.worker}  {attempt.outcome}  {_error(attempt.error)}"
            for attempt in letter.attempts or ()
        ),
    ]


def _error(error: RunError | None) -> str:
    return "" if error is None else f"{error.code}: {error.message}"


def _time(time_ms: int | None) -> str:
    return "-" if time_ms is None else datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
