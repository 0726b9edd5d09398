"""Datasets: upload, append, read, export and delete market data."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from tempfile import TemporaryFile
from typing import Annotated, Any, BinaryIO

from litestar import Controller, Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import PathParameter, QueryParameter
from litestar.response import Stream

from api.http.disconnects import while_connected
from api.http.openapi import UploadOperation, described
from api.http.problems import problem_responses
from api.http.responses import Limit, Offset, conditional, created, location_header, not_modified
from api.http.run_options import Owner
from api.http.uploads import uploaded_file
from python_core.files.options import ReadOptions
from python_core.files.report import ImportReport
from workers import BarsPage, Dataset, DatasetPage, ImportOptions, Service, instrument
from workers.data.export import MAX_POINTS, Format
from workers.data.parts import Series
from workers.model.selection import MarketKind

DatasetReference = Annotated[
    str,
    PathParameter(description="Id or name of the dataset, for its newest version, or with a version: `btcusdt-1h@3`."),
]
Start = Annotated[int | None, QueryParameter(description="Only bars that open at or after this time, UTC epoch milliseconds.")]
End = Annotated[int | None, QueryParameter(description="Only bars that open before this time, UTC epoch milliseconds.")]
ResampleTo = Annotated[
    str,
    QueryParameter(
        max_length=20,
        description="Longer timeframe to resample the bars to, such as 4h or 1M (a month; 1m is a minute); default: no resampling.",
    ),
]


class Datasets(Controller):
    path = "/datasets"
    tags = ("datasets",)

    @post(
        "/",
        **described(
            "datasets.create",
            "The body is the file, or a multipart form with one file. `GET /datasets/{dataset}/report` lists what was found in it.",
        ),
        operation_class=UploadOperation,
        request_max_body_size=None,
        response_headers=[location_header()],
        responses=problem_responses(408, 409, 413, 415, 429, 503),
    )
    async def create_dataset(
        self,
        request: Request[Any, Any, Any],
        service: NamedDependency[Service],
        read: NamedDependency[ReadOptions],
        name: Annotated[
            str, QueryParameter(min_length=1, max_length=120, description="Name of the dataset; 409 if other bars already have it.")
        ],
        symbol: Annotated[
            str,
            QueryParameter(
                max_length=60,
                description="Symbol of the instrument, such as BTC/USDT; of a file with several instruments, the one to read.",
            ),
        ] = "",
        exchange: Annotated[
            str,
            QueryParameter(
                max_length=60,
                description="Exchange. For an equity, a market identifier code such as XNYS limits gaps to its trading sessions.",
            ),
        ] = "",
        kind: Annotated[
            MarketKind,
            QueryParameter(
                description="Kind of market; `linear` and `inverse` are perpetual futures settled in the quote or base currency."
            ),
        ] = "spot",
        tick_size: Annotated[float | None, QueryParameter(description="Smallest price increment.")] = None,
        lot_size: Annotated[float | None, QueryParameter(description="Smallest quantity increment.")] = None,
        timeframe: Annotated[
            str,
            QueryParameter(
                max_length=20,
                description="Time between bars, such as 30s, 5m, 1h or 1M (a month; 1m is a minute); default: inferred from the file.",
            ),
        ] = "",
        owner: Owner = "",
    ) -> Response[Dataset]:
        traded = instrument(symbol=symbol, exchange=exchange, kind=kind, tick_size=tick_size, lot_size=lot_size)
        options = ImportOptions(read=read, timeframe=timeframe or None)
        async with uploaded_file(request, request.app.state.max_upload_bytes) as file:
            creating = service.datasets.create(name, file, instrument=traded, options=options, owner=owner)
            dataset = await while_connected(request, creating)
        return created(f"/api/v1/datasets/{dataset.id}", dataset)

    @post(
        "/{dataset:str}/append",
        **described("datasets.append"),
        operation_class=UploadOperation,
        status_code=200,
        request_max_body_size=None,
        responses=problem_responses(404, 408, 409, 413, 415, 429, 503),
    )
    async def append_to_dataset(
        self,
        request: Request[Any, Any, Any],
        service: NamedDependency[Service],
        read: NamedDependency[ReadOptions],
        dataset: DatasetReference,
        series: Annotated[
            Series,
            QueryParameter(
                description="What the file holds: `bars`, `funding` (columns time, rate) or `mark` (mark prices: time, low, high)."
            ),
        ] = "bars",
    ) -> Dataset:
        async with uploaded_file(request, request.app.state.max_upload_bytes) as file:
            appending = service.datasets.append(dataset, file, series=series, options=ImportOptions(read=read))
            return await while_connected(request, appending)

    @get("/", **described("datasets.list"), responses=problem_responses(503))
    async def list_datasets(self, service: NamedDependency[Service], offset: Offset = 0, limit: Limit = 100) -> DatasetPage:
        return await service.datasets.list(offset, limit)

    @get("/{dataset:str}", **described("datasets.get"), responses=not_modified() | problem_responses(404, 503))
    async def get_dataset(
        self, request: Request[Any, Any, Any], service: NamedDependency[Service], dataset: DatasetReference
    ) -> Response[Dataset]:
        return conditional(request, await service.datasets.get(dataset))

    @get("/{dataset:str}/versions", **described("datasets.list_versions"), responses=problem_responses(404, 503))
    async def list_dataset_versions(
        self, service: NamedDependency[Service], dataset: DatasetReference, offset: Offset = 0, limit: Limit = 100
    ) -> DatasetPage:
        return await service.datasets.list_versions(dataset, offset, limit)

    @get("/{dataset:str}/report", **described("datasets.get_report"), responses=not_modified() | problem_responses(404, 503))
    async def get_dataset_report(
        self, request: Request[Any, Any, Any], service: NamedDependency[Service], dataset: DatasetReference
    ) -> Response[ImportReport]:
        return conditional(request, await service.datasets.get_report(dataset))

    @delete("/{dataset:str}", **described("datasets.delete"), responses=problem_responses(404, 409, 503))
    async def delete_dataset(self, service: NamedDependency[Service], dataset: DatasetReference) -> None:
        await service.datasets.delete(dataset)

    @get("/{dataset:str}/bars", **described("datasets.get_bars"), responses=not_modified() | problem_responses(404, 429, 503))
    async def get_dataset_bars(
        self,
        request: Request[Any, Any, Any],
        service: NamedDependency[Service],
        dataset: DatasetReference,
        start: Start = None,
        end: End = None,
        timeframe: ResampleTo = "",
        offset: Offset = 0,
        limit: Annotated[int, QueryParameter(ge=1, le=MAX_POINTS, description="Maximum number of bars.")] = 1_000,
        points: Annotated[
            int | None,
            QueryParameter(
                ge=1,
                le=MAX_POINTS,
                description="Merge all selected bars into at most this many, for a chart; ignores `offset` and `limit`.",
            ),
        ] = None,
    ) -> Response[BarsPage]:
        reading = service.datasets.get_bars(
            dataset, start=start, end=end, timeframe=timeframe or None, offset=offset, limit=limit, points=points
        )
        return conditional(request, await while_connected(request, reading))

    @get(
        "/{dataset:str}/file",
        **described("datasets.export"),
        responses={200: ResponseSpec(bytes, description="The file.", media_type="application/octet-stream", generate_examples=False)}
        | problem_responses(404, 429, 503),
    )
    async def export_dataset(
        self,
        request: Request[Any, Any, Any],
        service: NamedDependency[Service],
        dataset: DatasetReference,
        file_format: Annotated[Format, QueryParameter(name="format", description="File format.")] = "parquet",
        start: Start = None,
        end: End = None,
        timeframe: ResampleTo = "",
    ) -> Stream:
        file = TemporaryFile()  # noqa: SIM115  # closed by `_chunks`
        try:
            exporting = service.datasets.export(dataset, file, file_format, start=start, end=end, timeframe=timeframe or None)
            await while_connected(request, exporting)
        except BaseException:
            file.close()
            raise
        headers = {"content-disposition": f'attachment; filename="bars.{file_format}"'}
        return Stream(_chunks(file), media_type="application/octet-stream", headers=headers)


async def _chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    with file:
        while chunk := await asyncio.to_thread(file.read, 1 << 18):
            yield chunk
