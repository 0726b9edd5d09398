"""Pages of rows in an order that the client chooses."""

from __future__ import annotations

import base64
import hashlib
from typing import Annotated, Any, NamedTuple

import msgspec
import sqlalchemy as sa
from msgspec import Meta

from workers.db.paging import MAX_ROWS
from workers.errors import Invalid
from workers.model.names import is_reference


class Order(NamedTuple):
    """An order of rows: by a column of numbers, rows without a value last, and by id where these are equal; or by id alone."""

    id: sa.ColumnElement[str]
    column: sa.ColumnElement[Any] | None = None
    descending: bool = True


class _Position(msgspec.Struct, frozen=True, array_like=True):
    """The last row of a page, and a hash of what was asked for."""

    query: bytes
    value: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | float | None
    id: str


def page_of_sorted(
    connection: sa.Connection, query: sa.Select[Any], order: Order, *, limit: int, cursor: str | None, asked_for: str
) -> tuple[list[str], str | None]:
    """The ids of up to `limit` rows of a query in an order, and the cursor of the next page, None on the last. Rows that are added meanwhile
    move no others.

    The query has conditions only: to sort whole rows would take several times as long. `asked_for` is a text of the filters and the order; a
    cursor is valid only for the one that it was made for.

    Raises:
        Invalid: the limit is out of range, or the cursor is not valid for this query.
    """
    if not 1 <= limit <= MAX_ROWS:
        raise Invalid(f"{limit} is out of range", where="limit", hint=f"use 1 to {MAX_ROWS}")
    digest = hashlib.blake2b(asked_for.encode(), digest_size=8).digest()
    after = None if cursor is None else _decode(cursor, digest, order)
    rows: list[sa.Row[Any]] = []
    # Rows with a value and those without are two queries, as both databases sort null in other places. Without a column, an index gives the order;
    # no metric has one, so all rows that meet the conditions are sorted for each page.
    if order.column is not None and (after is None or after.value is not None):
        rows += connection.execute(_with_value(query, order, order.column, after).limit(limit + 1))
        after = None
    if len(rows) <= limit:
        rows += connection.execute(_without_value(query, order, after).limit(limit + 1 - len(rows)))
    ids = [row.sort_id for row in rows[:limit]]
    if len(rows) <= limit:
        return ids, None
    return ids, _encode(_Position(digest, rows[limit - 1].sort_value, rows[limit - 1].sort_id))


def _with_value(query: sa.Select[Any], order: Order, column: sa.ColumnElement[Any], after: _Position | None) -> sa.Select[Any]:
    """Values and ids of the rows that have a value, after a position."""
    direction = sa.desc if order.descending else sa.asc
    rows = query.with_only_columns(column.label("sort_value"), order.id.label("sort_id"))
    rows = rows.where(column.is_not(None)).order_by(direction(column), direction(order.id))
    if after is None:
        return rows
    at = sa.literal(after.value, column.type)
    return rows.where(column <= at if order.descending else column >= at, sa.or_(column != at, _beyond(order, after)))


def _without_value(query: sa.Select[Any], order: Order, after: _Position | None) -> sa.Select[Any]:
    """Ids of the rows that have no value, or of all if there is no column, after a position."""
    columns: list[Any] = [sa.null().label("sort_value"), order.id.label("sort_id")]
    rows = query.with_only_columns(*columns).order_by(order.id.desc() if order.descending else order.id.asc())
    if order.column is not None:
        rows = rows.where(order.column.is_(None))
    return rows if after is None else rows.where(_beyond(order, after))


def _beyond(order: Order, after: _Position) -> sa.ColumnElement[bool]:
    return order.id < after.id if order.descending else order.id > after.id


def _encode(position: _Position) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(position)).rstrip(b"=").decode()


def _decode(cursor: str, digest: bytes, order: Order) -> _Position:
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        position = msgspec.msgpack.decode(raw, type=_Position)
        if _encode(position) != cursor:
            raise ValueError("another way to write a cursor")
        if position.value is not None and order.column is not None:
            position = msgspec.structs.replace(position, value=order.column.type.python_type(position.value))
    except (ValueError, OverflowError, msgspec.MsgspecError):
        position = None
    if position is None or not is_reference(position.id):
        raise Invalid(
            f"{cursor!r:.60} is not a cursor of this list",
            where="cursor",
            hint="use the next_cursor of the previous page",
            code="invalid_cursor",
        )
    if position.query != digest:
        what = "this cursor belongs to another order or other filters"
        raise Invalid(what, where="cursor", hint="repeat the parameters of the page that it came from", code="invalid_cursor")
    return position
