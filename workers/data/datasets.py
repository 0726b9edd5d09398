"""Market data: create, append and delete datasets. Versions are immutable; a new version shares unchanged files with the one before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

import python_core as bt
from workers.data import catalog
from workers.data.drafts import Draft, draft_append, draft_new
from workers.data.parts import Columns, Drafts, Part, Series
from workers.data.tasks import SCRATCH, Threads
from workers.data.workroom import Workroom
from workers.db import revision
from workers.db.database import Database
from workers.db.tables import DatasetRow, DatasetVersionRow, RunRow
from workers.errors import Conflict, Invalid
from workers.model.callers import OPERATOR, Caller
from workers.model.clock import now_ms
from workers.model.datasets import Dataset, Instrument
from workers.model.names import check_name, check_owner, new_id
from workers.settings import Settings
from workers.storage.artifacts import Artifacts

T = TypeVar("T")
# Gives the drafts among these parts their names.
Publish = Callable[[tuple[Part, ...]], Awaitable[object]]

# Attempts at an append that loses to concurrent ones.
_MAX_TRIES: Final = 5


class MarketData:
    """The datasets of a service, in its database and file store. The data of one owner is limited to `max_owner_bytes`; 0: no limit.

    Files are read in the workroom or, without one, in a thread.
    """

    def __init__(
        self,
        database: Database,
        store: Artifacts,
        *,
        scratch: Path,
        max_bytes: int,
        max_owner_bytes: int = 0,
        workroom: Workroom | None = None,
    ) -> None:
        self.database = database
        self.store = store
        self.scratch = scratch
        self.workroom = workroom or Threads(store, scratch)
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
        with Drafts(self.store) as drafts:
            draft = await asyncio.to_thread(draft_new, drafts, bars, catalog.calendar(instrument), report)
            return await self.add(name, instrument, draft, _in_thread(drafts.save), owner=owner, source=source)

    async def add(self, name: str, instrument: Instrument, draft: Draft, publish: Publish, *, owner: str, source: str) -> Dataset:
        """Store a draft as a new dataset; see `create`. Name and owner have been checked."""
        now = now_ms()
        row = DatasetRow(
            id=new_id(),
            name=name,
            **msgspec.structs.asdict(instrument),
            owner=owner,
            timeframe=draft.timeframe,
            version=1,
            source=source,
            created_at=now,
        )
        _describe(row, draft)
        try:
            await self._save(row, draft, publish, new=True)
        except IntegrityError:
            existing = await self._get_by_name(owner, name)
            if existing.fingerprint != row.fingerprint or existing.symbol != row.symbol:
                hint = "use another name, or append to the dataset"
                raise Conflict(f"the name {name!r} is taken by another dataset", where="name", hint=hint, code="name_taken") from None
            return existing
        return catalog.to_dataset(row)

    async def append(
        self,
        reference: str,
        series: Mapping[Series, Columns],
        *,
        source: str = "upload",
        report: str | None = None,
        caller: Caller = OPERATOR,
    ) -> Dataset:
        """Add rows after the last one or in gaps; returns the new version, or the newest if it already has all rows.

        `series` maps `bars` (time, open, high, low, close, volume), `funding` (time, rate) or `mark` (time, low, high) to columns sorted by time.

        Raises:
            NotFound: there is no such dataset.
            Conflict: it has other values at one of these times, or concurrent appends won every attempt.
            Invalid: the rows are not bars of its timeframe, or the size limit would be exceeded.
        """
        with Drafts(self.store) as drafts:

            async def draft(newest: Dataset, parts: tuple[Part, ...]) -> Draft:
                return await asyncio.to_thread(draft_append, drafts, newest, parts, series, catalog.calendar(newest), report)

            return await self.add_version(reference, draft, _in_thread(drafts.save), source=source, caller=caller)

    async def add_version(
        self,
        reference: str,
        make_draft: Callable[[Dataset, tuple[Part, ...]], Awaitable[Draft]],
        publish: Publish,
        *,
        source: str,
        caller: Caller = OPERATOR,
    ) -> Dataset:
        """Store what `make_draft` makes of the newest version, which it is called for again if a concurrent append wins; see `append`."""
        for _ in range(_MAX_TRIES):
            async with self.database.read() as session:
                newest = await catalog.get(session, caller, reference)
                row = await catalog.get_row(session, newest)
                if newest.version != row.version:
                    if reference in (row.id, row.name):
                        continue  # a concurrent append won
                    hint = "name the dataset without a version"
                    raise Conflict(f"version {newest.version} is not the newest", where="dataset", hint=hint, code="not_newest")
                old_parts = tuple(await catalog.list_parts(session, newest))
            draft = await make_draft(newest, old_parts)
            if set(draft.parts) == set(old_parts) or draft.fingerprint == newest.fingerprint:
                return newest
            changed = DatasetRow(**_values(row))
            changed.version, changed.source = newest.version + 1, source
            _describe(changed, draft)
            if await self._save(changed, draft, publish, new=False):
                return catalog.to_dataset(changed)
        raise Conflict("other appends to this dataset won every attempt", where="dataset", hint="try again", code="busy")

    async def delete(self, reference: str, *, caller: Caller = OPERATOR) -> None:
        """Delete a dataset with all its versions or, as `name@version`, one version. Garbage collection deletes its files later.

        Raises:
            NotFound: there is no such dataset or version.
            Conflict: a run refers to it, or the version is the newest.
        """
        try:
            await self._delete(reference, caller)
        except IntegrityError:
            # Accepted between the count of runs and the end of the transaction.
            raise _in_use("a new run refers to it") from None

    async def _delete(self, reference: str, caller: Caller) -> None:
        async with self.database.write() as session:
            dataset = await catalog.get(session, caller, reference)
            row = await catalog.get_row(session, dataset)
            one_version = reference not in (row.id, row.name)
            references = sa.select(sa.func.count()).select_from(RunRow).where(RunRow.dataset_id == row.id)
            count = await session.scalar(references.where(RunRow.dataset_version == dataset.version) if one_version else references)
            if count:
                raise _in_use(f"{count:,} run{'s refer' if count > 1 else ' refers'} to it")
            if one_version and dataset.version == row.version:
                hint = "delete the dataset, or append to it first"
                raise Conflict("the newest version can't be deleted alone", where="dataset", hint=hint, code="in_use")
            its_version = DatasetVersionRow.dataset_id == row.id, DatasetVersionRow.version == dataset.version
            delete = (
                sa.delete(DatasetVersionRow).where(*its_version) if one_version else sa.delete(DatasetRow).where(DatasetRow.id == row.id)
            )
            if await session.scalar(delete.returning(sa.literal(True))) is None:
                raise catalog.deleted_meanwhile(reference)
            await revision.count_change(session)

    async def _save(self, row: DatasetRow, draft: Draft, publish: Publish, *, new: bool) -> bool:
        """Publish the files and write the rows; False if a concurrent append has made this version."""
        async with self.database.read() as session:
            await self._check_size(session, draft.added_bytes, self._max_bytes)
            if self._max_owner_bytes:
                await self._check_size(session, draft.added_bytes, self._max_owner_bytes, row.owner)

        async def store() -> bool:
            await publish(draft.parts)
            async with self.database.write() as session:
                if new:
                    session.add(row)
                    await session.flush()
                else:
                    update = sa.update(DatasetRow).where(DatasetRow.id == row.id, DatasetRow.version == row.version - 1)
                    if await session.scalar(update.values(**_values(row)).returning(DatasetRow.id)) is None:
                        return False
                catalog.add_version(session, row, draft.parts, draft.report)
                await revision.count_change(session)
            return True

        return await _finish(store())

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

    async def _get_by_name(self, owner: str, name: str) -> Dataset:
        async with self.database.read() as session:
            row = await session.scalar(sa.select(DatasetRow).where(DatasetRow.owner == owner, DatasetRow.name == name))
        if row is None:
            raise catalog.deleted_meanwhile(name)
        return catalog.to_dataset(row)


def _in_use(what: str) -> Conflict:
    return Conflict(what, where="dataset", hint="delete these runs first, or keep it, so that they can be repeated", code="in_use")


def open_market_data(settings: Settings, database: Database, artifacts: Artifacts, workroom: Workroom | None = None) -> MarketData:
    """The market data store that the settings describe."""
    return MarketData(
        database,
        artifacts,
        scratch=settings.folder / SCRATCH,
        max_bytes=settings.datasets_mb * 1_000_000,
        max_owner_bytes=settings.owner_datasets_mb * 1_000_000,
        workroom=workroom,
    )


def _in_thread(save: Callable[[tuple[Part, ...]], None]) -> Publish:
    return lambda parts: asyncio.to_thread(save, parts)


async def _finish(work: Coroutine[Any, Any, T]) -> T:
    """Do what must not stop halfway: if the caller is cancelled, it ends when the work is done. Files without a version would stay for long."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


def _values(row: DatasetRow) -> dict[str, Any]:
    return {column.name: getattr(row, column.name) for column in row.__table__.columns}


def _describe(row: DatasetRow, draft: Draft) -> None:
    row.rows, row.start, row.end, row.gaps = draft.rows, draft.start, draft.end, draft.gaps
    row.fingerprint, row.bytes, row.updated_at = draft.fingerprint, draft.bytes, now_ms()
