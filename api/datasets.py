"""Datasets: upload market data, see what is there."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from api.answers import Limit, Offset, answer, created, location_header, not_modified
from api.openapi import UploadOperation
from api.problems import problem_answers
from api.upload import received
from python_core.cleaning import Policy, Report
from workers import Dataset, Reading, Service, instrument
from workers.catalogue import Kind
from workers.parts import Series


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
        exchange: Annotated[str, QueryParameter(max_length=60, description="Where it is traded.")] = "",
        kind: Annotated[Kind, QueryParameter(description="What is traded.")] = "spot",
        tick_size: Annotated[float | None, QueryParameter(description="Smallest step of its price.")] = None,
        lot_size: Annotated[float | None, QueryParameter(description="Smallest step of a quantity.")] = None,
        timeframe: Annotated[
            str, QueryParameter(max_length=20, description="Time between bars, such as 5m or 1h; left out: inferred.")
        ] = "",
        policy: Policy_ = "reject",
        header: Header = True,
    ) -> Response[Dataset]:
        """The body is a CSV, JSON lines, Parquet or Arrow file, seen from its content, or a form with one. It needs the columns time, open,
        high, low, close and volume. The same bars under the same name are kept once. What was noticed in it: `GET /datasets/{dataset}/report`."""
        about = instrument(symbol=symbol, exchange=exchange, kind=kind, tick_size=tick_size, lot_size=lot_size)
        how = Reading(policy=policy, header=header, timeframe=timeframe or None)
        async with received(request, request.app.state.max_upload_bytes) as file:
            dataset = await service.create_dataset(name, file, instrument=about, how=how)
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
            return await service.append_to_dataset(dataset, file, series=series, how=Reading(policy=policy, header=header))

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
    ) -> Response[Report]:
        """What was noticed in the file that a version came from: gaps, spikes, zero volume, frozen prices, rows left out or mended."""
        return answer(request, await service.import_report(dataset))

    @delete("/{dataset:str}", summary="Forget a dataset", responses=problem_answers(404, 409, 503))
    async def delete_dataset(self, service: NamedDependency[Service], dataset: FromPath[str]) -> None:
        """By its id or name, with all versions; `name@version` forgets one that is not the newest. Not while a run refers to it (409)."""
        await service.delete_dataset(dataset)
