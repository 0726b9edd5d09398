"""How the service does: its health and the figures of its queue; workers, pause, and what failed too often."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg, FromPath, QueryParameter

from api.http.openapi import CROSS, described
from api.http.problems import problem_answers
from api.http.prometheus import MEDIA_TYPE, exposition, wanted
from api.http.responses import Limit, location_header
from api.routes.backtests import accepted
from workers import (
    AffectedRuns,
    CreateAndRunRequest,
    DeadLetter,
    DeadLetterPage,
    DeadLetterSelection,
    Health,
    QueueMetrics,
    Run,
    RunOptions,
    Service,
    WorkerList,
)
from workers.runs.dead_letters import require_affected

Cursor = Annotated[str, QueryParameter(max_length=200, description="`next_cursor` of the page before.")]
Picked = Annotated[DeadLetterSelection, BodyKwarg(examples=[Example(value={"all": True})])]
CREATION = {"name": "sma-cross", "strategy": CROSS, "dataset": "btcusdt-1h"}


class RerunRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which backtest is to be run again."""

    backtest: Annotated[str, msgspec.Meta(min_length=1, max_length=120, description="Id of a backtest.")]


class Operations(Controller):
    path = "/queue"
    tags = ("queue",)

    @get(
        "/health",
        **described("queue.get_health", "503 if the database or Redis doesn't respond."),
        responses=problem_answers()
        | {503: ResponseSpec(Health, description="Database or Redis doesn't answer; the body tells which.", generate_examples=False)},
    )
    async def queue_health(self, service: NamedDependency[Service]) -> Response[Health]:
        health = await service.queue.get_health()
        return Response(health, status_code=200 if health.status == "ok" else 503, headers={"cache-control": "no-store"})

    @get(
        "/metrics",
        **described("queue.get_metrics", "In Prometheus's text format if the client accepts text rather than JSON."),
        responses=problem_answers(503),
    )
    async def queue_metrics(self, request: Request[Any, Any, Any], service: NamedDependency[Service]) -> Response[QueueMetrics]:
        metrics, headers = await service.queue.get_metrics(), {"cache-control": "no-store", "vary": "accept"}
        if wanted(request.headers.get("accept", "")):
            return Response(exposition(metrics), media_type=MEDIA_TYPE, headers=headers)  # type: ignore[arg-type]
        return Response(metrics, headers=headers)

    @get("/workers", **described("queue.list_workers"), responses=problem_answers(503))
    async def list_workers(self, service: NamedDependency[Service]) -> Response[WorkerList]:
        return Response(await service.queue.list_workers(), headers={"cache-control": "no-store"})

    @post("/pause", status_code=204, **described("queue.pause"), responses=problem_answers(503))
    async def pause_queue(self, service: NamedDependency[Service]) -> None:
        await service.queue.pause()

    @post("/resume", status_code=204, **described("queue.resume"), responses=problem_answers(503))
    async def resume_queue(self, service: NamedDependency[Service]) -> None:
        await service.queue.resume()

    @post(
        "/backtest/run",
        status_code=202,
        **described("backtests.rerun"),
        response_headers=[location_header()],
        responses=problem_answers(404, 408, 409, 413, 415, 503),
    )
    async def run_backtest_again(
        self,
        service: NamedDependency[Service],
        options: NamedDependency[RunOptions],
        data: Annotated[RerunRequest, BodyKwarg(examples=[Example(value={"backtest": "01a20e01-da8e-76f1-9b64-4804fb8cfa41"})])],
    ) -> Response[Run]:
        return accepted(await service.backtests.rerun(data.backtest, options))

    @post(
        "/backtest/create-and-run",
        status_code=202,
        **described("backtests.create_and_run"),
        response_headers=[location_header()],
        responses=problem_answers(404, 408, 409, 413, 415, 503),
    )
    async def create_and_run(
        self,
        service: NamedDependency[Service],
        options: NamedDependency[RunOptions],
        data: Annotated[CreateAndRunRequest, BodyKwarg(examples=[Example(value=CREATION)])],
    ) -> Response[Run]:
        return accepted(await service.backtests.create_and_run(data, options))

    @get("/dead", **described("queue.list_dead_letters"), responses=problem_answers(503))
    async def list_dead(self, service: NamedDependency[Service], limit: Limit = 50, cursor: Cursor = "") -> DeadLetterPage:
        return await service.queue.list_dead_letters(limit=limit, cursor=cursor or None)

    @get("/dead/{run_id:str}", **described("queue.get_dead_letter"), responses=problem_answers(404, 503))
    async def get_dead(self, service: NamedDependency[Service], run_id: FromPath[str]) -> DeadLetter:
        return await service.queue.get_dead_letter(run_id)

    @post("/dead/redrive", status_code=200, **described("queue.redrive"), responses=problem_answers(408, 413, 415, 503))
    async def redrive_dead(self, service: NamedDependency[Service], data: Picked) -> AffectedRuns:
        return await service.queue.redrive(data)

    @post("/dead/discard", status_code=200, **described("queue.discard"), responses=problem_answers(408, 413, 415, 503))
    async def discard_dead(self, service: NamedDependency[Service], data: Picked) -> AffectedRuns:
        return await service.queue.discard(data)

    @post(
        "/dead/{run_id:str}/redrive",
        status_code=200,
        **described("queue.redrive", "Redrives one run; a run that is not dead is a 409."),
        responses=problem_answers(409, 503),
    )
    async def redrive_one(self, service: NamedDependency[Service], run_id: FromPath[str]) -> AffectedRuns:
        affected = await service.queue.redrive(DeadLetterSelection(ids=(run_id,)))
        require_affected(affected, run_id)
        return affected

    @post(
        "/dead/{run_id:str}/discard",
        status_code=200,
        **described("queue.discard", "Discards one run; a run that is not dead is a 409."),
        responses=problem_answers(409, 503),
    )
    async def discard_one(self, service: NamedDependency[Service], run_id: FromPath[str]) -> AffectedRuns:
        affected = await service.queue.discard(DeadLetterSelection(ids=(run_id,)))
        require_affected(affected, run_id)
        return affected
