"""The sweep: deletes files that no row names, such as those of attempts whose end never reached the database."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from workers.data import catalog
from workers.db.database import Database
from workers.queue.queue import Queue, RedisError
from workers.runs import store
from workers.storage.artifacts import Artifacts

BATCH: Final = 500
_log = structlog.stdlib.get_logger(__name__)


async def sweep(database: Database, artifacts: Artifacts, *, older_than_s: float) -> int:
    """Delete files that nothing names; how many. A file has its name before its row is committed, so young ones are left alone,
    by the clock of where they are kept: a machine whose own is ahead would find them old."""
    before_ms = await asyncio.to_thread(artifacts.now_ms) - int(older_than_s * 1000)
    old = await asyncio.to_thread(lambda: [kept.hash for kept in artifacts.every() if kept.modified_ms < before_ms])
    deleted = 0
    for start in range(0, len(old), BATCH):
        names = set(old[start : start + BATCH])
        async with database.read() as session:
            names -= await store.files_of_results(session, names)
            names -= await catalog.files_of_datasets(session, names)
        await asyncio.to_thread(artifacts.delete, names, before_ms=before_ms)
        deleted += len(names)
    return deleted


async def sweep_forever(database: Database, artifacts: Artifacts, queue: Queue, *, every_s: float) -> None:
    """Sweep in every period what is older than one, by one process of all that run this."""
    while True:
        await asyncio.sleep(every_s)
        try:
            if await queue.my_turn("sweep", every_s * 0.9):
                if deleted := await sweep(database, artifacts, older_than_s=every_s):
                    _log.info("files that nothing names are deleted", files=deleted)
        except (RedisError, SQLAlchemyError, OSError) as error:
            _log.warning("files not swept", reason=str(error))
