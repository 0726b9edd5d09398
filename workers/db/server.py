"""The database server: whether it accepts writes, and which of its settings can lose accepted runs."""

from __future__ import annotations

import errno
import os

import sqlalchemy as sa

from workers.db.database import Database
from workers.errors import Unavailable


async def check_writable(database: Database) -> None:
    """
    Raises:
        Unavailable: PostgreSQL accepts no writes on this connection.
    """
    async with database.read() as session:
        if database.kind != "postgresql":
            await session.execute(sa.select(sa.literal(1)))
        # A standby says so, too, and so do providers when its disk is full. No row is written, which would have to be vacuumed.
        elif await session.scalar(sa.text("SELECT current_setting('transaction_read_only')")) == "on":
            hint = "set DATABASE_URL to the primary, or default_transaction_read_only to off"
            raise Unavailable("PostgreSQL accepts only reads", hint=hint, code="read_only")


def sqlite_file(database: Database) -> str | None:
    return database.engine.url.database if database.kind == "sqlite" else None


def check_sqlite_file(file: str) -> None:
    """
    Raises:
        OSError: the file can't be written.
    """
    if not os.access(file, os.W_OK):
        raise PermissionError(errno.EACCES, "the database can't be written", file)


async def list_risks(database: Database) -> list[str]:
    """What can make the server lose accepted runs when it crashes, each as a sentence for operators."""
    if database.kind != "postgresql":
        return []
    risks = []
    async with database.read() as session:
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            value = await session.scalar(sa.text("SELECT current_setting(:name)"), {"name": name})
            if value == "off":
                risks.append(f"PostgreSQL can lose accepted runs when it crashes ({name} = off); set {name} = on")
    return risks
