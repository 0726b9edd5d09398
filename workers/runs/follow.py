"""Stream the events of a run as they happen, then the finished run from the database."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from workers.errors import Invalid
from workers.model.runs import Run
from workers.model.states import DONE
from workers.queue import events
from workers.queue.events import RunEvent
from workers.queue.queue import Queue, RedisError
from workers.runs.runs import Runs

# Redis may lose the last event, so the database is checked this often; the update also keeps an idle connection open.
POLL_S: Final = 2.0
# The event id of the last update of a stream.
END: Final = "end"
_EVENT_ID: Final = re.compile(r"\d{1,20}-\d{1,20}")


class RunUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """An event and its id, the finished run, or neither: a keep-alive."""

    event_id: str | None = None
    event: RunEvent | None = None
    run: Run | None = None


async def stream_events(runs: Runs, queue: Queue, run_id: str, after: str) -> AsyncIterator[RunUpdate]:
    """The events after the one with id `after`, or all that are stored.

    Raises:
        NotFound: unknown run.
        Invalid: `after` is not an event id.
    """
    if after and not _EVENT_ID.fullmatch(after):
        raise Invalid(f"{after!r:.60} is not an event id", where="Last-Event-ID", hint="use the id of the last event you received")
    run = await runs.get(run_id)
    return _stream(runs, queue, run, after or "0-0")


async def _stream(runs: Runs, queue: Queue, run: Run, last_id: str) -> AsyncIterator[RunUpdate]:
    ended = False
    while True:
        done = run.state in DONE
        try:
            # Only leaders have events; a follower shares those of its leader.
            new = await events.read(queue, run.leader_id or run.id, last_id, 0.001 if done else POLL_S)
        except (RedisError, OSError):
            new = []
            if not done:
                await asyncio.sleep(POLL_S)
        for last_id, event in new:
            if event.state not in DONE:
                yield RunUpdate(event_id=last_id, event=event)
            else:
                ended = True
        if done:
            yield RunUpdate(event_id=END, run=run)
            return
        if ended or not new:
            ended = False
            run = await runs.get(run.id)
            if run.state not in DONE:
                yield RunUpdate()
