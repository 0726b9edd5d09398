"""The revision of succeeded runs, by which each process knows whether those that it remembers are still as they were.

The database counts the changes: new labels, and deletions. A process asks for the count once in `VALID_S` while it has requests, so that most of
them need no query. Who has made a change answers only after that time, when every process has to ask again: a request that follows the
answer sees the change, wherever it arrives.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from workers.db import revision
from workers.db.batches import Batches
from workers.db.database import Database
from workers.db.revision import Revisions

VALID_S: Final = 0.02


class RunsRevision:
    """The revision as this process knows it."""

    def __init__(self, database: Database) -> None:
        self._find = Batches[None, Revisions](database, find_revisions, reading=True)
        self._revision = 0
        self._asked_at = float("-inf")

    async def current(self) -> int:
        """The revision at most `VALID_S` before this call."""
        now = time.monotonic()
        if self._asked_at + VALID_S <= now:
            found = await self._find(None)
            if now > self._asked_at:
                self._asked_at, self._revision = now, found.runs
        return self._revision


def find_revisions(connection: sa.Connection, items: Sequence[None]) -> list[Revisions | Exception]:
    """The current revisions, for each who asks."""
    return [revision.read(connection)] * len(items)


async def outdate() -> None:
    """Wait, after the commit of a change, until no process relies on an older revision."""
    await asyncio.sleep(VALID_S)
