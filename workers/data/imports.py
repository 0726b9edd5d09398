"""Import of market data files, with a report of what was found and changed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

import python_core as bt
from python_core.data import timeframes
from python_core.files import read
from python_core.files.options import DEFAULT as READ_DEFAULT
from python_core.files.options import ReadOptions
from python_core.files.report import ImportReport
from workers.data import catalog
from workers.data.datasets import MarketData, as_client_error
from workers.data.parts import SERIES, Series, series_from_bars
from workers.errors import NotFound
from workers.model.datasets import Dataset, Instrument
from workers.model.names import check_name, check_owner
from workers.model.runs import encode

Source = Path | bytes | BinaryIO


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
    bars, report = await _read(data, file, instrument, options)
    return await data.create(name, bars, instrument, owner=owner, source=options.source, report=encode(report))


async def append(data: MarketData, reference: str, file: Source, series: Series, options: ImportOptions) -> Dataset:
    """Add the rows of a file to a dataset; see `MarketData.append`."""
    async with data.database.read() as session:
        dataset = await catalog.get(session, reference)
    if series != "bars":
        with as_client_error():
            columns = await asyncio.to_thread(read.read_series, file, SERIES[series], options.read)
        return await data.append(reference, {series: columns}, source=options.source)
    bars, report = await _read(data, file, dataset, msgspec.structs.replace(options, timeframe=dataset.timeframe))
    return await data.append(reference, series_from_bars(bars), source=options.source, report=encode(report))


async def get_report(data: MarketData, reference: str) -> ImportReport:
    """The report of the import that made a version.

    Raises:
        NotFound: there is no such version, or it has no report.
    """
    async with data.database.read() as session:
        dataset = await catalog.get(session, reference)
        encoded = await catalog.get_report(session, dataset)
    if encoded is None:
        raise NotFound(
            f"version {dataset.version} of {dataset.name!r} has no import report", where="dataset", hint="only imported files have one"
        )
    return msgspec.json.decode(encoded, type=ImportReport)


async def _read(data: MarketData, file: Source, market: Instrument | Dataset, options: ImportOptions) -> tuple[bt.Bars, ImportReport]:
    chosen = msgspec.structs.replace(options.read, timeframe=options.timeframe, symbol=market.symbol)
    with as_client_error():
        if options.timeframe is not None:
            timeframes.parse(options.timeframe)
        return await asyncio.to_thread(read.read_with_report, file, chosen, scratch=data.scratch, calendar=catalog.calendar(market))
