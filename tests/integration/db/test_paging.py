"""Pages of sorted rows: every row once, in order, whatever is added meanwhile."""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import suppress

import msgspec
import pytest
import sqlalchemy as sa

from workers.db.database import Database, open_database
from workers.db.sorted_pages import Order, page_of_sorted
from workers.errors import Invalid

pytestmark = pytest.mark.anyio

ROWS = sa.Table(
    "sorted_rows",
    sa.MetaData(),
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("score", sa.Double),
    sa.Column("count", sa.BigInteger),
)
QUERY = sa.select(ROWS.c.id)
EXTREMES = (0.0, -0.0, 1.0, 0.1, 1e-300, -1e300, 1.0000000000000002)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url) as opened:
        await opened.transact(lambda connection: ROWS.metadata.create_all(connection))
        yield opened


def random_rows(count: int, start: int = 0) -> list[dict[str, object]]:
    """Rows with many equal values, and many without one."""
    choice = random.Random(start)
    scores = (*EXTREMES, None, None, choice.random())
    return [
        {"id": f"{i:05}", "score": choice.choice(scores), "count": choice.choice((None, 0, -5, 2**62))} for i in range(start, start + count)
    ]


async def add(database: Database, rows: list[dict[str, object]]) -> None:
    await database.transact(lambda connection: connection.execute(sa.insert(ROWS), rows))


async def page(database: Database, order: Order, limit: int, cursor: str | None, asked_for: str = "all") -> tuple[list[str], str | None]:
    return await database.query(
        lambda connection: page_of_sorted(connection, QUERY, order, limit=limit, cursor=cursor, asked_for=asked_for)
    )


async def all_pages(database: Database, order: Order, limit: int) -> list[str]:
    found, cursor = [], None
    while True:
        ids, cursor = await page(database, order, limit, cursor)
        found += ids
        if cursor is None:
            return found
        assert len(ids) == limit


def expected(rows: list[dict[str, object]], name: str | None, descending: bool) -> list[object]:
    """Ids in order; those without a value come last in both directions."""
    by_id = sorted(rows, key=lambda row: str(row["id"]), reverse=descending)
    if name is None:
        return [row["id"] for row in by_id]
    with_value = sorted((row for row in by_id if row[name] is not None), key=lambda row: row[name], reverse=descending)  # type: ignore[arg-type,return-value]
    return [row["id"] for row in with_value] + [row["id"] for row in by_id if row[name] is None]


@pytest.mark.parametrize("limit", [1, 7, 60, 1000])
async def test_every_row_is_on_one_page_in_order(database: Database, limit: int) -> None:
    rows = random_rows(60)
    await add(database, rows)
    for name in (None, "score", "count"):
        for descending in (True, False):
            order = Order(ROWS.c.id, None if name is None else ROWS.c[name], descending)
            assert await all_pages(database, order, limit) == expected(rows, name, descending), (name, descending)


async def test_rows_that_are_added_move_no_others(database: Database) -> None:
    rows = random_rows(40)
    await add(database, rows)
    order = Order(ROWS.c.id, ROWS.c.score, descending=True)
    found, cursor, added = [], None, 0
    while True:
        ids, cursor = await page(database, order, 5, cursor)
        found += ids
        if cursor is None:
            break
        await add(database, random_rows(3, start=1000 + added))
        added += 3
    old = {row["id"] for row in rows}
    assert [each for each in found if each in old] == expected(rows, "score", descending=True)
    assert len(set(found)) == len(found)


async def test_a_cursor_of_another_query_is_refused(database: Database) -> None:
    await add(database, random_rows(10))
    by_score, by_id = Order(ROWS.c.id, ROWS.c.score), Order(ROWS.c.id)
    _, cursor = await page(database, by_score, 3, None, "score")
    assert cursor is not None
    for order, asked_for in ((by_score, "other filters"), (by_id, "id")):
        with pytest.raises(Invalid, match="another order or other filters"):
            await page(database, order, 3, cursor, asked_for)


@pytest.mark.parametrize("cursor", ["", "zzz", "00005", "=", "é", "k8QI", "A" * 200, "\0", "k8Q IiP1f"])
async def test_what_is_no_cursor_is_refused(database: Database, cursor: str) -> None:
    with pytest.raises(Invalid, match="is not a cursor"):
        await page(database, Order(ROWS.c.id, ROWS.c.score), 3, cursor)


async def test_a_forged_cursor_does_no_harm(database: Database) -> None:
    """Its hash is known to clients, so that any value may stand in it."""
    await add(database, random_rows(10))
    digest = hashlib.blake2b(b"all", digest_size=8).digest()
    for value in (None, 5, -1.5, float("inf"), float("nan"), 2**63 - 1, 2**64 - 1, "text", [1]):
        for id_ in ("x", "\0", "", 5, "x" * 200):
            raw = base64.urlsafe_b64encode(msgspec.msgpack.encode([digest, value, id_])).rstrip(b"=").decode()
            for column in (None, ROWS.c.score, ROWS.c.count):
                with suppress(Invalid):
                    await page(database, Order(ROWS.c.id, column), 3, raw)


@pytest.mark.parametrize("limit", [0, -1, 1001])
async def test_the_limit_is_bounded(database: Database, limit: int) -> None:
    with pytest.raises(Invalid, match="out of range"):
        await page(database, Order(ROWS.c.id), limit, None)
