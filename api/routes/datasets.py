"""Datasets: upload market data, see what is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from tempfile import TemporaryFile
from typing import Annotated, Any, BinaryIO

from litestar import Controller, Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream

from api.http.openapi import UploadOperation, described
from api.http.problems import problem_answers
from api.http.responses import Limit, Offset, answer, created, location_header, not_modified
from api.http.run_options import Owner
from api.http.uploads import received
from python_core.files.cleaning import Policy
from python_core.files.report import ImportReport
from workers import BarsPage, Dataset, DatasetPage, ImportOptions, Service, instrument
from workers.data.export import MOST_POINTS, Format
from workers.data.parts import Series
from workers.model.selection import MarketKind

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
        **described("datasets.create", "`GET /datasets/{dataset}/report` lists what was found in the file."),
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
        about = instrument(symbol=symbol, exchange=exchange, kind=kind, tick_size=tick_size, lot_size=lot_size)
        options = ImportOptions(policy=policy, header=header, timeframe=timeframe or None)
        async with received(request, request.app.state.max_upload_bytes) as file:
            dataset = await service.datasets.create(name, file, instrument=about, options=options, owner=owner)
        return created(f"/api/v1/datasets/{dataset.id}", dataset)

    @post(
        "/{dataset:str}/append",
        **described("datasets.append", "Rows that differ are a 409."),
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
        async with received(request, request.app.state.max_upload_bytes) as file:
            return await service.datasets.append(dataset, file, series=series, options=ImportOptions(policy=policy, header=header))

    @get("/", **described("datasets.list"), responses=problem_answers(503))
    async def list_datasets(self, service: NamedDependency[Service], offset: Offset = 0, limit: Limit = 100) -> DatasetPage:
        return await service.datasets.list(offset, limit)

    @get("/{dataset:str}", **described("datasets.get"), responses=not_modified() | problem_answers(404, 503))
    async def get_dataset(
        self, request: Request[Any, Any, Any], service: NamedDependency[Service], dataset: FromPath[str]
    ) -> Response[Dataset]:
        return answer(request, await service.datasets.get(dataset))

    @get("/{dataset:str}/versions", **described("datasets.list_versions"), responses=problem_answers(404, 503))
    async def list_dataset_versions(
        self, service: NamedDependency[Service], dataset: FromPath[str], offset: Offset = 0, limit: Limit = 100
    ) -> DatasetPage:
        return await service.datasets.list_versions(dataset, offset, limit)

    @get("/{dataset:str}/report", **described("datasets.get_report"), responses=not_modified() | problem_answers(404, 503))
    async def get_import_report(
        self, request: Request[Any, Any, Any], service: NamedDependency[Service], dataset: FromPath[str]
    ) -> Response[ImportReport]:
        return answer(request, await service.datasets.get_report(dataset))

    @delete(
        "/{dataset:str}", **described("datasets.delete", "A dataset that runs refer to is a 409."), responses=problem_answers(404, 409, 503)
    )
    async def delete_dataset(self, service: NamedDependency[Service], dataset: FromPath[str]) -> None:
        await service.datasets.delete(dataset)

    @get("/{dataset:str}/bars", **described("datasets.get_bars"), responses=not_modified() | problem_answers(404, 503))
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
        return answer(
            request,
            await service.datasets.get_bars(
                dataset, start=start, end=end, timeframe=timeframe or None, offset=offset, limit=limit, points=points
            ),
        )

    @get(
        "/{dataset:str}/file",
        **described("datasets.export"),
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
        file = TemporaryFile()  # noqa: SIM115  # closed when it was sent
        try:
            await service.datasets.export(dataset, file, form, start=start, end=end, timeframe=timeframe or None)
        except BaseException:
            file.close()
            raise
        headers = {"content-disposition": f'attachment; filename="bars.{form}"'}
        return Stream(_sent(file), media_type="application/octet-stream", headers=headers)


async def _sent(file: BinaryIO) -> AsyncIterator[bytes]:
    with file:
        while chunk := await asyncio.to_thread(file.read, 1 << 18):
            yield chunk
