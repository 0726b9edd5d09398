"""Run by Alembic, on the connection from `workers.db.database` or else on the database of the settings."""

from __future__ import annotations

import asyncio

from alembic import context
from sqlalchemy import Connection

from workers.db.database import open_database
from workers.db.tables import Table
from workers.settings import Settings


def migrate(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Table.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


async def connect() -> None:
    async with open_database(Settings.from_env().database_url) as database, database.engine.begin() as connection:
        await connection.run_sync(migrate)


given: Connection | None = context.config.attributes.get("connection")
if given is None:
    asyncio.run(connect())
else:
    migrate(given)
