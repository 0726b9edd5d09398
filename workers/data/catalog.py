"""The catalog of market data: datasets, their versions, and the files of each."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from python_core.data import timeframes
from workers.data.parts import Part
from workers.db.paging import begins_with, matches, page_of
from workers.db.tables import DatasetRow, DatasetVersionRow, PartRow
from workers.db.visible import find_named, not_found, visible
from workers.errors import NotFound, as_client_error
from workers.model.callers import Caller
from workers.model.datasets import NO_FILTERS, Dataset, DatasetFilters, DatasetPage, Instrument
from workers.model.names import is_reference

_VERSIONED: Final = re.compile(r"(.+)@([1-9]\d{0,8})")
_VERSION_FIELDS: Final = ("version", "rows", "start", "end", "gaps", "fingerprint", "bytes", "source", "updated_at")


def calendar(market: Instrument | Dataset | DatasetRow) -> str:
    """The trading calendar of an equity: its exchange, if that is a code in capitals such as XNYS; otherwise empty."""
    return market.exchange if market.kind == "equity" and market.exchange.isupper() else ""


async def get(session: AsyncSession, caller: Caller, reference: str) -> Dataset:
    """A dataset by id or name: its newest version, or the one after an `@`.

    Raises:
        NotFound: there is no such dataset or version.
    """
    for name, number in _parse_reference(reference):
        row = await session.scalar(find_named(caller, DatasetRow, name))
        if row is not None:
            return await get_version(session, row, number)
    raise not_found("dataset", reference, caller, hint="upload it")


async def get_version(session: AsyncSession, row: DatasetRow, number: int | None) -> Dataset:
    """A version of a dataset, by number; None: the newest."""
    if number is None or number == row.version:
        return to_dataset(row)
    version = await session.get(DatasetVersionRow, (row.id, number))
    if version is None:
        raise NotFound(
            f"{row.name!r} has no version {number}", where="dataset", hint=f"the newest version is {row.version}; older ones may be deleted"
        )
    return to_dataset(row, version)


async def get_row(session: AsyncSession, dataset: Dataset) -> DatasetRow:
    """The row of a dataset that was just found.

    Raises:
        NotFound: it was deleted meanwhile.
    """
    row = await session.get(DatasetRow, dataset.id)
    if row is None:
        raise deleted_meanwhile(dataset.name)
    return row


def deleted_meanwhile(reference: str) -> NotFound:
    return NotFound(
        f"dataset {reference!r:.130} was deleted during this request", where="dataset", hint="use another dataset, or upload it again"
    )


async def page(
    session: AsyncSession, caller: Caller, filters: DatasetFilters = NO_FILTERS, *, limit: int, cursor: str | None = None
) -> DatasetPage:
    """The newest versions of datasets that the caller sees, by name.

    Raises:
        Invalid: there is no such timeframe, the limit is out of range, or the cursor is not one of this list.
    """
    with as_client_error():
        timeframe = None if filters.timeframe is None else timeframes.parse(filters.timeframe)
    conditions = (
        visible(caller, DatasetRow.owner),
        matches(DatasetRow.symbol, filters.symbol),
        matches(DatasetRow.timeframe, timeframe),
        matches(DatasetRow.exchange, filters.exchange),
        begins_with(DatasetRow.name, filters.name_prefix),
    )
    rows, next_cursor = await page_of(
        session, "datasets", DatasetRow, *conditions, by=("name", "owner"), ascending=True, limit=limit, cursor=cursor
    )
    return DatasetPage(items=tuple(map(to_dataset, rows)), next_cursor=next_cursor)


async def page_of_versions(session: AsyncSession, caller: Caller, reference: str, *, limit: int, cursor: str | None = None) -> DatasetPage:
    """The versions of a dataset, the newest first."""
    row = await get_row(session, await get(session, caller, reference))
    of_dataset = DatasetVersionRow.dataset_id == row.id
    rows, next_cursor = await page_of(
        session, f"versions of {row.id}", DatasetVersionRow, of_dataset, by=("version",), limit=limit, cursor=cursor
    )
    return DatasetPage(items=tuple(to_dataset(row, version) for version in rows), next_cursor=next_cursor)


async def list_parts(session: AsyncSession, dataset: Dataset) -> list[Part]:
    """The files of a version."""
    return [_part(row) for row in await part_rows(session, dataset)]


async def part_rows(session: AsyncSession, dataset: Dataset) -> Sequence[PartRow]:
    query = sa.select(PartRow).where(PartRow.dataset_id == dataset.id, PartRow.version == dataset.version)
    return (await session.scalars(query.order_by(PartRow.series, PartRow.start))).all()


async def stored_bytes(session: AsyncSession, owner: str | None = None) -> int:
    """Size of the files of all datasets, or of an owner's; files shared by versions count once."""
    query = sa.select(PartRow.hash, PartRow.bytes).distinct()
    if owner is not None:
        query = query.join(DatasetRow, DatasetRow.id == PartRow.dataset_id).where(DatasetRow.owner == owner)
    files = query.subquery()
    return int(await session.scalar(sa.select(sa.func.coalesce(sa.func.sum(files.c.bytes), 0))) or 0)


async def referenced_files(session: AsyncSession, names: Collection[str]) -> set[str]:
    """The files among `names` that belong to a version of a dataset."""
    return set(await session.scalars(sa.select(PartRow.hash).where(PartRow.hash.in_(names))))


async def get_report(session: AsyncSession, dataset: Dataset) -> str | None:
    """The import report of a version, as JSON."""
    version = await session.get(DatasetVersionRow, (dataset.id, dataset.version))
    if version is None:
        raise deleted_meanwhile(dataset.name)
    return version.report


def add_version(session: AsyncSession, row: DatasetRow, parts: Sequence[Part], report: str | None) -> None:
    """Record the version that `row` describes, and its parts."""
    values = {name: getattr(row, name) for name in _VERSION_FIELDS}
    session.add(DatasetVersionRow(dataset_id=row.id, report=report, **values))
    session.add_all(PartRow(dataset_id=row.id, version=row.version, **part._asdict()) for part in parts)


def to_dataset(row: DatasetRow, version: DatasetVersionRow | None = None) -> Dataset:
    values: dict[str, Any] = {name: getattr(row, name) for name in Dataset.__struct_fields__}
    if version is not None:
        values |= {name: getattr(version, name) for name in _VERSION_FIELDS}
    return Dataset(**values)


def _part(row: PartRow) -> Part:
    return Part(**{name: getattr(row, name) for name in Part._fields})


def _parse_reference(reference: str) -> list[tuple[str, int | None]]:
    """Pairs of name and version to try, in order: names of earlier versions may themselves contain an `@`."""
    if not is_reference(reference):
        return []
    candidates: list[tuple[str, int | None]] = [(reference, None)]
    if match := _VERSIONED.fullmatch(reference):
        candidates.append((match[1], int(match[2])))
    return candidates
