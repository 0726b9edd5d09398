"""Files of market data on their way into the catalogue, with a report of what was noticed in them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

import python_core as bt
from python_core.files import read
from python_core.files.cleaning import Policy
from python_core.files.report import ImportReport
from workers.data import catalog, parts
from workers.data.datasets import MarketData, as_client_error
from workers.data.parts import SERIES, Series
from workers.errors import NotFound
from workers.model.datasets import Dataset, Instrument
from workers.model.names import check_name, check_owner
from workers.model.runs import encode

Source = Path | bytes | BinaryIO


class ImportOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a file is read: what happens to faults, whether its first line names the columns, and the time between bars, if not inferred."""

    policy: Policy = "reject"
    header: bool = True
    timeframe: str | None = None
    source: str = "upload"


DEFAULT: Final = ImportOptions()


async def create(data: MarketData, name: str, file: Source, instrument: Instrument, options: ImportOptions, *, owner: str = "") -> Dataset:
    """Keep the bars of a file as a new dataset; the same bars under the same name are kept once.

    Raises:
        Invalid: the file holds no usable bars; says what, where, and what would be right.
        Conflict: the name is that of other bars.
    """
    check_name(name)
    check_owner(owner)
    bars, report = await _read(data, file, instrument, options)
    return await data.create(name, bars, instrument, owner=owner, source=options.source, report=encode(report))


async def append(data: MarketData, reference: str, file: Source, series: Series, options: ImportOptions) -> Dataset:
    """Add the rows of a file to a dataset; see `MarketData.append`."""
    async with data.database.read() as session:
        there = await catalog.find(session, reference)
    if series != "bars":
        with as_client_error():
            columns = await asyncio.to_thread(read.read_series, file, SERIES[series])
        return await data.append(reference, {series: columns}, source=options.source)
    bars, report = await _read(data, file, there, msgspec.structs.replace(options, timeframe=there.timeframe))
    return await data.append(reference, parts.columns_of(bars), source=options.source, report=encode(report))


async def report(data: MarketData, reference: str) -> ImportReport:
    """What was noticed in the file of a version.

    Raises:
        NotFound: there is no such version, or none was made of it.
    """
    async with data.database.read() as session:
        dataset = await catalog.find(session, reference)
        kept = await catalog.report(session, dataset)
    if kept is None:
        raise NotFound(
            f"version {dataset.version} of {dataset.name!r} came without a report", where="dataset", hint="only files are reported on"
        )
    return msgspec.json.decode(kept, type=ImportReport)


async def _read(data: MarketData, file: Source, of: Instrument | Dataset, options: ImportOptions) -> tuple[bt.Bars, ImportReport]:
    with as_client_error():
        return await asyncio.to_thread(
            read.read_with_report,
            file,
            timeframe=options.timeframe,
            symbol=of.symbol,
            policy=options.policy,
            header=options.header,
            scratch=data.scratch,
            calendar=catalog.calendar(of),
        )
