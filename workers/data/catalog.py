"""The catalogue of market data: what there is, in which version, and where its parts are."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from workers.data.parts import Part
from workers.db.tables import DatasetRow, DatasetVersionRow, PartRow
from workers.errors import NotFound
from workers.model.datasets import Dataset, Instrument
from workers.model.names import is_reference

_VERSIONED: Final = re.compile(r"(.+)@([1-9]\d{0,8})")
_OF_VERSION: Final = ("version", "rows", "start", "end", "gaps", "fingerprint", "bytes", "source", "updated_at")


def calendar(of: Instrument | Dataset | DatasetRow) -> str:
    """The calendar whose sessions an equity is traded in: its exchange, if that is a code in capitals, such as XNYS; else none."""
    return of.exchange if of.kind == "equity" and of.exchange.isupper() else ""


async def find(session: AsyncSession, reference: str) -> Dataset:
    """The dataset of an id or a name: its newest version, or the one after an `@`.

    Raises:
        NotFound: there is none.
    """
    for name, number in _meanings(reference):
        row = await session.get(DatasetRow, name) or await session.scalar(sa.select(DatasetRow).where(DatasetRow.name == name))
        if row is not None:
            return await version(session, row, number)
    raise NotFound(f"there is no dataset {reference!r:.130}", where="dataset", hint="upload one, or use the id or name of one there is")


async def version(session: AsyncSession, row: DatasetRow, number: int | None) -> Dataset:
    """A version of a dataset, by its number or the newest."""
    if number is None or number == row.version:
        return to_dataset(row)
    found = await session.get(DatasetVersionRow, (row.id, number))
    if found is None:
        raise NotFound(
            f"{row.name!r} has no version {number}", where="dataset", hint=f"versions up to {row.version} were made; some may be deleted"
        )
    return to_dataset(row, found)


async def every(session: AsyncSession) -> tuple[Dataset, ...]:
    """The newest versions of all datasets, by name."""
    return tuple(to_dataset(row) for row in (await session.scalars(sa.select(DatasetRow).order_by(DatasetRow.name))).all())


async def versions(session: AsyncSession, reference: str) -> tuple[Dataset, ...]:
    """All versions of a dataset, the newest first."""
    row = await session.get_one(DatasetRow, (await find(session, reference)).id)
    query = sa.select(DatasetVersionRow).where(DatasetVersionRow.dataset_id == row.id).order_by(DatasetVersionRow.version.desc())
    return tuple(to_dataset(row, found) for found in (await session.scalars(query)).all())


async def parts(session: AsyncSession, dataset: Dataset) -> list[Part]:
    """The files of a version."""
    return [_part(row) for row in await part_rows(session, dataset)]


async def part_rows(session: AsyncSession, dataset: Dataset) -> Sequence[PartRow]:
    query = sa.select(PartRow).where(PartRow.dataset_id == dataset.id, PartRow.version == dataset.version)
    return (await session.scalars(query.order_by(PartRow.series, PartRow.start))).all()


async def stored_bytes(session: AsyncSession, owner: str | None = None) -> int:
    """Size of all files of all versions, each counted once; or of those of an owner's datasets."""
    query = sa.select(PartRow.hash, PartRow.bytes).distinct()
    if owner is not None:
        query = query.join(DatasetRow, DatasetRow.id == PartRow.dataset_id).where(DatasetRow.owner == owner)
    files = query.subquery()
    return int(await session.scalar(sa.select(sa.func.coalesce(sa.func.sum(files.c.bytes), 0))) or 0)


async def files_of_datasets(session: AsyncSession, names: Collection[str]) -> set[str]:
    """Which of these files belong to a version of a dataset."""
    return set(await session.scalars(sa.select(PartRow.hash).where(PartRow.hash.in_(names))))


async def report(session: AsyncSession, dataset: Dataset) -> str | None:
    """What was noticed in the file that a version came from, as JSON."""
    return (await session.get_one(DatasetVersionRow, (dataset.id, dataset.version))).report


def add_version(session: AsyncSession, row: DatasetRow, of: list[Part], report: str | None) -> None:
    """Keep what `row` says of its newest version, and its parts."""
    values = {name: getattr(row, name) for name in _OF_VERSION}
    session.add(DatasetVersionRow(dataset_id=row.id, report=report, **values))
    session.add_all(PartRow(dataset_id=row.id, version=row.version, **part._asdict()) for part in of)


def to_dataset(row: DatasetRow, found: DatasetVersionRow | None = None) -> Dataset:
    values: dict[str, Any] = {name: getattr(row, name) for name in Dataset.__struct_fields__}
    if found is not None:
        values |= {name: getattr(found, name) for name in _OF_VERSION}
    return Dataset(**values)


def _part(row: PartRow) -> Part:
    return Part(**{name: getattr(row, name) for name in Part._fields})


def _meanings(reference: str) -> list[tuple[str, int | None]]:
    """A name may hold an `@` of its own."""
    if not is_reference(reference):
        return []
    meanings: list[tuple[str, int | None]] = [(reference, None)]
    if match := _VERSIONED.fullmatch(reference):
        meanings.append((match[1], int(match[2])))
    return meanings
