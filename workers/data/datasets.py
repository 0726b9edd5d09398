"""Market data: imported, grown by appends, looked up, deleted. A version is never changed; a new one shares the files that stay."""

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
from workers.data import catalog, parts
from workers.data.parts import Columns, Drafts, Part, Series
from workers.db.database import Database
from workers.db.tables import DatasetRow, DatasetVersionRow, RunRow
from workers.errors import Conflict, Invalid, NotFound
from workers.model.clock import now_ms
from workers.model.datasets import Dataset, Instrument
from workers.model.names import check_name, check_owner, new_id
from workers.settings import Settings
from workers.storage.artifacts import Artifacts

# Appends that another append overtook are made again so many times.
_TRIES: Final = 5


class MarketData:
    """The datasets of a service: its database and its files. Those of one owner may have `most_owner_bytes`; 0: as many as all."""

    def __init__(self, database: Database, store: Artifacts, *, scratch: Path, most_bytes: int, most_owner_bytes: int = 0) -> None:
        self.database = database
        self.store = store
        self.scratch = scratch
        self._most_bytes = most_bytes
        self._most_owner_bytes = most_owner_bytes

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
        """Keep bars, with their funding and mark price if they have them, as a new dataset; the same under the same name are kept once.

        Raises:
            Conflict: the name is that of other data.
            Invalid: there would be more data than is allowed.
        """
        check_name(name)
        check_owner(owner)
        about = instrument or Instrument(symbol=bars.symbol)
        now = now_ms()
        row = DatasetRow(
            id=new_id(),
            name=name,
            **msgspec.structs.asdict(about),
            owner=owner,
            timeframe=bars.timeframe,
            version=1,
            source=source,
            created_at=now,
        )
        with Drafts(self.store) as drafts:
            series = parts.columns_of(bars)
            of, _ = await asyncio.gather(
                asyncio.to_thread(lambda: [part for name, columns in series.items() for part in drafts.write(name, columns)]),
                asyncio.to_thread(lambda: bars.fingerprint),
            )
            await asyncio.to_thread(_describe, row, bars, of)
            try:
                await self._keep(drafts, row, of, report, new=True)
            except IntegrityError:
                there = await self._there(name)
                if there.fingerprint != row.fingerprint or there.symbol != row.symbol:
                    hint = "use another name, or append to it"
                    raise Conflict(f"there is another dataset {name!r}", where="name", hint=hint, code="name_taken") from None
                return there
        return catalog.to_dataset(row)

    async def append(
        self, reference: str, series: Mapping[Series, Columns], *, source: str = "upload", report: str | None = None
    ) -> Dataset:
        """A new version that holds these rows, too, or the newest when it has them all. Rows may follow the last one or fill gaps.

        `series` maps `bars` (time, open, high, low, close, volume), `funding` (time, rate) or `mark` (time, low, high) to columns, sorted by time.

        Raises:
            NotFound: there is no such dataset.
            Conflict: it has other values at one of these times; or other appends kept coming first.
            Invalid: rows that are no bars of its timeframe; or there would be more data than is allowed.
        """
        for _ in range(_TRIES):
            async with self.database.read() as session:
                newest = await catalog.find(session, reference)
                row = await session.get_one(DatasetRow, newest.id)
                if newest.version != row.version:
                    if reference in (row.id, row.name):
                        continue  # another append came in between
                    hint = "name the dataset without a version"
                    raise Conflict(f"version {newest.version} is not the newest", where="dataset", hint=hint, code="not_newest")
                there = await catalog.parts(session, newest)
            with Drafts(self.store) as drafts:
                of, bars = await asyncio.to_thread(_grown, drafts, newest, there, series)
                if set(of) == set(there):
                    return newest
                changed = DatasetRow(**_values(row))
                changed.version, changed.source = newest.version + 1, source
                await asyncio.to_thread(_describe, changed, bars, of)
                if changed.fingerprint == newest.fingerprint:
                    return newest
                if await self._keep(drafts, changed, of, report, new=False):
                    return catalog.to_dataset(changed)
        raise Conflict("other appends kept coming first", where="dataset", hint="try again", code="busy")

    async def delete(self, reference: str) -> None:
        """Forget a dataset with all its versions or, named as `name@version`, one version. Its files go with the next sweep.

        Raises:
            NotFound: there is none.
            Conflict: a run refers to it.
        """
        async with self.database.write() as session:
            found = await catalog.find(session, reference)
            row = await session.get_one(DatasetRow, found.id)
            one = reference not in (row.id, row.name)
            uses = sa.select(sa.func.count()).select_from(RunRow).where(RunRow.dataset_id == row.id)
            count = await session.scalar(uses.where(RunRow.dataset_version == found.version) if one else uses)
            if count:
                what = f"{count:,} run{'s refer' if count > 1 else ' refers'} to it"
                raise Conflict(what, where="dataset", hint="a run's data stays, so that it can be repeated", code="in_use")
            if not one:
                await session.delete(row)
            elif found.version == row.version:
                hint = "delete the dataset, or append to it first"
                raise Conflict("the newest version can't be deleted alone", where="dataset", hint=hint, code="in_use")
            else:
                await session.delete(await session.get_one(DatasetVersionRow, (row.id, found.version)))

    async def _keep(self, drafts: Drafts, row: DatasetRow, of: list[Part], report: str | None, *, new: bool) -> bool:
        """Give the files their names and keep the rows; False when another version came first."""
        async with self.database.read() as session:
            await self._check_room(session, drafts.bytes, self._most_bytes)
            if self._most_owner_bytes:
                await self._check_room(session, drafts.bytes, self._most_owner_bytes, row.owner)
        await asyncio.to_thread(drafts.keep, of)
        async with self.database.write() as session:
            if new:
                session.add(row)
                await session.flush()
            else:
                update = sa.update(DatasetRow).where(DatasetRow.id == row.id, DatasetRow.version == row.version - 1).values(**_values(row))
                if await session.scalar(update.returning(DatasetRow.id)) is None:
                    return False
            catalog.add_version(session, row, of, report)
        return True

    async def _check_room(self, session: AsyncSession, more: int, most: int, owner: str | None = None) -> None:
        stored = await catalog.stored_bytes(session, owner)
        if stored + more > most:
            whose = "" if owner is None else f" of owner {owner!r}" if owner else " without an owner"
            raise Invalid(
                f"there are {stored / 1e6:,.1f} MB of data{whose}, and {more / 1e6:,.1f} MB more would pass {most / 1e6:,.1f} MB",
                where="dataset" if owner is None else "owner",
                hint="delete datasets that aren't needed",
                code="too_much_data",
            )

    async def _there(self, name: str) -> Dataset:
        async with self.database.read() as session:
            row = await session.scalar(sa.select(DatasetRow).where(DatasetRow.name == name))
        if row is None:
            raise NotFound(f"the dataset {name!r} was deleted meanwhile", where="name", hint="try again")
        return catalog.to_dataset(row)


def open_market_data(settings: Settings, database: Database, artifacts: Artifacts) -> MarketData:
    """The market data of these settings."""
    return MarketData(
        database,
        artifacts,
        scratch=settings.folder / "scratch",
        most_bytes=settings.datasets_mb * 1_000_000,
        most_owner_bytes=settings.owner_datasets_mb * 1_000_000,
    )


def _grown(drafts: Drafts, newest: Dataset, there: list[Part], series: Mapping[Series, Columns]) -> tuple[list[Part], bt.Bars]:
    """The parts with these rows in them, and the bars they make."""
    groups = parts.grouped(there)
    for name, columns in series.items():
        groups[name] = parts.merged(drafts, name, groups.get(name, []), _checked(name, columns, newest.timeframe))
    held = {name: parts.joined([drafts.read(part) for part in group]) for name, group in groups.items()}
    with as_client_error():
        bars = parts.bars_of(held, timeframe=newest.timeframe, symbol=newest.symbol)
    return [part for group in groups.values() for part in group], bars


def _checked(name: Series, columns: Columns, timeframe: str) -> Columns:
    """Rows as they are kept, or Invalid where they break a rule."""
    names = parts.SERIES[name]
    if set(columns) != set(names):
        raise Invalid(f"the columns are {', '.join(columns)}", where=name, hint=f"give {', '.join(names)}")
    with as_client_error():
        if name == "bars":
            bars = bt.Bars(*(columns[column] for column in names), timeframe=timeframe)
            return {column: getattr(bars, column) for column in names}
        check = funding_columns if name == "funding" else mark_columns
        return dict(zip(names, check(*(columns[column] for column in names)), strict=True))


@contextmanager
def as_client_error() -> Iterator[None]:
    """Says what the library finds wrong as the service does."""
    try:
        yield
    except bt.BarstormError as error:
        raise Invalid(error.message, where=error.where, hint=error.hint, code=error.code) from error


def _values(row: DatasetRow) -> dict[str, Any]:
    return {column.name: getattr(row, column.name) for column in row.__table__.columns}


def _describe(row: DatasetRow, bars: bt.Bars, of: list[Part]) -> None:
    row.rows, row.start, row.end = len(bars), int(bars.time[0]), int(bars.time[-1])
    with as_client_error():
        row.gaps = len(gaps(bars.time, bars.timeframe_ms, catalog.calendar(row))[0])
    row.fingerprint, row.bytes, row.updated_at = bars.fingerprint, sum(part.bytes for part in of), now_ms()
