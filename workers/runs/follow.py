"""Follow a run: its events as they come, then its end as the database has it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from workers.db.database import Database
from workers.errors import Invalid
from workers.model.runs import Run
from workers.model.states import DONE
from workers.queue import events
from workers.queue.events import RunEvent
from workers.queue.queue import Queue, RedisError
from workers.runs import submit
from workers.runs.results import Results

# So often the database is asked, in case the news of the end is lost; whoever listens hears something, too.
LOOK_S: Final = 2.0
# The place after the last event of a run that is done.
END: Final = "end"
_PLACE: Final = re.compile(r"\d{1,20}-\d{1,20}")


class RunUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """An event and its place, the run at its end, or neither: a sign of life."""

    place: str | None = None
    event: RunEvent | None = None
    run: Run | None = None


async def follow(database: Database, results: Results, queue: Queue, run_id: str, after: str) -> AsyncIterator[RunUpdate]:
    """From a place on, or from the first event that is still known.

    Raises:
        NotFound: there is no such run.
        Invalid: there is no such place.
    """
    if after and not _PLACE.fullmatch(after):
        raise Invalid(f"{after!r:.60} is no place", where="Last-Event-ID", hint="use the id of the last event you had")
    run = await submit.get(database, results, run_id)
    return _follow(database, results, queue, run, after or "0-0")


async def _follow(database: Database, results: Results, queue: Queue, run: Run, place: str) -> AsyncIterator[RunUpdate]:
    ended = False
    while True:
        done = run.state in DONE
        try:
            # A run that follows an equal one has that one's news.
            seen = await events.read(queue, run.follows or run.id, place, 0.001 if done else LOOK_S)
        except (RedisError, OSError):
            seen = []
            if not done:
                await asyncio.sleep(LOOK_S)
        for place, event in seen:
            if event.state not in DONE:
                yield RunUpdate(place=place, event=event)
            else:
                ended = True
        if done:
            yield RunUpdate(place=END, run=run)
            return
        if ended or not seen:
            ended = False
            run = await submit.get(database, results, run.id)
            if run.state not in DONE:
                yield RunUpdate()
