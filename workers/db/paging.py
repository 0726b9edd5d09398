"""Pages of rows. A page begins after the last row of the one before, wherever that is by now, so that rows added or deleted meanwhile shift nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from workers.db.tables import Table
from workers.errors import Invalid
from workers.model import cursors
from workers.model.names import is_reference

MAX_ROWS: Final = 1000

R = TypeVar("R", bound=Table)


async def page_of(
    session: AsyncSession,
    list_name: str,
    table: type[R],
    *conditions: sa.ColumnElement[bool],
    by: Sequence[str] = ("id",),
    ascending: bool = False,
    limit: int,
    cursor: str | None,
) -> tuple[Sequence[R], str | None]:
    """Up to `limit` rows that meet all conditions, and the cursor of the next page, None on the last.

    Rows are sorted by the columns `by`, which together are unique; by default the newest come first. Cursors are those of the list with this name.

    Raises:
        Invalid: the limit is out of range, or the cursor is not one of this list.
    """
    if not 1 <= limit <= MAX_ROWS:
        raise Invalid(f"{limit} is out of range", where="limit", hint=f"use 1 to {MAX_ROWS}")
    columns = [table.__table__.c[name] for name in by]
    if cursor is not None:
        last = cursors.decode(list_name, cursor, [column.type.python_type for column in columns])
        conditions += (_after(columns, last, ascending=ascending),)
    order = [column.asc() if ascending else column.desc() for column in columns]
    query = sa.select(table).where(*conditions).order_by(*order).limit(limit + 1)
    rows = (await session.scalars(query)).all()
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], cursors.encode(list_name, [getattr(rows[limit - 1], name) for name in by])


def matches(column: sa.SQLColumnExpression[str], value: str | None) -> sa.ColumnElement[bool]:
    """The condition that a column has a value that a client gave; None: any."""
    # PostgreSQL refuses some texts, which no row has.
    return sa.true() if value is None else column == value if is_reference(value) else sa.false()


def begins_with(column: sa.SQLColumnExpression[str], prefix: str | None) -> sa.ColumnElement[bool]:
    """The condition that a column begins with what a client gave, in the same case; None: any."""
    return matches(sa.func.substr(column, 1, len(prefix or "")), prefix)


def _after(columns: Sequence[sa.ColumnElement[Any]], last: Sequence[str | int], *, ascending: bool) -> sa.ColumnElement[bool]:
    first, key = columns[0], sa.tuple_(*columns)
    # What the first column has to be follows from the rest, but lets an index that begins with an owner serve, too.
    return sa.and_(first >= last[0], key > last) if ascending else sa.and_(first <= last[0], key < last)
