"""Pages of runs, newest first; the cursor is the id of the last run of the previous page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from workers.db.tables import RunRow
from workers.errors import Invalid
from workers.model.names import is_reference

MAX_ROWS: Final = 1000


async def page_of_runs(
    session: AsyncSession, *conditions: sa.ColumnElement[Any], limit: int, cursor: str | None
) -> tuple[Sequence[RunRow], str | None]:
    """Up to `limit` runs that meet all conditions, and the cursor of the next page, None on the last.

    Raises:
        Invalid: the limit is out of range, or the cursor is not valid.
    """
    if not 1 <= limit <= MAX_ROWS:
        raise Invalid(f"{limit} is out of range", where="limit", hint=f"use 1 to {MAX_ROWS}")
    if cursor is not None:
        if not is_reference(cursor):
            raise Invalid(f"{cursor!r:.60} is not a cursor", where="cursor", hint="use the next_cursor of the previous page")
        conditions += (RunRow.id < cursor,)
    query = sa.select(RunRow).where(*conditions).order_by(RunRow.id.desc()).limit(limit + 1)
    rows = (await session.scalars(query)).all()
    return rows[:limit], rows[limit - 1].id if len(rows) > limit else None
