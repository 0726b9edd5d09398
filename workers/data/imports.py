"""Import of market data files, with a report of what was found and changed."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from io import BufferedIOBase
from pathlib import Path
from types import NoneType
from typing import Final

import msgspec

from python_core.data import timeframes
from python_core.files.options import DEFAULT as READ_DEFAULT
from python_core.files.options import ReadOptions
from python_core.files.report import ImportReport
from workers.data import catalog, tasks
from workers.data.datasets import MarketData, Publish
from workers.data.drafts import Draft
from workers.data.parts import Part, Series
from workers.data.workroom import Process, Source
from workers.db import idempotency
from workers.db.idempotency import PENDING
from workers.errors import NotFound, as_client_error
from workers.model.callers import Caller
from workers.model.datasets import Dataset, Instrument
from workers.model.names import check_name, check_owner


class ImportOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to read a file, the timeframe of its bars (None: inferred), and where it came from."""

    read: ReadOptions = READ_DEFAULT
    timeframe: str | None = None
    source: str = "upload"


DEFAULT: Final = ImportOptions()


async def create(data: MarketData, name: str, file: Source, instrument: Instrument, options: ImportOptions, *, owner: str = "") -> Dataset:
    """Store the bars of a file as a new dataset; importing the same bars again under the same name changes nothing.

    Raises:
        Invalid: the file holds no usable bars.
        Conflict: the name is taken by other bars.
    """
    check_name(name)
    check_owner(owner)
    chosen = _read_options(options, instrument.symbol, options.timeframe)
    async with data.workroom.enter("files") as process:
        draft = await process.run(tasks.DraftNew(chosen, catalog.calendar(instrument)), Draft, file, holds=True)
        return await data.add(name, instrument, draft, _publish_in(process), owner=owner, source=options.source)


async def append(data: MarketData, caller: Caller, reference: str, file: Source, series: Series, options: ImportOptions) -> Dataset:
    """Add the rows of a file to a dataset; see `MarketData.append`."""
    async with data.database.read() as session:
        dataset = await catalog.get(session, caller, reference)
    chosen = _read_options(options, dataset.symbol, dataset.timeframe) if series == "bars" else options.read
    start = file.tell() if isinstance(file, BufferedIOBase) else 0
    async with data.workroom.enter("files") as process:

        async def draft(newest: Dataset, parts: tuple[Part, ...]) -> Draft:
            if isinstance(file, BufferedIOBase):
                file.seek(start)  # it may have been read before
            task = tasks.DraftAppend(chosen, catalog.calendar(newest), series, newest, parts)
            return await process.run(task, Draft, file, holds=True)

        return await data.add_version(reference, draft, _publish_in(process), source=options.source, caller=caller)


async def once(
    data: MarketData, caller: Caller, key: str, operation: str, request: str, file: Source, work: Callable[[], Awaitable[Dataset]]
) -> Dataset:
    """Do the work for a request and a file, or return what it has made if that was done under this idempotency key.

    The key is recorded before the work, and belongs to this request from then on, unless the work fails. After a crash the work is
    repeated, which changes nothing that was done.

    Raises:
        Conflict: the key was used for another request.
        Conflict: what it has made was deleted.
    """
    if not key:
        return await work()
    whole_request = f"{request}\0{await asyncio.to_thread(_hash, file)}"
    async with data.database.write() as session:
        made = await idempotency.record(session, caller.owner, key, operation, whole_request, PENDING)
    if made != PENDING:
        try:
            async with data.database.read() as session:
                return await catalog.get(session, caller, made)
        except NotFound:
            raise idempotency.deleted("version of a dataset") from None
    try:
        dataset = await work()
    except BaseException:
        async with data.database.write() as session:
            await idempotency.release(session, caller.owner, key, operation, PENDING)
        raise
    async with data.database.write() as session:
        await idempotency.settle(session, caller.owner, key, operation, dataset.reference)
    return dataset


def _hash(file: Source) -> str:
    """Hash of the rest of a file, which is read again later."""
    if isinstance(file, bytes):
        return hashlib.sha256(file).hexdigest()
    if isinstance(file, Path):
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    start = file.tell()
    try:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # typeshed demands readinto
    finally:
        file.seek(start)


def _publish_in(process: Process | tasks.Thread) -> Publish:
    return lambda parts: process.run(tasks.Publish(parts), NoneType)


async def get_report(data: MarketData, caller: Caller, reference: str) -> ImportReport:
    """The report of the import that made a version.

    Raises:
        NotFound: there is no such version, or it has no report.
    """
    async with data.database.read() as session:
        dataset = await catalog.get(session, caller, reference)
        encoded = await catalog.get_report(session, dataset)
    if encoded is None:
        raise NotFound(
            f"version {dataset.version} of {dataset.name!r} has no import report", where="dataset", hint="only imported files have one"
        )
    return msgspec.json.decode(encoded, type=ImportReport)


def _read_options(options: ImportOptions, symbol: str, timeframe: str | None) -> ReadOptions:
    if timeframe is not None:
        with as_client_error():
            timeframes.parse(timeframe)
    return msgspec.structs.replace(options.read, timeframe=timeframe, symbol=symbol)
