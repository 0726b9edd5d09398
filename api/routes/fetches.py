"""Fetches and schedules: market data from exchanges, once or again and again."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg, FromPath

from api.http.problems import problem_answers
from api.http.responses import Limit, Offset, answer, created, location_header, not_modified
from api.http.run_options import Owner
from api.routes.backtests import Cursor
from workers import Fetch, FetchPage, FetchRequest, RunOptions, Schedule, ScheduleRequest, Service

EXAMPLE = {"exchange": "bybit", "symbol": "BTCUSDT", "timeframe": "1m", "since": 1_704_067_200_000}


class SchedulePage(msgspec.Struct, frozen=True, kw_only=True):
    """Some schedules, by dataset; `total` counts all of them."""

    items: tuple[Schedule, ...]
    offset: int
    total: int


class Fetches(Controller):
    path = "/fetches"
    tags = ("datasets",)

    @post(
        "/",
        status_code=202,
        summary="Fetch market data from an exchange",
        response_headers=[location_header()],
        responses=problem_answers(408, 409, 413, 415, 503),
    )
    async def create_fetch(
        self,
        service: NamedDependency[Service],
        terms: NamedDependency[RunOptions],
        data: Annotated[FetchRequest, BodyKwarg(examples=[Example(value=EXAMPLE)])],
    ) -> Response[Fetch]:
        """Accepts the fetch and answers at once; follow it at `Location`. It stores what is missing in the dataset, chunk by chunk, and goes
        on where it was after a stop. While an equal fetch is on its way, that one is the answer."""
        fetch = await service.fetch_dataset(data, terms)
        return Response(fetch, status_code=202, headers={"location": f"/api/v1/fetches/{fetch.id}"})

    @get("/", summary="List fetches", responses=problem_answers(503))
    async def list_fetches(self, service: NamedDependency[Service], limit: Limit = 50, cursor: Cursor = "") -> FetchPage:
        """Newest first."""
        return await service.list_fetches(limit=limit, cursor=cursor or None)

    @get("/{fetch_id:str}", summary="Follow a fetch", responses=not_modified() | problem_answers(404, 503))
    async def get_fetch(
        self, request: Request[Any, Any, Any], service: NamedDependency[Service], fetch_id: FromPath[str]
    ) -> Response[Fetch]:
        """Its state, what it has stored so far and what it met on the way."""
        return answer(request, await service.get_fetch(fetch_id))

    @post("/{fetch_id:str}/cancel", status_code=202, summary="Cancel a fetch", responses=problem_answers(404, 409, 503))
    async def cancel_fetch(self, service: NamedDependency[Service], fetch_id: FromPath[str]) -> Fetch:
        """What it has stored stays. One that is done stays as it is (409)."""
        return await service.cancel_fetch(fetch_id)


class Schedules(Controller):
    path = "/schedules"
    tags = ("datasets",)

    @post("/", summary="Keep a dataset fresh", response_headers=[location_header()], responses=problem_answers(408, 409, 413, 415, 503))
    async def create_schedule(
        self,
        service: NamedDependency[Service],
        data: Annotated[ScheduleRequest, BodyKwarg(examples=[Example(value={"fetch": EXAMPLE})])],
        owner: Owner = "",
    ) -> Response[Schedule]:
        """Asks for the fetch at once and after each period, while none of it is on its way; a dataset has at most one schedule (409)."""
        schedule = await service.create_schedule(data, owner=owner)
        return created(f"/api/v1/schedules/{schedule.id}", schedule)

    @get("/", summary="List schedules", responses=problem_answers(503))
    async def list_schedules(self, service: NamedDependency[Service], offset: Offset = 0, limit: Limit = 100) -> SchedulePage:
        """By dataset."""
        every = await service.list_schedules()
        return SchedulePage(items=every[offset : offset + limit], offset=offset, total=len(every))

    @get("/{schedule_id:str}", summary="See a schedule", responses=not_modified() | problem_answers(404, 503))
    async def get_schedule(
        self, request: Request[Any, Any, Any], service: NamedDependency[Service], schedule_id: FromPath[str]
    ) -> Response[Schedule]:
        """When it is due next, and which fetch it asked for last."""
        return answer(request, await service.get_schedule(schedule_id))

    @delete("/{schedule_id:str}", summary="Delete a schedule", responses=problem_answers(404, 503))
    async def delete_schedule(self, service: NamedDependency[Service], schedule_id: FromPath[str]) -> None:
        """A fetch of it that is on its way goes on."""
        await service.delete_schedule(schedule_id)
