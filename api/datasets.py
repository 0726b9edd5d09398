"""Datasets: upload market data, see what is there."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from api.answers import Limit, Offset, answer, created, location_header, not_modified
from api.openapi import UploadOperation
from api.problems import problem_answers
from api.upload import received
from workers import Dataset, Service


class DatasetPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some datasets, by name; `total` counts all of them."""

    items: tuple[Dataset, ...]
    offset: int
    total: int


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
        timeframe: Annotated[
            str, QueryParameter(max_length=20, description="Time between bars, such as 5m or 1h; left out: inferred.")
        ] = "",
    ) -> Response[Dataset]:
        """The body is a CSV, Parquet or Arrow file, seen from its content, or a form with one. It needs the columns time, open, high, low,
        close and volume. The same bars under the same name are kept once."""
        async with received(request, request.app.state.max_upload_bytes) as path:
            dataset = await service.create_dataset(name, path, timeframe=timeframe or None, symbol=symbol)
        return created(f"/api/v1/datasets/{dataset.id}", dataset)

    @get("/", summary="List datasets", responses=problem_answers(503))
    async def list_datasets(self, service: NamedDependency[Service], offset: Offset = 0, limit: Limit = 100) -> DatasetPage:
        """By name."""
        every = await service.list_datasets()
        return DatasetPage(items=every[offset : offset + limit], offset=offset, total=len(every))

    @get("/{dataset:str}", summary="See a dataset", responses=not_modified() | problem_answers(404, 503))
    async def get_dataset(
        self, request: Request[Any, Any, Any], service: NamedDependency[Service], dataset: FromPath[str]
    ) -> Response[Dataset]:
        """By its id or name."""
        return answer(request, await service.get_dataset(dataset))
