"""The runs that a caller sees and that meet a filter, as a query."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from workers import strategies
from workers.data import catalog, resolve
from workers.db.tables import HAS_SUCCEEDED, IS_NAMED, RESULTS, RunRow, RunTagRow
from workers.db.visible import visible
from workers.errors import NotFound
from workers.model.callers import Caller
from workers.model.names import first_id
from workers.model.run_filter import RunFilter, parse_condition
from workers.runs.submission import OPERATION

_OPERATORS: Final[dict[str, Callable[[Any, Any], sa.ColumnElement[bool]]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}
# Ids of runs are as long, in this form.
_ID_LENGTH: Final = 36
# A run that has not succeeded may have the fingerprint of a result of another one.
HAS_RESULT: Final = sa.and_(RESULTS.c.fingerprint == RunRow.fingerprint, HAS_SUCCEEDED)


class SelectedRuns(NamedTuple):
    """Runs that meet a filter: a query of their ids, and the column with them that an index sorts."""

    query: sa.Select[Any]
    id: sa.ColumnElement[str]


async def select_runs(session: AsyncSession, caller: Caller, chosen: RunFilter, *, with_results: bool = False) -> SelectedRuns:
    """The backtests that meet a filter; with the results of those that have one, if asked for.

    Raises:
        NotFound: the filter names a dataset or a strategy that doesn't exist.
    """
    conditions: list[Any] = [RunRow.kind == OPERATION, visible(caller, RunRow.owner), *_of_row(chosen)]
    if chosen.dataset is not None:
        conditions += await _of_dataset(session, caller, chosen.dataset)
    if chosen.symbol is not None:
        conditions.append(RunRow.dataset_id.in_(await resolve.list_of_symbol(session, caller, chosen.symbol)))
    if chosen.strategy is not None:
        conditions.append(RunRow.strategy_id == await _find_strategy(session, caller, chosen.strategy))
    for text in chosen.metrics or ():
        name, compare, value = parse_condition(text)
        conditions.append(_OPERATORS[compare](RESULTS.c[name], sa.literal(value, sa.Double())))
    tables: Any = RunRow.__table__
    tags = chosen.tags or ()
    tagged = [aliased(RunTagRow) for _ in tags]
    for each, tag in zip(tagged, tags, strict=True):
        tables = sa.join(tables, each, sa.and_(each.run_id == RunRow.id, each.tag == tag))
    if with_results or chosen.metrics:
        tables = sa.join(tables, RESULTS, HAS_RESULT, isouter=not chosen.metrics)
    # The runs of a tag are in the order of their ids, so that neither database has to read and sort all of them.
    id_: Any = tagged[0].run_id if tagged else RunRow.id
    return SelectedRuns(sa.select(id_).select_from(tables).where(*conditions), id_)


def _of_row(chosen: RunFilter) -> list[Any]:
    """The conditions that need no look-up."""
    conditions: list[Any] = []
    if chosen.ids is not None:
        conditions.append(RunRow.id.in_(chosen.ids))
    if chosen.owner is not None:
        conditions.append(RunRow.owner == chosen.owner)
    if chosen.state is not None:
        conditions.append(RunRow.state == chosen.state)
    if chosen.name is not None:
        conditions += [IS_NAMED, RunRow.name == chosen.name]
    if chosen.name_contains is not None:
        conditions += [IS_NAMED, RunRow.name.icontains(chosen.name_contains, autoescape=True)]
    # By the time in the id, so that the order of creation is an index of these conditions, too.
    if chosen.created_since is not None:
        conditions.append(RunRow.id >= first_id(chosen.created_since))
    if chosen.created_before is not None:
        conditions.append(RunRow.id < first_id(chosen.created_before))
    return conditions


async def _of_dataset(session: AsyncSession, caller: Caller, reference: str) -> list[sa.ColumnElement[bool]]:
    dataset = await catalog.get(session, caller, reference)
    conditions = [RunRow.dataset_id == dataset.id]
    if reference not in (dataset.id, dataset.name):
        conditions.append(RunRow.dataset_version == dataset.version)
    return conditions


async def _find_strategy(session: AsyncSession, caller: Caller, reference: str) -> str:
    """The id of a strategy. Runs keep the id of one that was deleted, so any id may have some."""
    try:
        return (await strategies.get(session, caller, reference)).id
    except NotFound:
        if len(reference) == _ID_LENGTH:
            return reference
        raise
