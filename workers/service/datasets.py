"""Datasets: upload, append, read, export and delete market data."""

from __future__ import annotations

import asyncio
from functools import partial
from types import NoneType
from typing import BinaryIO, ClassVar, Final

from python_core.files.report import ImportReport
from workers.data import catalog, export, imports, tasks
from workers.data.export import BarsPage, Format
from workers.data.imports import ImportOptions
from workers.data.parts import Part, Series
from workers.data.workroom import Source
from workers.errors import Invalid
from workers.model.callers import Caller, Scope
from workers.model.datasets import NO_FILTERS, Dataset, DatasetFilters, DatasetPage, Instrument
from workers.model.runs import encode
from workers.service.operation_group import OperationGroup, Resources, operation

NO_INSTRUMENT: Final = Instrument()


class Datasets(OperationGroup):
    name: ClassVar[str] = "datasets"

    @operation(Scope.WRITE, audited=True)
    async def create(
        self, name: str, source: Source, instrument: Instrument = NO_INSTRUMENT, options: ImportOptions = imports.DEFAULT, key: str = ""
    ) -> Dataset:
        """Create a dataset.

        Imports a CSV, JSON, Parquet or Arrow file; the format is recognized from the content. The file needs the columns time, open, high,
        low and close; without a volume it is 0. Importing the same bars under the same name again changes nothing.

        Raises:
            Invalid: the bars break a rule; says which.
            Conflict: the name is used by other bars, or the idempotency key was used for another request.
        """
        data, owner = self._resources.data, self._caller.owner
        request = encode((name, instrument, options))
        work = partial(imports.create, data, name, source, instrument, options, owner=owner)
        return await imports.once(data, self._caller, key, "datasets.create", request, source, work)

    @operation(Scope.WRITE, audited=True)
    async def append(
        self, reference: str, source: Source, series: Series = "bars", options: ImportOptions = imports.DEFAULT, key: str = ""
    ) -> Dataset:
        """Append to a dataset.

        Creates a new version; earlier versions don't change. Rows may follow the last bar or fill gaps. Rows that exist already are ignored
        if they are equal and rejected if they differ.

        Raises:
            Invalid: the rows break a rule; says which.
            Conflict: the dataset has other values at a time of these rows, or the idempotency key was used for another request.
        """
        data = self._resources.data
        request = encode((reference, series, options))
        work = partial(imports.append, data, self._caller, reference, source, series, options)
        return await imports.once(data, self._caller, key, "datasets.append", request, source, work)

    @operation(Scope.READ)
    async def get(self, reference: str) -> Dataset:
        """Get a dataset.

        Returns its newest version, or with `name@version` that one.
        """
        async with self._resources.database.read() as session:
            return await catalog.get(session, self._caller, reference)

    @operation(Scope.READ)
    async def list(self, filters: DatasetFilters = NO_FILTERS, limit: int = 100, cursor: str | None = None) -> DatasetPage:
        """List datasets.

        Returns the newest version of each, or of those of a market or with a prefix of the name, sorted by name.
        """
        async with self._resources.database.read() as session:
            return await catalog.page(session, self._caller, filters, limit=limit, cursor=cursor)

    @operation(Scope.READ)
    async def list_versions(self, reference: str, limit: int = 100, cursor: str | None = None) -> DatasetPage:
        """List the versions of a dataset.

        All versions, newest first.
        """
        async with self._resources.database.read() as session:
            return await catalog.page_of_versions(session, self._caller, reference, limit=limit, cursor=cursor)

    @operation(Scope.READ)
    async def get_report(self, reference: str) -> ImportReport:
        """Get the import report of a dataset.

        What was found in the file of this version: gaps, outliers, bars without volume, frozen prices, and rows dropped or repaired.
        """
        return await imports.get_report(self._resources.data, self._caller, reference)

    @operation(Scope.WRITE, audited=True)
    async def delete(self, reference: str) -> None:
        """Delete a dataset.

        Deletes all its versions, or with `name@version` only that one, which can't be the newest. A version that a run refers to can't be
        deleted.

        Raises:
            Conflict: a run refers to it.
        """
        await self._resources.data.delete(reference, caller=self._caller)

    @operation(Scope.READ)
    async def get_bars(
        self,
        reference: str,
        start: int | None = None,
        end: int | None = None,
        timeframe: str | None = None,
        limit: int = 1_000,
        cursor: str | None = None,
        points: int | None = None,
    ) -> BarsPage:
        """Get the bars of a dataset.

        A page of bars, one array per column or, with `points`, all bars of the range merged into at most that many for a chart. A range without
        bars has an empty page.

        Raises:
            Invalid: the cursor is not one of this list, the bars don't fit into the timeframe, or `end` is before `start`.
        """
        _check_range(start, end)
        resources = self._resources
        dataset, parts = await find_parts(resources, self._caller, reference)
        wanted = export.PageRequest(start=start, end=end, after=export.after(dataset, cursor), limit=limit, points=points)
        if timeframe:
            task = tasks.MakePage(dataset, parts, timeframe, wanted)
            return await resources.workroom.run("bars", task, BarsPage)
        if not resources.bars.is_near(dataset):
            await resources.workroom.run("bars", tasks.Load(dataset, parts), NoneType)
        return await asyncio.to_thread(lambda: export.page(dataset, resources.bars.load(dataset, parts), wanted))

    @operation(Scope.READ)
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

        Writes all bars or those of a range to a Parquet, CSV or Arrow file, resampled if a timeframe is given. The range must have bars.
        """
        _check_range(start, end)
        dataset, parts = await find_parts(self._resources, self._caller, reference)
        await self._resources.workroom.run("files", tasks.Export(dataset, parts, format, start, end, timeframe), NoneType, file)
        file.seek(0)


def _check_range(start: int | None, end: int | None) -> None:
    if start is not None and end is not None and end < start:
        raise Invalid(f"{end} is before start, {start}", where="end", hint="the range includes start and excludes end", code="empty_range")


async def find_parts(resources: Resources, caller: Caller, reference: str) -> tuple[Dataset, tuple[Part, ...]]:
    """A version of a dataset and its files."""
    async with resources.database.read() as session:
        dataset = await catalog.get(session, caller, reference)
        return dataset, tuple(await catalog.list_parts(session, dataset))
