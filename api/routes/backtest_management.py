"""Backtests as people manage them: find, label, compare, verify, repeat and delete them."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg, QueryParameter
from msgspec import Meta

from api.http.conditional import not_modified
from api.http.disconnects import while_connected
from api.http.formats import AnswerFormat, listed
from api.http.openapi import OptionalBodyOperation, described
from api.http.prefer import Prefer, applied_header
from api.http.problems import problem_responses
from api.http.responses import Cursor, Limit, location_header
from api.routes.backtests import RunId, accepted_run, done
from workers import (
    DeletedRuns,
    LabelChanges,
    Run,
    RunComparison,
    RunFilter,
    RunOptions,
    RunPage,
    RunSelection,
    RunSummary,
    SelectedRunPage,
    Service,
    Verification,
)
from workers.model.labels import NO_CHANGES
from workers.runs.compare import MAX_POINTS, MAX_RUNS, MIN_RUNS
from workers.runs.listing import NEWEST_FIRST, SORT_PATTERN

Sort = Annotated[
    str,
    QueryParameter(
        max_length=100,
        schema_extra={"pattern": SORT_PATTERN},
        description="`created_at` or a metric, as in `metrics.sharpe`; with `-` before it, the largest first. Backtests without a value come last.",
    ),
]
Fields = Annotated[
    str | None,
    QueryParameter(
        max_length=4_000,
        description="Only these fields of each item, separated by commas; `.` names a field inside another, as in "
        "`id,name,metrics.calmar,request.strategy.params`. Any metric can be selected.",
    ),
]
IDS: Final = ["01a20e01-da8e-76f1-9b64-4804fb8cfa41", "01a20e01-da8e-7f03-8d21-90b1c1f4e2aa"]
LABELS: Final = {"name": "fast average 5", "tags": ["trend", "btc"], "notes": "Better than 10, but trades too often."}


class ComparisonRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The backtests to compare."""

    ids: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=120)], ...],
        Meta(min_length=MIN_RUNS, max_length=MAX_RUNS, description="Ids of backtests that have succeeded."),
    ]
    points: Annotated[int, Meta(ge=2, le=MAX_POINTS, description="Number of times at which the equity curves are sampled.")] = 200


class BacktestManagement(Controller):
    path = "/backtests"
    tags = ("backtests",)

    @get("/", **described("backtests.list"), responses=not_modified() | problem_responses(404, 406, 503))
    async def list_backtests(
        self,
        request: Request[Any, Any, Any],
        service: NamedDependency[Service],
        answer_format: NamedDependency[AnswerFormat],
        run_filter: NamedDependency[RunFilter],
        sort: Sort = NEWEST_FIRST,
        fields: Fields = None,
        limit: Limit = 50,
        cursor: Cursor = "",
    ) -> Response[RunPage | SelectedRunPage]:
        selected = None if fields is None else tuple(fields.split(","))
        found = await service.backtests.list(run_filter, sort=sort, fields=selected, limit=limit, cursor=cursor or None)
        return await listed(request, answer_format, found, RunSummary, selected or ())

    @patch("/{run_id:str}", **described("backtests.update"), responses=problem_responses(404, 408, 413, 415, 503))
    async def update_backtest(
        self,
        service: NamedDependency[Service],
        run_id: RunId,
        data: Annotated[LabelChanges, BodyKwarg(examples=[Example(value=LABELS)])],
    ) -> Run:
        return await service.backtests.update(run_id, data)

    @delete("/{run_id:str}", **described("backtests.delete"), responses=problem_responses(404, 409, 503))
    async def delete_backtest(self, service: NamedDependency[Service], run_id: RunId) -> None:
        await service.backtests.delete(run_id)

    @post("/delete", status_code=200, **described("backtests.delete_many"), responses=problem_responses(404, 408, 413, 415, 503))
    async def delete_backtests(
        self,
        request: Request[Any, Any, Any],
        service: NamedDependency[Service],
        data: Annotated[
            RunSelection, BodyKwarg(examples=[Example(value={"tags": ["old"], "metrics": ["sharpe<0.5"]}), Example(value={"all": True})])
        ],
    ) -> DeletedRuns:
        return await while_connected(request, service.backtests.delete_many(data))

    @post("/compare", status_code=200, **described("backtests.compare"), responses=problem_responses(404, 408, 409, 413, 415, 503))
    async def compare_backtests(
        self,
        request: Request[Any, Any, Any],
        service: NamedDependency[Service],
        data: Annotated[ComparisonRequest, BodyKwarg(examples=[Example(value={"ids": IDS})])],
    ) -> RunComparison:
        return await while_connected(request, service.backtests.compare(data.ids, data.points))

    @post("/{run_id:str}/verify", status_code=200, **described("backtests.verify"), responses=problem_responses(404, 409, 503))
    async def verify_backtest(self, request: Request[Any, Any, Any], service: NamedDependency[Service], run_id: RunId) -> Verification:
        return await while_connected(request, service.backtests.verify(run_id))

    @post(
        "/{run_id:str}/rerun",
        status_code=202,
        **described("backtests.rerun", "The body, with labels for the new run, may be left out.", summary="Run this backtest again"),
        operation_class=OptionalBodyOperation,
        response_headers=[location_header(), applied_header()],
        responses=done() | problem_responses(404, 408, 409, 413, 415, 429, 503),
    )
    async def run_backtest_again(
        self,
        request: Request[Any, Any, Any],
        service: NamedDependency[Service],
        options: NamedDependency[RunOptions],
        run_id: RunId,
        data: Annotated[LabelChanges, BodyKwarg(examples=[Example(value=LABELS)])] = NO_CHANGES,
        prefer: Prefer = "",
    ) -> Response[Run]:
        run = await while_connected(request, service.backtests.rerun(run_id, options, data))
        return await accepted_run(request, service, run, prefer)
