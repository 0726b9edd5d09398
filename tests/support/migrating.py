"""The tables of a database, made by the migrations of the service."""

from __future__ import annotations

import asyncio

from workers.db.database import open_database


def migrate(url: str) -> None:
    async def run() -> None:
        async with open_database(url) as database:
            await database.migrate()

    asyncio.run(run())
