"""How the service does: its health and the figures of its queue; workers, pause, and what failed too often."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg, FromPath, QueryParameter

from api.http.openapi import CROSS
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
    WorkerInfo,
)
from workers.runs.dead_letters import only

Cursor = Annotated[str, QueryParameter(max_length=200, description="`next_cursor` of the page before.")]
Picked = Annotated[DeadLetterSelection, BodyKwarg(examples=[Example(value={"all": True})])]
CREATION = {"name": "sma-cross", "strategy": CROSS, "dataset": "btcusdt-1h"}


class RerunRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which backtest is to be run again."""

    backtest: Annotated[str, msgspec.Meta(min_length=1, max_length=120, description="Id of a backtest.")]


class WorkerList(msgspec.Struct, frozen=True, kw_only=True):
    """The worker processes that reported lately."""

    items: tuple[WorkerInfo, ...]


class Operations(Controller):
    path = "/queue"
    tags = ("queue",)

    @get(
        "/health",
        summary="Ask how the service is",
        responses=problem_answers()
        | {503: ResponseSpec(Health, description="Database or Redis doesn't answer; the body tells which.", generate_examples=False)},
    )
    async def queue_health(self, service: NamedDependency[Service]) -> Response[Health]:
        """Really asks the database and Redis, and says how each is and which engine is in use, and why."""
        health = await service.queue_health()
        return Response(health, status_code=200 if health.status == "ok" else 503, headers={"cache-control": "no-store"})

    @get("/metrics", summary="Figures of the queue", responses=problem_answers(503))
    async def queue_metrics(self, request: Request[Any, Any, Any], service: NamedDependency[Service]) -> Response[QueueMetrics]:
        """Jobs that wait, run and have ended, and the workers that reported lately. Who accepts text rather than JSON, as Prometheus does,
        gets them in its form."""
        metrics, headers = await service.queue_metrics(), {"cache-control": "no-store", "vary": "accept"}
        if wanted(request.headers.get("accept", "")):
            return Response(exposition(metrics), media_type=MEDIA_TYPE, headers=headers)  # type: ignore[arg-type]
        return Response(metrics, headers=headers)

    @get("/workers", summary="List workers", responses=problem_answers(503))
    async def list_workers(self, service: NamedDependency[Service]) -> Response[WorkerList]:
        """Each worker process: since when it runs, what it has in hand and since when, its memory, what it has done."""
        return Response(WorkerList(items=await service.operator.list_workers()), headers={"cache-control": "no-store"})

    @post("/pause", status_code=204, summary="Pause the queue", responses=problem_answers(503))
    async def pause_queue(self, service: NamedDependency[Service]) -> None:
        """Workers finish what they have and claim no more; what is submitted waits."""
        await service.operator.pause()

    @post("/resume", status_code=204, summary="Resume the queue", responses=problem_answers(503))
    async def resume_queue(self, service: NamedDependency[Service]) -> None:
        """Workers claim again."""
        await service.operator.resume()

    @post(
        "/backtest/run",
        status_code=202,
        summary="Run a backtest again",
        response_headers=[location_header()],
        responses=problem_answers(404, 408, 409, 413, 415, 503),
    )
    async def run_backtest_again(
        self,
        service: NamedDependency[Service],
        terms: NamedDependency[RunOptions],
        data: Annotated[RerunRequest, BodyKwarg(examples=[Example(value={"backtest": "01a20e01-da8e-76f1-9b64-4804fb8cfa41"})])],
    ) -> Response[Run]:
        """A new run of what an earlier one asked for; when its result is there, it is the answer."""
        return accepted(await service.run_again(data.backtest, terms))

    @post(
        "/backtest/create-and-run",
        status_code=202,
        summary="Keep a strategy and run it",
        response_headers=[location_header()],
        responses=problem_answers(404, 408, 409, 413, 415, 503),
    )
    async def create_and_run(
        self,
        service: NamedDependency[Service],
        terms: NamedDependency[RunOptions],
        data: Annotated[CreateAndRunRequest, BodyKwarg(examples=[Example(value=CREATION)])],
    ) -> Response[Run]:
        """Both or neither: when the run can't be accepted, the strategy isn't kept."""
        return accepted(await service.create_and_run(data, terms))

    @get("/dead", summary="List dead letters", responses=problem_answers(503))
    async def list_dead(self, service: NamedDependency[Service], limit: Limit = 50, cursor: Cursor = "") -> DeadLetterPage:
        """Runs that failed too often to be tried again by themselves, newest first."""
        return await service.operator.list_dead(limit=limit, cursor=cursor or None)

    @get("/dead/{run_id:str}", summary="Look at a dead letter", responses=problem_answers(404, 503))
    async def get_dead(self, service: NamedDependency[Service], run_id: FromPath[str]) -> DeadLetter:
        """What was asked, and the error of every attempt."""
        return await service.operator.get_dead(run_id)

    @post("/dead/redrive", status_code=200, summary="Send dead letters again", responses=problem_answers(408, 413, 415, 503))
    async def redrive_dead(self, service: NamedDependency[Service], data: Picked) -> AffectedRuns:
        """As if they had never failed; their attempts stay on record. Answers which they were."""
        return await service.operator.redrive_dead(data)

    @post("/dead/discard", status_code=200, summary="Discard dead letters", responses=problem_answers(408, 413, 415, 503))
    async def discard_dead(self, service: NamedDependency[Service], data: Picked) -> AffectedRuns:
        """They end as cancelled. Answers which they were."""
        return await service.operator.discard_dead(data)

    @post("/dead/{run_id:str}/redrive", status_code=200, summary="Send a dead letter again", responses=problem_answers(409, 503))
    async def redrive_one(self, service: NamedDependency[Service], run_id: FromPath[str]) -> AffectedRuns:
        """409 if the run isn't dead."""
        chosen = await service.operator.redrive_dead(DeadLetterSelection(ids=(run_id,)))
        only(chosen, run_id)
        return chosen

    @post("/dead/{run_id:str}/discard", status_code=200, summary="Discard a dead letter", responses=problem_answers(409, 503))
    async def discard_one(self, service: NamedDependency[Service], run_id: FromPath[str]) -> AffectedRuns:
        """409 if the run isn't dead."""
        chosen = await service.operator.discard_dead(DeadLetterSelection(ids=(run_id,)))
        only(chosen, run_id)
        return chosen
