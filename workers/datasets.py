"""Market data: imported once, kept as Parquet under the hash of its bars, loaded by workers."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import sqlalchemy as sa
from msgspec import Meta
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

import python_core as bt
from workers import artifacts
from workers.database import Database
from workers.errors import Conflict, Invalid, NotFound
from workers.runs import TimeMs, check_name, is_reference, new_id, now_ms
from workers.tables import DatasetRow


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """Bars of one market in one timeframe. `start` and `end` are the open times of the first and the last bar."""

    id: str
    name: str
    symbol: str
    timeframe: Annotated[str, Meta(examples=["5m"])]
    rows: Annotated[int, Meta(description="Number of bars.")]
    start: TimeMs
    end: TimeMs
    fingerprint: Annotated[str, Meta(description="Hash of the bars; equal data has one fingerprint, however it was uploaded.")]
    bytes: Annotated[int, Meta(description="Size of the stored file.")]
    created_at: TimeMs


async def create(database: Database, folder: Path, name: str, source: Path | bytes, *, timeframe: str | None, symbol: str) -> Dataset:
    """Import a CSV, Parquet or Arrow file. The same bars under the same name are imported once.

    Raises:
        Invalid: the file holds no usable bars; says what, where, and what would be right.
        Conflict: the name is that of other bars.
    """
    check_name(name)
    if symbol:
        check_name(symbol, where="symbol", most=60)
    try:
        row = await asyncio.to_thread(_import, folder, name, source, timeframe, symbol)
    except bt.BarstormError as error:
        raise Invalid(error.message, where=error.where, hint=error.hint, code=error.code) from error
    try:
        async with database.write() as session:
            session.add(row)
    except IntegrityError:
        async with database.read() as session:
            there = await find(session, name)
        if there.fingerprint != row.fingerprint or there.symbol != row.symbol:
            raise Conflict(f"there is another dataset {name!r}", where="name", hint="use another name", code="name_taken") from None
        return there
    return _to_dataset(row)


async def find(session: AsyncSession, reference: str) -> Dataset:
    """The dataset of an id or a name."""
    row = None
    if is_reference(reference):
        row = await session.get(DatasetRow, reference) or await session.scalar(sa.select(DatasetRow).where(DatasetRow.name == reference))
    if row is None:
        raise NotFound(f"there is no dataset {reference!r:.130}", where="dataset", hint="upload one, or use the id or name of one there is")
    return _to_dataset(row)


async def every(session: AsyncSession) -> tuple[Dataset, ...]:
    """All datasets by name."""
    return tuple(_to_dataset(row) for row in (await session.scalars(sa.select(DatasetRow).order_by(DatasetRow.name))).all())


class BarsCache:
    """The bars that a worker used last, up to so many bytes; may be used from any thread."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._bars: OrderedDict[str, bt.Bars] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def load(self, dataset: Dataset) -> bt.Bars:
        """The bars of a dataset.

        Raises:
            Invalid: the stored file is gone or does not hold what it should.
        """
        with self._lock:
            if dataset.fingerprint in self._bars:
                self._bars.move_to_end(dataset.fingerprint)
                return self._bars[dataset.fingerprint]
        bars = _read(self._folder, dataset)
        with self._lock:
            if dataset.fingerprint not in self._bars:
                self._bars[dataset.fingerprint] = bars
                self._bytes += _size(bars)
            while self._bytes > self._most_bytes:
                _, oldest = self._bars.popitem(last=False)
                self._bytes -= _size(oldest)
        return bars

    def __len__(self) -> int:
        return len(self._bars)


def _import(folder: Path, name: str, source: Path | bytes, timeframe: str | None, symbol: str) -> DatasetRow:
    bars = bt.Bars.read(source, timeframe=timeframe, symbol=symbol)
    path = artifacts.bars_file(folder, bars.fingerprint)
    if not path.exists():
        artifacts.write(path, lambda file: bars.to_polars().write_parquet(file))
    return DatasetRow(
        id=new_id(),
        name=name,
        symbol=bars.symbol,
        timeframe=bars.timeframe,
        rows=len(bars),
        start=int(bars.time[0]),
        end=int(bars.time[-1]),
        fingerprint=bars.fingerprint,
        bytes=path.stat().st_size,
        created_at=now_ms(),
    )


def _read(folder: Path, dataset: Dataset) -> bt.Bars:
    import polars

    path = artifacts.bars_file(folder, dataset.fingerprint)
    try:
        frame = polars.read_parquet(path)
    except FileNotFoundError:
        raise Invalid("its file is gone", where="dataset", hint="upload the data again", code="dataset_lost") from None
    except polars.exceptions.PolarsError as error:
        raise Invalid(f"its file is damaged ({error})", where="dataset", hint="upload the data again", code="dataset_damaged") from None
    columns: Sequence[polars.Series] = [frame[name] for name in ("time", "open", "high", "low", "close", "volume")]
    bars = bt.Bars(*(column.to_numpy() for column in columns), timeframe=dataset.timeframe, symbol=dataset.symbol)
    if bars.fingerprint != dataset.fingerprint:
        raise Invalid("its file holds other bars than were uploaded", where="dataset", hint="upload the data again", code="dataset_damaged")
    return bars


def _size(bars: bt.Bars) -> int:
    return sum(getattr(bars, name).nbytes for name in ("time", "open", "high", "low", "close", "volume"))


def _to_dataset(row: DatasetRow) -> Dataset:
    return Dataset(**{name: getattr(row, name) for name in Dataset.__struct_fields__})
