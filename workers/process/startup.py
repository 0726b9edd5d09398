"""Start of a process: wait for the database, so that database and service may be started in any order."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from workers.db.database import open_database
from workers.outages import outage
from workers.settings import Settings

FIRST_PAUSE_S: Final = 0.5
MAX_PAUSE_S: Final = 5.0
_log = structlog.stdlib.get_logger(__name__)


async def migrate_when_reachable(settings: Settings) -> None:
    """Bring the schema up to date as soon as the database can be reached; a line in the log for each try that fails.

    Raises:
        Conflict: a newer version of Barstorm has migrated this database.
    """
    pause_s = FIRST_PAUSE_S
    async with open_database(settings.database_url) as database:
        while True:
            try:
                return await database.migrate()
            except Exception as error:
                if (reason := outage(error)) is None:
                    raise
                _log.warning("waiting for the database", in_s=pause_s, reason=reason.message)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, MAX_PAUSE_S)
