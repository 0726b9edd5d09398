"""Market data: create, append and delete datasets. Versions are immutable; a new version shares unchanged files with the one before."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

import python_core as bt
from python_core.data.calendars import gaps
from python_core.data.columns import funding_columns, mark_columns
from workers.data import catalog
from workers.data.parts import (
    SERIES,
    Columns,
    Drafts,
    Part,
    Series,
    bars_from_series,
    concatenate,
    group_by_series,
    merge,
    series_from_bars,
)
from workers.db import revision
from workers.db.database import Database
from workers.db.tables import DatasetRow, DatasetVersionRow, RunRow
from workers.errors import Conflict, Invalid, NotFound
from workers.model.clock import now_ms
from workers.model.datasets import Dataset, Instrument
from workers.model.names import check_name, check_owner, new_id
from workers.settings import Settings
from workers.storage.artifacts import Artifacts

# Attempts at an append that loses to concurrent ones.
_MAX_TRIES: Final = 5


class MarketData:
    """The datasets of a service, in its database and file store. The data of one owner is limited to `max_owner_bytes`; 0: no limit."""

    def __init__(self, database: Database, store: Artifacts, *, scratch: Path, max_bytes: int, max_owner_bytes: int = 0) -> None:
        self.database = database
        self.store = store
        self.scratch = scratch
        self._max_bytes = max_bytes
        self._max_owner_bytes = max_owner_bytes

    async def create(
        self,
        name: str,
        bars: bt.Bars,
        instrument: Instrument | None = None,
        *,
        owner: str = "",
        source: str = "upload",
        report: str | None = None,
    ) -> Dataset:
        """Store bars, with their funding rates and mark prices, as a new dataset; storing the same bars again under the same name changes nothing.

        Raises:
            Conflict: the name is taken by other data.
            Invalid: the size limit would be exceeded.
        """
        check_name(name)
        check_owner(owner)
        instrument = instrument or Instrument(symbol=bars.symbol)
        now = now_ms()
        row = DatasetRow(
            id=new_id(),
            name=name,
            **msgspec.structs.asdict(instrument),
            owner=owner,
            timeframe=bars.timeframe,
            version=1,
            source=source,
            created_at=now,
        )
        with Drafts(self.store) as drafts:
            series = series_from_bars(bars)
            parts, _ = await asyncio.gather(
                asyncio.to_thread(lambda: [part for name, columns in series.items() for part in drafts.write(name, columns)]),
                asyncio.to_thread(lambda: bars.fingerprint),
            )
            await asyncio.to_thread(_describe, row, bars, parts)
            try:
                await self._save(drafts, row, parts, report, new=True)
            except IntegrityError:
                existing = await self._get_by_name(name)
                if existing.fingerprint != row.fingerprint or existing.symbol != row.symbol:
                    hint = "use another name, or append to the dataset"
                    raise Conflict(f"the name {name!r} is taken by another dataset", where="name", hint=hint, code="name_taken") from None
                return existing
        return catalog.to_dataset(row)

    async def append(
        self, reference: str, series: Mapping[Series, Columns], *, source: str = "upload", report: str | None = None
    ) -> Dataset:
        """Add rows after the last one or in gaps; returns the new version, or the newest if it already has all rows.

        `series` maps `bars` (time, open, high, low, close, volume), `funding` (time, rate) or `mark` (time, low, high) to columns sorted by time.

        Raises:
            NotFound: there is no such dataset.
            Conflict: it has other values at one of these times, or concurrent appends won every attempt.
            Invalid: the rows are not bars of its timeframe, or the size limit would be exceeded.
        """
        for _ in range(_MAX_TRIES):
            async with self.database.read() as session:
                newest = await catalog.get(session, reference)
                row = await session.get_one(DatasetRow, newest.id)
                if newest.version != row.version:
                    if reference in (row.id, row.name):
                        continue  # a concurrent append won
                    hint = "name the dataset without a version"
                    raise Conflict(f"version {newest.version} is not the newest", where="dataset", hint=hint, code="not_newest")
                old_parts = await catalog.list_parts(session, newest)
            with Drafts(self.store) as drafts:
                parts, bars = await asyncio.to_thread(_add_rows, drafts, newest, old_parts, series)
                if set(parts) == set(old_parts):
                    return newest
                changed = DatasetRow(**_values(row))
                changed.version, changed.source = newest.version + 1, source
                await asyncio.to_thread(_describe, changed, bars, parts)
                if changed.fingerprint == newest.fingerprint:
                    return newest
                if await self._save(drafts, changed, parts, report, new=False):
                    return catalog.to_dataset(changed)
        raise Conflict("other appends to this dataset won every attempt", where="dataset", hint="try again", code="busy")

    async def delete(self, reference: str) -> None:
        """Delete a dataset with all its versions or, as `name@version`, one version. Garbage collection deletes its files later.

        Raises:
            NotFound: there is no such dataset or version.
            Conflict: a run refers to it, or the version is the newest.
        """
        try:
            await self._delete(reference)
        except IntegrityError:
            # Accepted between the count of runs and the end of the transaction.
            raise _in_use("a new run refers to it") from None

    async def _delete(self, reference: str) -> None:
        async with self.database.write() as session:
            dataset = await catalog.get(session, reference)
            row = await session.get_one(DatasetRow, dataset.id)
            one_version = reference not in (row.id, row.name)
            references = sa.select(sa.func.count()).select_from(RunRow).where(RunRow.dataset_id == row.id)
            count = await session.scalar(references.where(RunRow.dataset_version == dataset.version) if one_version else references)
            if count:
                raise _in_use(f"{count:,} run{'s refer' if count > 1 else ' refers'} to it")
            if not one_version:
                await session.delete(row)
            elif dataset.version == row.version:
                hint = "delete the dataset, or append to it first"
                raise Conflict("the newest version can't be deleted alone", where="dataset", hint=hint, code="in_use")
            else:
                await session.delete(await session.get_one(DatasetVersionRow, (row.id, dataset.version)))
            await revision.count_change(session)

    async def _save(self, drafts: Drafts, row: DatasetRow, parts: list[Part], report: str | None, *, new: bool) -> bool:
        """Publish the files and write the rows; False if a concurrent append has made this version."""
        async with self.database.read() as session:
            await self._check_size(session, drafts.bytes, self._max_bytes)
            if self._max_owner_bytes:
                await self._check_size(session, drafts.bytes, self._max_owner_bytes, row.owner)
        await asyncio.to_thread(drafts.save, parts)
        async with self.database.write() as session:
            if new:
                session.add(row)
                await session.flush()
            else:
                update = sa.update(DatasetRow).where(DatasetRow.id == row.id, DatasetRow.version == row.version - 1).values(**_values(row))
                if await session.scalar(update.returning(DatasetRow.id)) is None:
                    return False
            catalog.add_version(session, row, parts, report)
            await revision.count_change(session)
        return True

    async def _check_size(self, session: AsyncSession, added: int, limit: int, owner: str | None = None) -> None:
        stored = await catalog.stored_bytes(session, owner)
        if stored + added > limit:
            scope = "all datasets" if owner is None else f"the datasets of owner {owner!r}" if owner else "datasets without an owner"
            raise Invalid(
                f"{scope} hold {stored / 1e6:,.1f} MB; {added / 1e6:,.1f} MB more would exceed the limit of {limit / 1e6:,.1f} MB",
                where="dataset" if owner is None else "owner",
                hint="delete datasets that you don't need",
                code="too_much_data",
            )

    async def _get_by_name(self, name: str) -> Dataset:
        async with self.database.read() as session:
            row = await session.scalar(sa.select(DatasetRow).where(DatasetRow.name == name))
        if row is None:
            raise NotFound(f"dataset {name!r} was deleted during this request", where="name", hint="try again")
        return catalog.to_dataset(row)


def _in_use(what: str) -> Conflict:
    return Conflict(what, where="dataset", hint="keep it, so that these runs can be repeated", code="in_use")


def open_market_data(settings: Settings, database: Database, artifacts: Artifacts) -> MarketData:
    """The market data store that the settings describe."""
    return MarketData(
        database,
        artifacts,
        scratch=settings.folder / "scratch",
        max_bytes=settings.datasets_mb * 1_000_000,
        max_owner_bytes=settings.owner_datasets_mb * 1_000_000,
    )


def _add_rows(drafts: Drafts, newest: Dataset, old_parts: list[Part], series: Mapping[Series, Columns]) -> tuple[list[Part], bt.Bars]:
    """The parts after adding rows, and their bars."""
    groups = group_by_series(old_parts)
    for name, columns in series.items():
        groups[name] = merge(drafts, name, groups.get(name, []), _validate(name, columns, newest.timeframe))
    merged = {name: concatenate([drafts.read(part) for part in group]) for name, group in groups.items()}
    with as_client_error():
        bars = bars_from_series(merged, timeframe=newest.timeframe, symbol=newest.symbol)
    return [part for group in groups.values() for part in group], bars


def _validate(name: Series, columns: Columns, timeframe: str) -> Columns:
    """Check rows and convert them to the stored form; raises Invalid."""
    names = SERIES[name]
    if set(columns) != set(names):
        raise Invalid(f"unexpected columns {', '.join(columns)}", where=name, hint=f"use {', '.join(names)}")
    with as_client_error():
        if name == "bars":
            bars = bt.Bars(*(columns[column] for column in names), timeframe=timeframe)
            return {column: getattr(bars, column) for column in names}
        check = funding_columns if name == "funding" else mark_columns
        return dict(zip(names, check(*(columns[column] for column in names)), strict=True))


@contextmanager
def as_client_error(within: str = "") -> Iterator[None]:
    """Raise errors of the library as `Invalid`; `within` is the field of the request that their places are in."""
    try:
        yield
    except bt.BarstormError as error:
        where = f"{within}.{error.where}" if within and error.where else error.where or within
        raise Invalid(error.message, where=where, hint=error.hint, code=error.code) from error


def _values(row: DatasetRow) -> dict[str, Any]:
    return {column.name: getattr(row, column.name) for column in row.__table__.columns}


def _describe(row: DatasetRow, bars: bt.Bars, parts: list[Part]) -> None:
    row.rows, row.start, row.end = len(bars), int(bars.time[0]), int(bars.time[-1])
    with as_client_error():
        row.gaps = len(gaps(bars.time, bars.timeframe_ms, catalog.calendar(row))[0])
    row.fingerprint, row.bytes, row.updated_at = bars.fingerprint, sum(part.bytes for part in parts), now_ms()
