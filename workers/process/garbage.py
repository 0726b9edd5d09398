"""Garbage collection: deletes files that no row refers to, such as those of an attempt that ended before its commit."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from workers.data import catalog
from workers.db.database import Database
from workers.process.periodic import periodic
from workers.queue.queue import Queue
from workers.runs import store
from workers.storage.artifacts import Artifacts

BATCH: Final = 500
_log = structlog.stdlib.get_logger(__name__)


async def collect_garbage(database: Database, artifacts: Artifacts, *, older_than_s: float) -> int:
    """Delete files that no row refers to; returns their number.

    A file is written before the row that refers to it is committed, so young files are left alone. Their age is measured by the storage's clock:
    a machine whose own clock is ahead would take new files for old ones.
    """
    before_ms = await asyncio.to_thread(artifacts.now_ms) - int(older_than_s * 1000)
    old = await asyncio.to_thread(lambda: [file.hash for file in artifacts.list_all() if file.modified_ms < before_ms])
    deleted = 0
    for start in range(0, len(old), BATCH):
        names = set(old[start : start + BATCH])
        async with database.read() as session:
            names -= await store.files_of_results(session, names)
            names -= await catalog.referenced_files(session, names)
        await asyncio.to_thread(artifacts.delete, names, before_ms=before_ms)
        deleted += len(names)
    return deleted


async def collect_garbage_forever(database: Database, artifacts: Artifacts, queue: Queue, *, every_s: float) -> None:
    """Delete unreferenced files older than a period, once a period until cancelled."""

    async def work() -> None:
        if deleted := await collect_garbage(database, artifacts, older_than_s=every_s):
            _log.info("unreferenced files deleted", files=deleted)

    await periodic(queue, "garbage-collection", every_s, work)
