"""Datasets: upload, append, read, export and delete market data."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated, Any, BinaryIO

from litestar import Controller, Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import PathParameter, QueryParameter

from api.http.conditional import cache_headers, conditional, conditional_on, entity_tag_of, not_modified, unchanged
from api.http.disconnects import while_connected
from api.http.formats import AnswerFormat, file_response, listed, paged
from api.http.idempotency import CreationKey
from api.http.openapi import UploadOperation, described
from api.http.problems import problem_responses
from api.http.responses import Cursor, Limit, NamePrefix, created, location_header
from api.http.uploads import uploaded_file
from python_core.data.timeframes import OPTIONAL_PATTERN
from python_core.files.options import ReadOptions
from python_core.files.report import ImportReport
from workers import BarsPage, Dataset, DatasetFilters, DatasetPage, ImportOptions, Service, instrument
from workers.data.export import MAX_POINTS, Format, to_table
from workers.data.parts import Series
from workers.model.clock import LAST_MS
from workers.model.names import MAX_LABEL_LENGTH, MAX_NAME_LENGTH, NAME_PATTERN, OPTIONAL_LABEL_PATTERN
from workers.model.selection import MarketKind

DatasetReference = Annotated[
    str,
    PathParameter(description="Id or name of the dataset, for its newest version, or with a version: `btcusdt-1h@3`."),
]
Start = Annotated[
    int | None,
    QueryParameter(ge=-LAST_MS, le=LAST_MS, description="Only bars that open at or after this time, UTC epoch milliseconds."),
]
End = Annotated[
    int | None, QueryParameter(ge=-LAST_MS, le=LAST_MS, description="Only bars that open before this time, UTC epoch milliseconds.")
]
ResampleTo = Annotated[
    str,
    QueryParameter(
        max_length=20,
        schema_extra={"pattern": OPTIONAL_PATTERN},
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
            str,
            QueryParameter(
                min_length=1,
                max_length=MAX_NAME_LENGTH,
                description="Name of the dataset; 409 if other bars already have it.",
                schema_extra={"pattern": NAME_PATTERN},
            ),
        ],
        symbol: Annotated[
            str,
            QueryParameter(
                max_length=MAX_LABEL_LENGTH,
                schema_extra={"pattern": OPTIONAL_LABEL_PATTERN},
                description="Symbol of the instrument, such as BTC/USDT; of a file with several instruments, the one to read.",
            ),
        ] = "",
        exchange: Annotated[
            str,
            QueryParameter(
                max_length=MAX_LABEL_LENGTH,
                schema_extra={"pattern": OPTIONAL_LABEL_PATTERN},
                description="Exchange. For an equity, a market identifier code such as XNYS limits gaps to its trading sessions.",
            ),
        ] = "",
        kind: Annotated[
            MarketKind,
            QueryParameter(
                description="Kind of market; `linear` and `inverse` are perpetual futures settled in the quote or base currency."
            ),
        ] = "spot",
        tick_size: Annotated[
            float | None,
            QueryParameter(schema_extra={"exclusive_minimum": 0}, description="Smallest price increment, in the quote currency."),
        ] = None,
        lot_size: Annotated[
            float | None,
            QueryParameter(
                schema_extra={"exclusive_minimum": 0}, description="Smallest quantity increment, in the base currency or in shares."
            ),
        ] = None,
        timeframe: Annotated[
            str,
            QueryParameter(
                max_length=20,
                schema_extra={"pattern": OPTIONAL_PATTERN},
                description="Time between bars, such as 30s, 5m, 1h or 1M (a month; 1m is a minute); default: inferred from the file.",
            ),
        ] = "",
        idempotency_key: CreationKey = "",
    ) -> Response[Dataset]:
        traded = instrument(symbol=symbol, exchange=exchange, kind=kind, tick_size=tick_size, lot_size=lot_size)
        options = ImportOptions(read=read, timeframe=timeframe or None)
        async with uploaded_file(request, request.app.state.max_upload_bytes) as file:
            creating = service.datasets.create(name, file, instrument=traded, options=options, key=idempotency_key)
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
        idempotency_key: CreationKey = "",
    ) -> Dataset:
        async with uploaded_file(request, request.app.state.max_upload_bytes) as file:
            options = ImportOptions(read=read)
            appending = service.datasets.append(dataset, file, series=series, options=options, key=idempotency_key)
            return await while_connected(request, appending)

    @get("/", **described("datasets.list"), responses=not_modified() | problem_responses(406, 503))
    async def list_datasets(
        self,
        request: Request[Any, Any, Any],
        service: NamedDependency[Service],
        answer_format: NamedDependency[AnswerFormat],
        symbol: Annotated[str, QueryParameter(max_length=60, description="Only datasets of this symbol, as it is stored.")] = "",
        timeframe: Annotated[str, QueryParameter(max_length=20, description="Only datasets of this timeframe, such as 1h.")] = "",
        exchange: Annotated[str, QueryParameter(max_length=60, description="Only datasets of this exchange, as it is stored.")] = "",
        name_prefix: NamePrefix = "",
        limit: Limit = 100,
        cursor: Cursor = "",
    ) -> Response[DatasetPage]:
        filters = DatasetFilters(
            symbol=symbol or None, timeframe=timeframe or None, exchange=exchange or None, name_prefix=name_prefix or None
        )
        return await listed(request, answer_format, await service.datasets.list(filters, limit=limit, cursor=cursor or None))

    @get("/{dataset:str}", **described("datasets.get"), responses=not_modified() | problem_responses(404, 503))
    async def get_dataset(
        self, request: Request[Any, Any, Any], service: NamedDependency[Service], dataset: DatasetReference
    ) -> Response[Dataset]:
        found = await service.datasets.get(dataset)
        return conditional(request, found, immutable=dataset == found.reference)

    @get("/{dataset:str}/versions", **described("datasets.list_versions"), responses=not_modified() | problem_responses(404, 406, 503))
    async def list_dataset_versions(
        self,
        request: Request[Any, Any, Any],
        service: NamedDependency[Service],
        answer_format: NamedDependency[AnswerFormat],
        dataset: DatasetReference,
        limit: Limit = 100,
        cursor: Cursor = "",
    ) -> Response[DatasetPage]:
        return await listed(request, answer_format, await service.datasets.list_versions(dataset, limit=limit, cursor=cursor or None))

    @get("/{dataset:str}/report", **described("datasets.get_report"), responses=not_modified() | problem_responses(404, 503))
    async def get_dataset_report(
        self, request: Request[Any, Any, Any], service: NamedDependency[Service], dataset: DatasetReference
    ) -> Response[ImportReport]:
        version = (await service.datasets.get(dataset)).reference
        return await conditional_on(request, version, lambda: service.datasets.get_report(version), immutable=dataset == version)

    @delete("/{dataset:str}", **described("datasets.delete"), responses=problem_responses(404, 409, 503))
    async def delete_dataset(self, service: NamedDependency[Service], dataset: DatasetReference) -> None:
        await service.datasets.delete(dataset)

    @get("/{dataset:str}/bars", **described("datasets.get_bars"), responses=not_modified() | problem_responses(404, 406, 429, 503))
    async def get_dataset_bars(
        self,
        request: Request[Any, Any, Any],
        service: NamedDependency[Service],
        answer_format: NamedDependency[AnswerFormat],
        dataset: DatasetReference,
        start: Start = None,
        end: End = None,
        timeframe: ResampleTo = "",
        limit: Annotated[int, QueryParameter(ge=1, le=MAX_POINTS, description="Maximum number of bars.")] = 1_000,
        cursor: Cursor = "",
        points: Annotated[
            int | None,
            QueryParameter(
                ge=1,
                le=MAX_POINTS,
                description="Merge all selected bars into at most this many, for a chart; ignores `limit` and `cursor`.",
            ),
        ] = None,
    ) -> Response[BarsPage]:
        version = (await service.datasets.get(dataset)).reference

        def read() -> Awaitable[BarsPage]:
            reading = service.datasets.get_bars(
                version, start=start, end=end, timeframe=timeframe or None, limit=limit, cursor=cursor or None, points=points
            )
            return while_connected(request, reading)

        return await paged(request, answer_format, version, read, to_table, immutable=dataset == version)

    @get(
        "/{dataset:str}/file",
        **described("datasets.export"),
        responses={200: ResponseSpec(bytes, description="The file.", media_type="application/octet-stream", generate_examples=False)}
        | not_modified()
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
    ) -> Response[Any]:
        version = (await service.datasets.get(dataset)).reference
        headers = cache_headers(entity_tag_of(request, version), immutable=dataset == version)
        if (response := unchanged(request, headers)) is not None:
            return response

        async def write(file: BinaryIO) -> None:
            await service.datasets.export(version, file, file_format, start=start, end=end, timeframe=timeframe or None)

        headers |= {"content-disposition": f'attachment; filename="bars.{file_format}"'}
        return await file_response(request, write, "application/octet-stream", headers)
