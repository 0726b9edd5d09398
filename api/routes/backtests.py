"""Backtests: submit, read and cancel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import PathParameter
from msgspec import UNSET, UnsetType

from api.http.bodies import decode_body, decode_either, run_error
from api.http.conditional import conditional, not_modified
from api.http.disconnects import while_connected
from api.http.formats import AnswerFormat, listed
from api.http.locations import locate, locate_in
from api.http.older.backtests import OlderBacktestRequest, OlderCreateAndRunRequest, OlderRerunRequest, is_older
from api.http.older.responses import older_run
from api.http.openapi import SMA_CROSS, BatchOperation, body_of, described
from api.http.prefer import Prefer, applied_header, finished, mark_applied
from api.http.problems import ProblemError, problem_responses
from api.http.requests import ApiRequest
from api.http.responses import accepted, location_header
from workers import (
    Attempt,
    BacktestRequest,
    Batch,
    BatchItem,
    CreateAndRunRequest,
    Run,
    RunOptions,
    Service,
)
from workers.model.labels import LabelChanges, Notes, RunName, Tags
from workers.model.states import DONE
from workers.runs.intake import YIELD_EVERY
from workers.service.backtests import MAX_BATCH

MAX_BATCH_BYTES: Final = 8_000_000

RunId = Annotated[str, PathParameter(description="Id of the backtest.")]
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
WAIT = "With `Prefer: wait=10`, the response is 200 with the finished run if that takes no longer than 10 seconds, else 202."
CREATE_AND_RUN = {"name": "sma-cross", "strategy": SMA_CROSS, "dataset": "btcusdt-1h"}
A_RUN = "01a20e01-da8e-76f1-9b64-4804fb8cfa41"
OLDER = "Also takes the words of older clients; the answer to these has their `backtest_id`, `task_id` and `status`, too."


class AttemptList(msgspec.Struct, frozen=True, kw_only=True):
    """The attempts of a run, in order."""

    items: Annotated[tuple[Attempt, ...], msgspec.Meta(description="The attempts.")]


class RerunRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The backtest to run again. Labels that are left out are those of the earlier run."""

    backtest: Annotated[str, msgspec.Meta(min_length=1, max_length=120, description="Id of a backtest.", examples=[A_RUN])]
    name: RunName | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    notes: Notes | UnsetType = UNSET

    @property
    def changes(self) -> LabelChanges:
        return LabelChanges(name=self.name, tags=self.tags, notes=self.notes)

    def __post_init__(self) -> None:
        _ = self.changes  # raises what is wrong with them


class BatchRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Backtests to run, each accepted or refused on its own."""

    backtests: Annotated[tuple[BacktestRequest, ...], msgspec.Meta(min_length=1, max_length=MAX_BATCH, description="The backtests.")]


class _RawBatch(msgspec.Struct, forbid_unknown_fields=True):
    """A batch whose items are not decoded yet."""

    backtests: Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1, max_length=MAX_BATCH)]


def done() -> dict[int, ResponseSpec]:
    """The response of an operation that submits a run, if the result is there already, for the OpenAPI document."""
    return {200: ResponseSpec(Run, description="An equal run has succeeded; this is its result.", generate_examples=False)}


class Backtests(Controller):
    path = "/backtests"
    tags = ("backtests",)

    @post(
        "/",
        status_code=202,
        **described("backtests.submit", f"{WAIT} Otherwise poll the path in `Location`, or stream its `/events`.\n\n{OLDER}"),
        operation_class=body_of(BacktestRequest, OlderBacktestRequest, examples=[ON_DATASET, ON_MARKET, WITH_RULES]),
        response_headers=[location_header(), applied_header()],
        responses=done() | problem_responses(404, 408, 409, 413, 415, 429, 503),
    )
    async def submit_backtest(
        self,
        request: ApiRequest,
        service: NamedDependency[Service],
        options: NamedDependency[RunOptions],
        prefer: Prefer = "",
    ) -> Response[Run]:
        body = decode_either(await request.json_text(), BacktestRequest, OlderBacktestRequest, is_older)
        if isinstance(body, OlderBacktestRequest):
            return await _accepted_older(request, service, options, body, prefer)
        submitting = service.backtests.submit(body, options)
        # A new range takes a while; all else is quick.
        run = await (while_connected(request, submitting) if body.is_range else submitting)
        return await accepted_run(request, service, run, prefer)

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
                requests.append(decode_body(raw, BacktestRequest))
                items.append(None)
            except ProblemError as error:
                items.append(BatchItem(error=run_error(error)))
            if i % YIELD_EVERY == 0:
                await asyncio.sleep(0)  # others want their turn, too
        submitting = service.backtests.submit_batch(tuple(requests), options)
        batch = await (while_connected(request, submitting) if any(each.is_range for each in requests) else submitting)
        accepted = iter(batch.items)
        return Batch(items=tuple([_placed(request, item or next(accepted)) for item in items]))

    @get(
        "/{run_id:str}",
        **described(
            "backtests.get",
            "Wait with `Prefer`, or poll with the entity tag as `If-None-Match`: the response is 304 until the run changes.",
        ),
        response_headers=[applied_header()],
        responses=not_modified() | problem_responses(404, 503),
    )
    async def get_backtest(
        self, request: Request[Any, Any, Any], service: NamedDependency[Service], run_id: RunId, prefer: Prefer = ""
    ) -> Response[Run]:
        run = await finished(request, service, await service.backtests.get(run_id), prefer)
        return mark_applied(conditional(request, run), run, prefer)

    @post("/{run_id:str}/cancel", status_code=202, **described("backtests.cancel"), responses=problem_responses(404, 409, 503))
    async def cancel_backtest(self, service: NamedDependency[Service], run_id: RunId) -> Run:
        return await service.backtests.cancel(run_id)

    @get("/{run_id:str}/attempts", **described("backtests.list_attempts"), responses=not_modified() | problem_responses(404, 406, 503))
    async def list_backtest_attempts(
        self,
        request: Request[Any, Any, Any],
        service: NamedDependency[Service],
        answer_format: NamedDependency[AnswerFormat],
        run_id: RunId,
    ) -> Response[AttemptList]:
        return await listed(request, answer_format, AttemptList(items=await service.backtests.list_attempts(run_id)))


class BacktestJobs(Controller):
    path = "/queue/backtest"
    tags = ("backtests",)

    @post(
        "/run",
        status_code=202,
        **described("backtests.rerun", f"{WAIT}\n\n{OLDER}"),
        operation_class=body_of(RerunRequest, OlderRerunRequest, examples=[{"backtest": A_RUN}]),
        response_headers=[location_header(), applied_header()],
        responses=done() | problem_responses(404, 408, 409, 413, 415, 429, 503),
    )
    async def rerun_backtest(
        self,
        request: ApiRequest,
        service: NamedDependency[Service],
        options: NamedDependency[RunOptions],
        prefer: Prefer = "",
    ) -> Response[Run]:
        body = decode_either(await request.json_text(), RerunRequest, OlderRerunRequest, is_older)
        if isinstance(body, OlderRerunRequest):
            return await _accepted_older(request, service, options, body, prefer)
        run = await while_connected(request, service.backtests.rerun(body.backtest, options, body.changes))
        return await accepted_run(request, service, run, prefer)

    @post(
        "/create-and-run",
        status_code=202,
        **described("backtests.create_and_run", f"{WAIT}\n\n{OLDER} With `strategy_id`, the stored strategy is run and none is created."),
        operation_class=body_of(CreateAndRunRequest, OlderCreateAndRunRequest, examples=[CREATE_AND_RUN]),
        response_headers=[location_header(), applied_header()],
        responses=done() | problem_responses(404, 408, 409, 413, 415, 429, 503),
    )
    async def create_and_run(
        self,
        request: ApiRequest,
        service: NamedDependency[Service],
        options: NamedDependency[RunOptions],
        prefer: Prefer = "",
    ) -> Response[Run]:
        body = decode_either(await request.json_text(), CreateAndRunRequest, OlderCreateAndRunRequest, is_older)
        if isinstance(body, OlderCreateAndRunRequest):
            return await _accepted_older(request, service, options, body, prefer)
        run = await while_connected(request, service.backtests.create_and_run(body, options))
        return await accepted_run(request, service, run, prefer)


async def _accepted_older(
    request: ApiRequest, service: Service, options: RunOptions, body: OlderBacktestRequest, prefer: str
) -> Response[Run]:
    """Submit what an older client asks for, and answer in its words, too."""
    options = body.add_priority(request, options)
    with body.naming_as_sent():
        run = await while_connected(request, body.submit(service, options))
    return await accepted_run(request, service, run, prefer, older_run)


async def accepted_run(
    request: Request[Any, Any, Any], service: Service, run: Run, prefer: str, answer: Callable[[Run], Run] = lambda run: run
) -> Response[Run]:
    """202, or 200 if the run has finished, within the preferred time; `answer` makes the body."""
    run = await finished(request, service, run, prefer)
    return mark_applied(accepted(f"/api/v1/backtests/{run.id}", answer(run), done=run.state in DONE), run, prefer)


def _placed(request: ApiRequest, item: BatchItem) -> BatchItem:
    """The item whose error names its place as that of a single backtest does."""
    if (error := item.error) is None:
        return item
    where = locate_in(BacktestRequest, error.where) or locate(request, error.where)
    return BatchItem(error=msgspec.structs.replace(error, where=where))
