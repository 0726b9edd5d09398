"""Lists in pages: each item once whatever is added or deleted meanwhile, filtered, and read without loading the rest, on both databases."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

import workers
from workers import strategies
from workers.cli.pages import Page, all_items
from workers.data import catalog
from workers.db.database import Database, open_database
from workers.db.tables import DatasetRow, ScheduleRow, StrategyRow
from workers.fetch import schedules
from workers.model.callers import OPERATOR, Caller
from workers.model.names import new_id
from workers.model.runs import encode

pytestmark = pytest.mark.anyio
ROWS, OWNERS, LIMIT = 20_000, 4, 100
ANNA = Caller(owner="owner 1")
FETCH = workers.FetchRequest(exchange="bybit", symbol="BTCUSDT", timeframe="1m")


def values(i: int) -> dict[str, Any]:
    """What all rows have: names that each owner has, in an order other than that of the ids."""
    return {"id": new_id(), "owner": f"owner {i % OWNERS}", "name": f"n{i // OWNERS * 7_919 % (ROWS // OWNERS):05}", "created_at": 0}


def dataset(i: int) -> dict[str, Any]:
    market = {"symbol": f"S{i % 50}", "exchange": "here" if i % 3 else "there", "timeframe": "1h" if i % 2 else "1d"}
    return values(i) | market | {"rows": 1, "start": 0, "end": 0, "bytes": 0, "fingerprint": "f" * 64}


def strategy(i: int) -> dict[str, Any]:
    return values(i) | {"strategy": '{"entry_long":"close > open"}', "version": 1, "updated_at": 0}


def schedule(i: int) -> dict[str, Any]:
    row = values(i)
    return row | {"dataset": row.pop("name"), "request": encode(FETCH), "every_ms": 60_000, "next_at": 0}


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url) as opened:
        await opened.migrate()
        yield opened


async def insert(database: Database, table: Any, rows: list[dict[str, Any]]) -> None:
    async with database.write() as session:
        await session.execute(sa.insert(table), rows)


async def list_datasets(database: Database, caller: Caller, cursor: str | None, limit: int = LIMIT, **filters: str) -> workers.DatasetPage:
    async with database.read() as session:
        return await catalog.page(session, caller, workers.DatasetFilters(**filters), limit=limit, cursor=cursor)


async def list_strategies(database: Database, caller: Caller, cursor: str | None) -> workers.StrategyPage:
    async with database.read() as session:
        return await strategies.page(session, caller, name_prefix=None, limit=LIMIT, cursor=cursor)


async def list_schedules(database: Database, caller: Caller, cursor: str | None) -> workers.SchedulePage:
    return await schedules.page(database, caller, limit=LIMIT, cursor=cursor)


@contextmanager
def recorded(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """The queries for pages within the block, with their parameters."""
    queries: list[tuple[str, Any]] = []

    def record(_: sa.Connection, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        if "LIMIT" in statement:
            queries.append((statement, parameters))

    sa.event.listen(database.engine.sync_engine, "before_cursor_execute", record)
    try:
        yield queries
    finally:
        sa.event.remove(database.engine.sync_engine, "before_cursor_execute", record)


async def rows_read(database: Database, statement: str, parameters: Any) -> int:
    """How many rows a query reads. SQLite doesn't say: all, unless it begins in the middle of an index that has the order of the list."""
    async with database.engine.connect() as connection:
        if database.kind == "sqlite":
            (step, *sorting) = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            is_direct = step.detail.startswith("SEARCH") and ">" in step.detail and not sorting
            return LIMIT if is_direct else ROWS
        plan = (await connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)).scalar_one()
        ((scan,),) = [each["Plan"]["Plans"] for each in (json.loads(plan) if isinstance(plan, str) else plan)]
        assert "Plans" not in scan, scan
        return int(scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0))


@pytest.mark.parametrize(
    ("table", "row", "get_page"),
    [(DatasetRow, dataset, list_datasets), (StrategyRow, strategy, list_strategies), (ScheduleRow, schedule, list_schedules)],
    ids=["datasets", "strategies", "schedules"],
)
async def test_a_page_reads_no_rows_but_its_own(
    database: Database,
    table: Any,
    row: Callable[[int], dict[str, Any]],
    get_page: Callable[[Database, Caller, str | None], Awaitable[Page[Any]]],
) -> None:
    await insert(database, table, [row(i) for i in range(ROWS)])
    async with database.write() as session:
        await session.execute(sa.text("ANALYZE"))
    for caller in (OPERATOR, ANNA):
        first = await get_page(database, caller, None)
        with recorded(database) as queries:
            second = await get_page(database, caller, first.next_cursor)
        assert len(first.items) == len(second.items) == LIMIT
        assert await rows_read(database, *queries[-1]) <= LIMIT + 1
    listed = [item async for item in all_items(lambda cursor: get_page(database, ANNA, cursor))]
    names = [item.dataset if table is ScheduleRow else item.name for item in listed]
    assert names == sorted(set(names))
    assert len(names) == ROWS // OWNERS
    assert {item.owner for item in listed} == {ANNA.owner}


async def test_pages_hold_each_item_once_whatever_is_added_or_deleted(database: Database) -> None:
    await insert(database, DatasetRow, [dataset(i) for i in range(40)])
    names: list[tuple[str, str]] = []
    cursor = None
    while True:
        page = await list_datasets(database, OPERATOR, cursor, limit=7)
        names += [(item.name, item.owner) for item in page.items]
        if (cursor := page.next_cursor) is None:
            break
        async with database.write() as session:  # one before and one after what was read; and what was read last
            name, owner = names[-1]
            await session.execute(sa.delete(DatasetRow).where(DatasetRow.name == name, DatasetRow.owner == owner))
            session.add_all(DatasetRow(**dataset(0) | {"name": new, "owner": "new"}) for new in (f"a{len(names)}", f"z{len(names)}"))
    assert names == sorted(set(names))
    assert len([owner for _, owner in names if owner != "new"]) == 40
    assert [name for name, owner in names if owner == "new"] == sorted(f"z{read}" for read in range(7, len(names), 7))


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"symbol": "S7"}, lambda row: row["symbol"] == "S7"),
        ({"symbol": "s7"}, lambda row: False),
        ({"exchange": "there", "timeframe": "1d"}, lambda row: (row["exchange"], row["timeframe"]) == ("there", "1d")),
        ({"timeframe": "60"}, lambda row: row["timeframe"] == "1h"),
        ({"name_prefix": "n0000"}, lambda row: row["name"].startswith("n0000")),
        ({"name_prefix": "N0000"}, lambda row: False),
        ({"name_prefix": "n%"}, lambda row: False),
        ({"name_prefix": "\0"}, lambda row: False),
        ({"symbol": "\ud800"}, lambda row: False),
        ({"exchange": ""}, lambda row: False),
    ],
)
async def test_datasets_are_filtered(database: Database, filters: dict[str, str], expected: Callable[[dict[str, Any]], bool]) -> None:
    rows = [dataset(i) for i in range(200)]
    await insert(database, DatasetRow, rows)
    listed = [item.id async for item in all_items(lambda cursor: list_datasets(database, OPERATOR, cursor, limit=3, **filters))]
    assert sorted(listed) == sorted(row["id"] for row in rows if expected(row))


async def test_an_unknown_timeframe_is_not_a_filter(database: Database) -> None:
    with pytest.raises(workers.Invalid, match="unknown timeframe '7m'; use one of 1s"):
        await list_datasets(database, OPERATOR, None, timeframe="7m")
