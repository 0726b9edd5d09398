"""Whether workers may claim jobs: the database keeps it, the queue is told.

The queue is told within the transaction, so that nobody tells it what was true a moment ago.
"""

from __future__ import annotations

from typing import Final

from workers.db import locks
from workers.db.database import Database
from workers.db.tables import PauseRow
from workers.model.clock import now_ms
from workers.queue.queue import Queue

_QUEUE: Final = "queue"


async def pause(database: Database, queue: Queue) -> None:
    """Let workers finish what they have and claim no more, until `resume`."""
    async with database.write() as session:
        await locks.lock(session, _QUEUE)
        if await session.get(PauseRow, _QUEUE) is None:
            session.add(PauseRow(what=_QUEUE, since=now_ms()))
        await queue.pause()


async def resume(database: Database, queue: Queue) -> None:
    async with database.write() as session:
        await locks.lock(session, _QUEUE)
        if (row := await session.get(PauseRow, _QUEUE)) is not None:
            await session.delete(row)
        await queue.resume()


async def remind(database: Database, queue: Queue) -> None:
    """Tell the queue again, if it has forgotten."""
    async with database.read() as session:
        paused = await session.get(PauseRow, _QUEUE) is not None
    if paused == (await queue.figures()).paused:
        return
    async with database.write() as session:
        await locks.lock(session, _QUEUE)
        if await session.get(PauseRow, _QUEUE) is None:
            await queue.resume()
        else:
            await queue.pause()
