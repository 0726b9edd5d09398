"""Lists of runs: filtered, sorted, page by page, with the fields that the client selects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from python_core.language.vocabulary import suggest
from python_core.metrics import RUN_NAMES
from workers.db.database import Database
from workers.db.in_list import in_list
from workers.db.sorted_pages import Order, page_of_sorted
from workers.db.tables import RESULTS, RunRow
from workers.errors import Invalid
from workers.model.callers import Caller
from workers.model.run_filter import ALL_RUNS, RunFilter
from workers.model.runs import HeadlineMetrics, RunInfo, RunPage, RunSummary, SelectedRunPage, encode
from workers.runs import fields, store
from workers.runs.fields import METRICS, Tree
from workers.runs.filters import HAS_RESULT, select_runs

NEWEST_FIRST: Final = "-created_at"
_SORTS: Final = ("created_at", *(f"{METRICS}.{name}" for name in RUN_NAMES))
SORT_PATTERN: Final = rf"^-?(created_at|{METRICS}\.({'|'.join(RUN_NAMES)}))$"
_PREFIX: Final = "metric_"


async def page(
    database: Database,
    caller: Caller,
    chosen: RunFilter = ALL_RUNS,
    *,
    sort: str = NEWEST_FIRST,
    selected: Tree | None = None,
    limit: int,
    cursor: str | None = None,
) -> RunPage | SelectedRunPage:
    """The runs that the caller sees and that meet a filter.

    Raises:
        Invalid: limit, cursor or sort are not valid.
        NotFound: the filter names a dataset or a strategy that doesn't exist.
    """
    column = _column(sort)
    names = [name for name in RunInfo.__struct_fields__ if selected is None or name in selected]
    metrics = list(HeadlineMetrics.__struct_fields__ if selected is None else selected.get(METRICS, ()))
    columns = [RunRow.id, *(getattr(RunRow, name) for name in names if name != "id")]
    columns += [RESULTS.c[name].label(_PREFIX + name) for name in metrics]
    async with database.read() as session:
        query, id_ = await select_runs(session, caller, chosen, with_results=column is not None)
        order = Order(id_, column, descending=sort.startswith("-"))
        connection = await session.connection()
        ids, next_cursor = await connection.run_sync(
            page_of_sorted, query, order, limit=limit, cursor=cursor, asked_for=f"{sort} {encode(chosen)}"
        )
        whole = sa.select(*columns, RESULTS.c.fingerprint.label("result")).select_from(sa.outerjoin(RunRow, RESULTS, HAS_RESULT))
        rows = {row.id: row for row in await session.execute(whole.where(in_list(RunRow.id, "ids")), {"ids": ids})}
    # One that is missing was deleted a moment ago.
    found = [_fields(dict(rows[run_id]._mapping), names, metrics) for run_id in ids if run_id in rows]
    if selected is not None:
        return SelectedRunPage(items=tuple(fields.pick(_plain(each), selected) for each in found), next_cursor=next_cursor)
    return RunPage(items=tuple(_summary(each) for each in found), next_cursor=next_cursor)


def _column(sort: str) -> sa.ColumnElement[Any] | None:
    """The column to sort by; None: by time of creation, in which ids sort."""
    field = sort.removeprefix("-")
    if field not in _SORTS:
        near = suggest(field, list(_SORTS))
        hint = (
            near if near.startswith("did") else "use created_at or a metric, as in metrics.sharpe, with a - before it for the largest first"
        )
        raise Invalid(f"can't sort by {field!r:.60}", where="sort", hint=hint, code="unknown_field")
    return None if field == "created_at" else RESULTS.c[field.removeprefix(f"{METRICS}.")]


def _fields(row: Mapping[str, Any], names: list[str], metrics: list[str]) -> dict[str, Any]:
    """The fields of a run from its columns."""
    values = {name: store.value_of(row, name) for name in names}
    return values | {METRICS: None if row["result"] is None else {name: row[_PREFIX + name] for name in metrics}}


def _summary(values: dict[str, Any]) -> RunSummary:
    metrics = values.pop(METRICS)
    return RunSummary(**values, metrics=None if metrics is None else HeadlineMetrics(**metrics))


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Structs as dictionaries, to be picked from."""
    plain: dict[str, Any] = msgspec.to_builtins(values)
    return plain
