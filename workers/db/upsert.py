"""INSERT with ON CONFLICT, which SQLAlchemy offers per dialect only."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession


def insert(target: AsyncSession | sa.Connection, table: Any) -> postgresql.Insert | sqlite.Insert:
    """An INSERT into a table that has `on_conflict_do_nothing` and `on_conflict_do_update`."""
    dialect = target.dialect if isinstance(target, sa.Connection) else target.get_bind().dialect
    return postgresql.insert(table) if dialect.name == "postgresql" else sqlite.insert(table)
