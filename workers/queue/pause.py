"""Pause of the queue: stored in the database, and applied to Redis within the same transaction, so that the two can't end up different."""

from __future__ import annotations

from typing import Final

from workers.db import locks
from workers.db.database import Database
from workers.db.tables import PauseRow
from workers.model.clock import now_ms
from workers.queue.queue import Queue

_QUEUE: Final = "queue"


async def pause(database: Database, queue: Queue) -> None:
    """Stop claims until `resume`; running jobs finish."""
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


async def restore(database: Database, queue: Queue) -> None:
    """Apply the stored state again, if Redis has lost it."""
    async with database.read() as session:
        paused = await session.get(PauseRow, _QUEUE) is not None
    if paused == (await queue.stats()).paused:
        return
    async with database.write() as session:
        await locks.lock(session, _QUEUE)
        if await session.get(PauseRow, _QUEUE) is None:
            await queue.resume()
        else:
            await queue.pause()
