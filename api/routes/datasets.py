"""Datasets: upload market data, see what is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from tempfile import TemporaryFile
from typing import Annotated, Any, BinaryIO

import msgspec
from litestar import Controller, Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream

from api.http.openapi import UploadOperation
from api.http.problems import problem_answers
from api.http.responses import Limit, Offset, answer, created, location_header, not_modified
from api.http.run_options import Owner
from api.http.uploads import received
from python_core.files.cleaning import ImportReport, Policy
from workers import BarsPage, Dataset, ImportOptions, Service, instrument
from workers.data.export import MOST_POINTS, Format
from workers.data.parts import Series
from workers.model.selection import MarketKind


class DatasetPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some datasets; `total` counts all of them."""

    items: tuple[Dataset, ...]
    offset: int
    total: int


Policy_ = Annotated[
    Policy,
    QueryParameter(
        description="`reject` refuses a file with any fault; `drop` leaves out rows that are no valid bars and exact repeats; "
        "`repair` sorts, and lets the last of several rows of one time win."
    ),
]
Start = Annotated[int | None, QueryParameter(description="From this open time on, epoch milliseconds.")]
End = Annotated[int | None, QueryParameter(description="Up to but without this open time, epoch milliseconds.")]
Resampled = Annotated[str, QueryParameter(max_length=20, description="A longer timeframe to resample to; left out: as they are.")]
Header = Annotated[bool, QueryParameter(description="False for CSV without a line of names: time, open, high, low, close, volume.")]


class Datasets(Controller):
    path = "/datasets"
    tags = ("datasets",)

    @post(
        "/",
        summary="Upload a dataset",
        operation_class=UploadOperation,
        request_max_body_size=None,
        response_headers=[location_header()],
        responses=problem_answers(408, 409, 413, 415, 503),
    )
    async def create_dataset(
        self,
        request: Request[Any, Any, Any],
        service: NamedDependency[Service],
        name: Annotated[
            str, QueryParameter(min_length=1, max_length=120, description="What to call it; must not be taken by other bars (409).")
        ],
        symbol: Annotated[str, QueryParameter(max_length=60, description="The instrument, such as BTC/USDT.")] = "",
        exchange: Annotated[
            str,
            QueryParameter(
                max_length=60, description="Where it is traded; of an equity, a code such as XNYS has gaps looked for in its sessions only."
            ),
        ] = "",
        kind: Annotated[MarketKind, QueryParameter(description="What is traded.")] = "spot",
        tick_size: Annotated[float | None, QueryParameter(description="Smallest step of its price.")] = None,
        lot_size: Annotated[float | None, QueryParameter(description="Smallest step of a quantity.")] = None,
        timeframe: Annotated[
            str, QueryParameter(max_length=20, description="Time between bars, such as 5m or 1h; left out: inferred.")
        ] = "",
        policy: Policy_ = "reject",
        header: Header = True,
        owner: Owner = "",
    ) -> Response[Dataset]:
        """The body is a CSV, JSON lines, Parquet or Arrow file, seen from its content, or a form with one. It needs the columns time, open,
        high, low, close and volume. The same bars under the same name are kept once. What was noticed in it: `GET /datasets/{dataset}/report`."""
        about = instrument(symbol=symbol, exchange=exchange, kind=kind, tick_size=tick_size, lot_size=lot_size)
        how = ImportOptions(policy=policy, header=header, timeframe=timeframe or None)
        async with received(request, request.app.state.max_upload_bytes) as file:
            dataset = await service.create_dataset(name, file, instrument=about, how=how, owner=owner)
        return created(f"/api/v1/datasets/{dataset.id}", dataset)

    @post(
        "/{dataset:str}/append",
        summary="Add to a dataset",
        operation_class=UploadOperation,
        status_code=200,
        request_max_body_size=None,
        responses=problem_answers(404, 408, 409, 413, 415, 503),
    )
    async def append_to_dataset(
        self,
        request: Request[Any, Any, Any],
        service: NamedDependency[Service],
        dataset: FromPath[str],
        series: Annotated[
            Series, QueryParameter(description="`bars`, `funding` (columns time, rate) or `mark` (time, low, high of the mark price).")
        ] = "bars",
        policy: Policy_ = "reject",
        header: Header = True,
    ) -> Dataset:
        """Makes a new version; the one before stays as it is. Rows may follow the last bar or fill gaps. Rows that are there already are
        passed over if they are the same, and refused (409) if not."""
        async with received(request, request.app.state.max_upload_bytes) as file:
            return await service.append_to_dataset(dataset, file, series=series, how=ImportOptions(policy=policy, header=header))

    @get("/", summary="List datasets", responses=problem_answers(503))
    async def list_datasets(self, service: NamedDependency[Service], offset: Offset = 0, limit: Limit = 100) -> DatasetPage:
        """By name."""
        every = await service.list_datasets()
        return DatasetPage(items=every[offset : offset + limit], offset=offset, total=len(every))

    @get("/{dataset:str}", summary="See a dataset", responses=not_modified() | problem_answers(404, 503))
    async def get_dataset(
        self, request: Request[Any, Any, Any], service: NamedDependency[Service], dataset: FromPath[str]
    ) -> Response[Dataset]:
        """By its id or name, in its newest version; `name@version` names an older one."""
        return answer(request, await service.get_dataset(dataset))

    @get("/{dataset:str}/versions", summary="List the versions of a dataset", responses=problem_answers(404, 503))
    async def list_dataset_versions(
        self, service: NamedDependency[Service], dataset: FromPath[str], offset: Offset = 0, limit: Limit = 100
    ) -> DatasetPage:
        """The newest first."""
        every = await service.dataset_versions(dataset)
        return DatasetPage(items=every[offset : offset + limit], offset=offset, total=len(every))

    @get("/{dataset:str}/report", summary="Read the report of an import", responses=not_modified() | problem_answers(404, 503))
    async def get_import_report(
        self, request: Request[Any, Any, Any], service: NamedDependency[Service], dataset: FromPath[str]
    ) -> Response[ImportReport]:
        """What was noticed in the file that a version came from: gaps, spikes, zero volume, frozen prices, rows left out or mended."""
        return answer(request, await service.import_report(dataset))

    @delete("/{dataset:str}", summary="Forget a dataset", responses=problem_answers(404, 409, 503))
    async def delete_dataset(self, service: NamedDependency[Service], dataset: FromPath[str]) -> None:
        """By its id or name, with all versions; `name@version` forgets one that is not the newest. Not while a run refers to it (409)."""
        await service.delete_dataset(dataset)

    @get("/{dataset:str}/bars", summary="Read bars", responses=not_modified() | problem_answers(404, 503))
    async def list_bars(
        self,
        request: Request[Any, Any, Any],
        service: NamedDependency[Service],
        dataset: FromPath[str],
        start: Start = None,
        end: End = None,
        timeframe: Resampled = "",
        offset: Offset = 0,
        limit: Annotated[int, QueryParameter(ge=1, le=MOST_POINTS, description="At most so many bars.")] = 1_000,
        points: Annotated[
            int | None, QueryParameter(ge=1, le=MOST_POINTS, description="All bars, thinned to at most so many, as for a chart.")
        ] = None,
    ) -> Response[BarsPage]:
        """A page of bars, column by column, or with `points` all of them, thinned."""
        return answer(
            request,
            await service.bars_page(dataset, start=start, end=end, timeframe=timeframe or None, offset=offset, limit=limit, points=points),
        )

    @get(
        "/{dataset:str}/file",
        summary="Download a dataset",
        responses={200: ResponseSpec(bytes, description="The file.", media_type="application/octet-stream", generate_examples=False)}
        | problem_answers(404, 503),
    )
    async def download_dataset(
        self,
        service: NamedDependency[Service],
        dataset: FromPath[str],
        form: Annotated[Format, QueryParameter(name="format", description="What to write.")] = "parquet",
        start: Start = None,
        end: End = None,
        timeframe: Resampled = "",
    ) -> Stream:
        """Its bars, all or of a range, resampled if a timeframe is given."""
        file = TemporaryFile()  # noqa: SIM115  # closed when it was sent
        try:
            await service.export_dataset(dataset, form, file, start=start, end=end, timeframe=timeframe or None)
        except BaseException:
            file.close()
            raise
        headers = {"content-disposition": f'attachment; filename="bars.{form}"'}
        return Stream(_sent(file), media_type="application/octet-stream", headers=headers)


async def _sent(file: BinaryIO) -> AsyncIterator[bytes]:
    with file:
        while chunk := await asyncio.to_thread(file.read, 1 << 18):
            yield chunk
