"""Backtests: submit, follow, cancel, and read results."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, TypeVar

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg, HeaderParameter, PathParameter, QueryParameter

from api.http import sse
from api.http.disconnects import while_connected
from api.http.openapi import SMA_CROSS, BatchOperation, described
from api.http.problems import invalid_body, problem_responses, run_error
from api.http.requests import ApiRequest
from api.http.responses import Cursor, Limit, Offset, accepted, conditional, conditional_on, location_header, not_modified
from workers import (
    Attempt,
    BacktestRequest,
    Batch,
    BatchItem,
    CreateAndRunRequest,
    EquityCurve,
    MonthlyReturns,
    Run,
    RunOptions,
    RunPage,
    RunState,
    Service,
    TradePage,
)
from workers.model.states import DONE
from workers.runs.follow import END
from workers.runs.intake import YIELD_EVERY
from workers.service.backtests import MAX_BATCH

T = TypeVar("T")
MAX_BATCH_BYTES: Final = 8_000_000

RunId = Annotated[str, PathParameter(description="Id of the backtest.")]
StateFilter = Annotated[RunState | None, QueryParameter(name="state", description="Only backtests in this state.")]
LastEventId = Annotated[
    str, HeaderParameter(name="Last-Event-ID", max_length=60, description="Id of the last event received; the stream continues after it.")
]
ON_DATASET = {"dataset": "btcusdt-1h", "strategy": SMA_CROSS, "execution": {"commission": 0.0006, "stop_loss": 0.02}}
ON_MARKET = {
    "symbol": "BTC/USDT",
    "timeframe": "1h",
    "exchange": "bybit",
    "start": 1704067200000,
    "end": 1735689600000,
    "strategy": SMA_CROSS,
}
WITH_RULES = {
    "dataset": "btcusdt-1h",
    "strategy": SMA_CROSS,
    "execution": {
        "entry_limit": 0.001,
        "entry_expires": 3,
        "maker_fee": 0.0002,
        "stop_loss": {"long": {"multiple": 2.0, "period": 14}, "short": 0.02},
        "trading_hours": [["08:00", "20:00"]],
        "trading_days": [0, 1, 2, 3, 4],
        "cooldown": 5,
    },
}
CREATE_AND_RUN = {"name": "sma-cross", "strategy": SMA_CROSS, "dataset": "btcusdt-1h"}


class AttemptList(msgspec.Struct, frozen=True, kw_only=True):
    """The attempts of a run, in order."""

    items: tuple[Attempt, ...]


class RerunRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The backtest to run again."""

    backtest: Annotated[str, msgspec.Meta(min_length=1, max_length=120, description="Id of a backtest.")]


class BatchRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Backtests to run, each accepted or refused on its own."""

    backtests: Annotated[tuple[BacktestRequest, ...], msgspec.Meta(min_length=1, max_length=MAX_BATCH, description="The backtests.")]


class _RawBatch(msgspec.Struct, forbid_unknown_fields=True):
    """A batch whose items are not decoded yet."""

    backtests: Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1, max_length=MAX_BATCH)]


class Backtests(Controller):
    path = "/backtests"
    tags = ("backtests",)

    @post(
        "/",
        status_code=202,
        **described("backtests.submit", "Poll the path in `Location` for the result, or stream its `/events`."),
        response_headers=[location_header()],
        responses=problem_responses(404, 408, 409, 413, 415, 429, 503),
    )
    async def submit_backtest(
        self,
        request: Request[Any, Any, Any],
        service: NamedDependency[Service],
        options: NamedDependency[RunOptions],
        data: Annotated[
            BacktestRequest, BodyKwarg(examples=[Example(value=ON_DATASET), Example(value=ON_MARKET), Example(value=WITH_RULES)])
        ],
    ) -> Response[Run]:
        submitting = service.backtests.submit(data, options)
        # A new range takes a while; all else is quick.
        return _accepted(await (while_connected(request, submitting) if data.is_range else submitting))

    @post(
        "/batch",
        status_code=200,
        **described("backtests.submit_batch", "The status is 200 even if requests were refused; each item has its `run` or its `error`."),
        operation_class=BatchOperation,
        request_max_body_size=MAX_BATCH_BYTES,
        responses=problem_responses(408, 413, 415, 503),
    )
    async def submit_backtests(self, request: ApiRequest, service: NamedDependency[Service], options: NamedDependency[RunOptions]) -> Batch:
        items: list[BatchItem | None] = []
        requests = []
        for i, raw in enumerate((await request.decoded(_RawBatch)).backtests):
            try:
                requests.append(msgspec.json.decode(raw, type=BacktestRequest))
                items.append(None)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                items.append(BatchItem(error=run_error(invalid_body(error, BacktestRequest))))
            if i % YIELD_EVERY == 0:
                await asyncio.sleep(0)  # others want their turn, too
        submitting = service.backtests.submit_batch(tuple(requests), options)
        batch = await (while_connected(request, submitting) if any(each.is_range for each in requests) else submitting)
        accepted = iter(batch.items)
        return Batch(items=tuple([item or next(accepted) for item in items]))

    @get("/", **described("backtests.list"), responses=problem_responses(503))
    async def list_backtests(
        self, service: NamedDependency[Service], state_filter: StateFilter = None, limit: Limit = 50, cursor: Cursor = ""
    ) -> RunPage:
        return await service.backtests.list(state=state_filter, limit=limit, cursor=cursor or None)

    @get(
        "/{run_id:str}",
        **described("backtests.get", "To poll, send the entity tag as `If-None-Match`: the response is 304 until the run changes."),
        responses=not_modified() | problem_responses(404, 503),
    )
    async def get_backtest(self, request: Request[Any, Any, Any], service: NamedDependency[Service], run_id: RunId) -> Response[Run]:
        return conditional(request, await service.backtests.get(run_id))

    @post("/{run_id:str}/cancel", status_code=202, **described("backtests.cancel"), responses=problem_responses(404, 409, 503))
    async def cancel_backtest(self, service: NamedDependency[Service], run_id: RunId) -> Run:
        return await service.backtests.cancel(run_id)

    @get("/{run_id:str}/attempts", **described("backtests.list_attempts"), responses=not_modified() | problem_responses(404, 503))
    async def list_backtest_attempts(
        self, request: Request[Any, Any, Any], service: NamedDependency[Service], run_id: RunId
    ) -> Response[AttemptList]:
        return conditional(request, AttemptList(items=await service.backtests.list_attempts(run_id)))

    @get(
        "/{run_id:str}/events",
        **described("backtests.stream_events", "The response is a stream of server-sent events."),
        media_type=sse.MEDIA_TYPE,
        response_headers=[],
        responses={
            200: ResponseSpec(str, description="Stream of server-sent events.", media_type=sse.MEDIA_TYPE, generate_examples=False),
            204: ResponseSpec(None, description="The last event received was `end`.", generate_examples=False),
        }
        | problem_responses(404, 429, 503),
    )
    async def stream_backtest_events(
        self, request: Request[Any, Any, Any], service: NamedDependency[Service], run_id: RunId, last_event_id: LastEventId = ""
    ) -> Response[Any]:
        if last_event_id == END:
            return Response(None, status_code=204)
        sse.check_capacity(service.resources.streams.count)
        return sse.event_stream(request, await service.backtests.stream_events(run_id, after=last_event_id))

    @get("/{run_id:str}/trades", **described("backtests.get_trades"), responses=not_modified() | problem_responses(404, 409, 503))
    async def get_backtest_trades(
        self, request: Request[Any, Any, Any], service: NamedDependency[Service], run_id: RunId, offset: Offset = 0, limit: Limit = 100
    ) -> Response[TradePage]:
        return await _of_result(request, service, run_id, lambda: service.backtests.get_trades(run_id, offset=offset, limit=limit))

    @get("/{run_id:str}/equity", **described("backtests.get_equity"), responses=not_modified() | problem_responses(404, 409, 503))
    async def get_backtest_equity(
        self,
        request: Request[Any, Any, Any],
        service: NamedDependency[Service],
        run_id: RunId,
        points: Annotated[int, QueryParameter(ge=2, le=1_000_000, description="Maximum number of points.")] = 1_000_000,
    ) -> Response[EquityCurve]:
        return await _of_result(request, service, run_id, lambda: service.backtests.get_equity(run_id, points=points))

    @get(
        "/{run_id:str}/monthly-returns",
        **described("backtests.get_monthly_returns"),
        responses=not_modified() | problem_responses(404, 409, 503),
    )
    async def get_backtest_monthly_returns(
        self, request: Request[Any, Any, Any], service: NamedDependency[Service], run_id: RunId
    ) -> Response[MonthlyReturns]:
        return await _of_result(request, service, run_id, lambda: service.backtests.get_monthly_returns(run_id))


async def _of_result(request: Request[Any, Any, Any], service: Service, run_id: str, build: Callable[[], Awaitable[T]]) -> Response[T]:
    run = await service.backtests.get(run_id)
    return await conditional_on(request, run.result.digest if run.result else str(run.state), build)


class BacktestJobs(Controller):
    path = "/queue/backtest"
    tags = ("backtests",)

    @post(
        "/run",
        status_code=202,
        **described("backtests.rerun"),
        response_headers=[location_header()],
        responses=problem_responses(404, 408, 409, 413, 415, 429, 503),
    )
    async def rerun_backtest(
        self,
        request: Request[Any, Any, Any],
        service: NamedDependency[Service],
        options: NamedDependency[RunOptions],
        data: Annotated[RerunRequest, BodyKwarg(examples=[Example(value={"backtest": "01a20e01-da8e-76f1-9b64-4804fb8cfa41"})])],
    ) -> Response[Run]:
        return _accepted(await while_connected(request, service.backtests.rerun(data.backtest, options)))

    @post(
        "/create-and-run",
        status_code=202,
        **described("backtests.create_and_run"),
        response_headers=[location_header()],
        responses=problem_responses(404, 408, 409, 413, 415, 429, 503),
    )
    async def create_and_run(
        self,
        request: Request[Any, Any, Any],
        service: NamedDependency[Service],
        options: NamedDependency[RunOptions],
        data: Annotated[CreateAndRunRequest, BodyKwarg(examples=[Example(value=CREATE_AND_RUN)])],
    ) -> Response[Run]:
        return _accepted(await while_connected(request, service.backtests.create_and_run(data, options)))


def _accepted(run: Run) -> Response[Run]:
    """202, or 200 if the result is there already."""
    return accepted(f"/api/v1/backtests/{run.id}", run, done=run.state in DONE)
