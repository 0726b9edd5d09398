"""Fetches and schedules: market data from exchanges, once or regularly."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg, PathParameter

from api.http.conditional import conditional, not_modified
from api.http.formats import AnswerFormat, listed
from api.http.idempotency import CreationKey
from api.http.openapi import described
from api.http.problems import problem_responses
from api.http.responses import Cursor, Limit, accepted, created, location_header
from workers import Fetch, FetchPage, FetchRequest, RunOptions, Schedule, SchedulePage, ScheduleRequest, Service

FetchId = Annotated[str, PathParameter(description="Id of the fetch.")]
ScheduleId = Annotated[str, PathParameter(description="Id of the schedule.")]
EXAMPLE = {"exchange": "bybit", "symbol": "BTCUSDT", "timeframe": "1m", "since": 1_704_067_200_000}


class Fetches(Controller):
    path = "/fetches"
    tags = ("fetches",)

    @post(
        "/",
        status_code=202,
        **described("fetches.create", "Poll the path in `Location` for its state."),
        response_headers=[location_header()],
        responses=problem_responses(408, 409, 413, 415, 501, 503),
    )
    async def create_fetch(
        self,
        service: NamedDependency[Service],
        options: NamedDependency[RunOptions],
        data: Annotated[FetchRequest, BodyKwarg(examples=[Example(value=EXAMPLE)])],
    ) -> Response[Fetch]:
        fetch = await service.fetches.create(data, options)
        return accepted(f"/api/v1/fetches/{fetch.id}", fetch)

    @get("/", **described("fetches.list"), responses=not_modified() | problem_responses(406, 503))
    async def list_fetches(
        self,
        request: Request[Any, Any, Any],
        service: NamedDependency[Service],
        answer_format: NamedDependency[AnswerFormat],
        limit: Limit = 50,
        cursor: Cursor = "",
    ) -> Response[FetchPage]:
        return await listed(request, answer_format, await service.fetches.list(limit=limit, cursor=cursor or None))

    @get("/{fetch_id:str}", **described("fetches.get"), responses=not_modified() | problem_responses(404, 503))
    async def get_fetch(self, request: Request[Any, Any, Any], service: NamedDependency[Service], fetch_id: FetchId) -> Response[Fetch]:
        return conditional(request, await service.fetches.get(fetch_id))

    @post(
        "/{fetch_id:str}/cancel",
        status_code=202,
        **described("fetches.cancel"),
        responses=problem_responses(404, 409, 503),
    )
    async def cancel_fetch(self, service: NamedDependency[Service], fetch_id: FetchId) -> Fetch:
        return await service.fetches.cancel(fetch_id)


class Schedules(Controller):
    path = "/schedules"
    tags = ("fetches",)

    @post(
        "/",
        **described("fetches.create_schedule"),
        response_headers=[location_header()],
        responses=problem_responses(408, 409, 413, 415, 501, 503),
    )
    async def create_schedule(
        self,
        service: NamedDependency[Service],
        data: Annotated[ScheduleRequest, BodyKwarg(examples=[Example(value={"fetch": EXAMPLE})])],
        idempotency_key: CreationKey = "",
    ) -> Response[Schedule]:
        schedule = await service.fetches.create_schedule(data, idempotency_key)
        return created(f"/api/v1/schedules/{schedule.id}", schedule)

    @get("/", **described("fetches.list_schedules"), responses=not_modified() | problem_responses(406, 503))
    async def list_schedules(
        self,
        request: Request[Any, Any, Any],
        service: NamedDependency[Service],
        answer_format: NamedDependency[AnswerFormat],
        limit: Limit = 100,
        cursor: Cursor = "",
    ) -> Response[SchedulePage]:
        return await listed(request, answer_format, await service.fetches.list_schedules(limit=limit, cursor=cursor or None))

    @get("/{schedule_id:str}", **described("fetches.get_schedule"), responses=not_modified() | problem_responses(404, 503))
    async def get_schedule(
        self, request: Request[Any, Any, Any], service: NamedDependency[Service], schedule_id: ScheduleId
    ) -> Response[Schedule]:
        return conditional(request, await service.fetches.get_schedule(schedule_id))

    @delete("/{schedule_id:str}", **described("fetches.delete_schedule"), responses=problem_responses(404, 503))
    async def delete_schedule(self, service: NamedDependency[Service], schedule_id: ScheduleId) -> None:
        await service.fetches.delete_schedule(schedule_id)
