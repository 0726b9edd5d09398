"""Datasets: upload, append, read, export and delete market data."""

from __future__ import annotations

import asyncio
from types import NoneType
from typing import BinaryIO, ClassVar, Final

import msgspec

from python_core.files.report import ImportReport
from workers.data import catalog, export, imports, tasks
from workers.data.export import BarsPage, Format
from workers.data.imports import ImportOptions
from workers.data.parts import Part, Series
from workers.data.workroom import Source
from workers.errors import as_client_error
from workers.model.datasets import Dataset, Instrument
from workers.service.operation_group import OperationGroup, Resources, operation, page_of

NO_INSTRUMENT: Final = Instrument()


class DatasetPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of datasets; `total` counts all of them."""

    items: tuple[Dataset, ...]
    offset: int
    total: int


class Datasets(OperationGroup):
    name: ClassVar[str] = "datasets"

    @operation
    async def create(
        self, name: str, source: Source, instrument: Instrument = NO_INSTRUMENT, options: ImportOptions = imports.DEFAULT, owner: str = ""
    ) -> Dataset:
        """Create a dataset.

        Imports a CSV, JSON, Parquet or Arrow file; the format is recognized from the content. The file needs the columns time, open, high,
        low and close; without a volume it is 0. Importing the same bars under the same name again changes nothing.

        Raises:
            Invalid: the bars break a rule; says which.
            Conflict: the name is used by other bars.
        """
        return await imports.create(self._resources.data, name, source, instrument, options, owner=owner)

    @operation
    async def append(self, reference: str, source: Source, series: Series = "bars", options: ImportOptions = imports.DEFAULT) -> Dataset:
        """Append to a dataset.

        Creates a new version; earlier versions don't change. Rows may follow the last bar or fill gaps. Rows that exist already are ignored
        if they are equal and rejected if they differ.

        Raises:
            Invalid: the rows break a rule; says which.
            Conflict: the dataset has other values at a time of these rows.
        """
        return await imports.append(self._resources.data, reference, source, series, options)

    @operation
    async def get(self, reference: str) -> Dataset:
        """Get a dataset.

        Returns its newest version, or with `name@version` that one.
        """
        async with self._resources.database.read() as session:
            return await catalog.get(session, reference)

    @operation
    async def list(self, offset: int = 0, limit: int = 100) -> DatasetPage:
        """List datasets.

        Returns the newest version of each, sorted by name.
        """
        async with self._resources.database.read() as session:
            return page_of(DatasetPage, await catalog.list_datasets(session), offset, limit)

    @operation
    async def list_versions(self, reference: str, offset: int = 0, limit: int = 100) -> DatasetPage:
        """List the versions of a dataset.

        All versions, newest first.
        """
        async with self._resources.database.read() as session:
            return page_of(DatasetPage, await catalog.list_versions(session, reference), offset, limit)

    @operation
    async def get_report(self, reference: str) -> ImportReport:
        """Get the import report of a dataset.

        What was found in the file of this version: gaps, outliers, bars without volume, frozen prices, and rows dropped or repaired.
        """
        return await imports.get_report(self._resources.data, reference)

    @operation
    async def delete(self, reference: str) -> None:
        """Delete a dataset.

        Deletes all its versions, or with `name@version` only that one, which can't be the newest. A version that a run refers to can't be
        deleted.

        Raises:
            Conflict: a run refers to it.
        """
        await self._resources.data.delete(reference)

    @operation
    async def get_bars(
        self,
        reference: str,
        start: int | None = None,
        end: int | None = None,
        timeframe: str | None = None,
        offset: int = 0,
        limit: int = 1_000,
        points: int | None = None,
    ) -> BarsPage:
        """Get the bars of a dataset.

        A page of bars, one array per column or, with `points`, all bars of the range merged into at most that many for a chart.
        """

        resources = self._resources
        dataset, parts = await find_parts(resources, reference)
        if timeframe:
            task = tasks.MakePage(dataset, parts, start, end, timeframe, offset, limit, points)
            return await resources.workroom.run("bars", task, BarsPage)
        if not resources.bars.is_near(dataset):
            await resources.workroom.run("bars", tasks.Load(dataset, parts), NoneType)
        with as_client_error():
            return await asyncio.to_thread(
                lambda: export.page(resources.bars.load(dataset, parts).between(start, end), offset=offset, limit=limit, points=points)
            )

    @operation
    async def export(
        self,
        reference: str,
        file: BinaryIO,
        format: Format = "parquet",
        start: int | None = None,
        end: int | None = None,
        timeframe: str | None = None,
    ) -> None:
        """Export a dataset.

        Writes all bars or those of a range to a Parquet, CSV or Arrow file, resampled if a timeframe is given.
        """
        dataset, parts = await find_parts(self._resources, reference)
        await self._resources.workroom.run("files", tasks.Export(dataset, parts, format, start, end, timeframe), NoneType, file)
        file.seek(0)


async def find_parts(resources: Resources, reference: str) -> tuple[Dataset, tuple[Part, ...]]:
    """A version of a dataset and its files."""
    async with resources.database.read() as session:
        dataset = await catalog.get(session, reference)
        return dataset, tuple(await catalog.list_parts(session, dataset))
