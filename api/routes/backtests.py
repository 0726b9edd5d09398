"""Backtests: ask for one, follow it, fetch what it found."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg, FromPath, HeaderParameter, QueryParameter

from api.http.openapi import CROSS, described
from api.http.problems import problem_answers
from api.http.responses import Limit, Offset, answer, location_header, not_modified
from api.http.sse import event_stream
from workers import Attempt, BacktestRequest, EquityCurve, Run, RunOptions, RunPage, RunState, Service, TradePage
from workers.runs.follow import END

STATES = "|".join(RunState)
Cursor = Annotated[str, QueryParameter(max_length=200, description="`next_cursor` of the page before.")]
InState = Annotated[str, QueryParameter(name="state", pattern=rf"^({STATES}|)(?!\n)$", description=f"Only runs in this state: {STATES}.")]
EXAMPLE = {
    "dataset": "btcusdt-1h",
    "strategy": CROSS,
    "execution": {"commission": 0.0006, "stop_loss": 0.02},
}
MARKET = {
    "symbol": "BTC/USDT",
    "timeframe": "1h",
    "exchange": "bybit",
    "start": 1704067200000,
    "end": 1735689600000,
    "strategy": CROSS,
}


class AttemptList(msgspec.Struct, frozen=True, kw_only=True):
    """Every start of a run by a worker, in order."""

    items: tuple[Attempt, ...]


def accepted(run: Run) -> Response[Run]:
    return Response(run, status_code=202, headers={"location": f"/api/v1/backtests/{run.id}"})


class Backtests(Controller):
    path = "/backtests"
    tags = ("backtests",)

    @post(
        "/",
        status_code=202,
        **described("backtests.submit", "Poll the address in `Location` for the result, or stream its `events`."),
        response_headers=[location_header()],
        responses=problem_answers(404, 408, 409, 413, 415, 503),
    )
    async def create_backtest(
        self,
        service: NamedDependency[Service],
        options: NamedDependency[RunOptions],
        data: Annotated[BacktestRequest, BodyKwarg(examples=[Example(value=EXAMPLE), Example(value=MARKET)])],
    ) -> Response[Run]:
        return accepted(await service.backtests.submit(data, options))

    @get("/", **described("backtests.list"), responses=problem_answers(503))
    async def list_backtests(
        self, service: NamedDependency[Service], in_state: InState = "", limit: Limit = 50, cursor: Cursor = ""
    ) -> RunPage:
        return await service.backtests.list(state=RunState(in_state) if in_state else None, limit=limit, cursor=cursor or None)

    @get(
        "/{run_id:str}",
        **described("backtests.get", "Send the entity tag back as `If-None-Match`: 304 while nothing has changed."),
        responses=not_modified() | problem_answers(404, 503),
    )
    async def get_backtest(
        self, request: Request[Any, Any, Any], service: NamedDependency[Service], run_id: FromPath[str]
    ) -> Response[Run]:
        return answer(request, await service.backtests.get(run_id))

    @post(
        "/{run_id:str}/cancel",
        status_code=202,
        **described("backtests.cancel", "A finished run is a 409."),
        responses=problem_answers(404, 409, 503),
    )
    async def cancel_backtest(self, service: NamedDependency[Service], run_id: FromPath[str]) -> Run:
        return await service.backtests.cancel(run_id)

    @get("/{run_id:str}/attempts", **described("backtests.list_attempts"), responses=not_modified() | problem_answers(404, 503))
    async def get_attempts(
        self, request: Request[Any, Any, Any], service: NamedDependency[Service], run_id: FromPath[str]
    ) -> Response[AttemptList]:
        return answer(request, AttemptList(items=await service.backtests.list_attempts(run_id)))

    @get(
        "/{run_id:str}/events",
        **described("backtests.follow", "The events are server-sent events."),
        media_type="text/event-stream",
        response_headers=[],
        responses={
            200: ResponseSpec(str, description="Server-sent events.", media_type="text/event-stream", generate_examples=False),
            204: ResponseSpec(None, description="You have heard the end.", generate_examples=False),
        }
        | problem_answers(404, 503),
    )
    async def get_events(
        self,
        service: NamedDependency[Service],
        run_id: FromPath[str],
        last_event_id: Annotated[
            str, HeaderParameter(name="Last-Event-ID", max_length=60, description="Id of the last event you had: goes on after it.")
        ] = "",
    ) -> Response[Any]:
        if last_event_id == END:
            return Response(None, status_code=204)
        return event_stream(await service.backtests.follow(run_id, after=last_event_id))

    @get(
        "/{run_id:str}/trades",
        **described("backtests.get_trades"),
        responses=not_modified() | problem_answers(404, 409, 503),
    )
    async def get_trades(
        self,
        request: Request[Any, Any, Any],
        service: NamedDependency[Service],
        run_id: FromPath[str],
        offset: Offset = 0,
        limit: Limit = 100,
    ) -> Response[TradePage]:
        return answer(request, await service.backtests.get_trades(run_id, offset=offset, limit=limit))

    @get(
        "/{run_id:str}/equity",
        **described("backtests.get_equity"),
        responses=not_modified() | problem_answers(404, 409, 503),
    )
    async def get_equity(
        self,
        request: Request[Any, Any, Any],
        service: NamedDependency[Service],
        run_id: FromPath[str],
        points: Annotated[int, QueryParameter(ge=2, le=1_000_000, description="At most so many, evenly taken.")] = 1_000_000,
    ) -> Response[EquityCurve]:
        return answer(request, await service.backtests.get_equity(run_id, points=points))
