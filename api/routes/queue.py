"""Queue administration: health, metrics, workers, pause, and dead letters."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg, PathParameter

from api.http import prometheus
from api.http.conditional import conditional, not_modified
from api.http.formats import AnswerFormat, listed
from api.http.older.responses import HealthResponse, QueueMetricsResponse, health_response, metrics_response
from api.http.openapi import described
from api.http.problems import problem_responses
from api.http.responses import Cursor, Limit
from workers import AffectedRuns, DeadLetter, DeadLetterPage, DeadLetterSelection, Service, WorkerList
from workers.runs.dead_letters import require_affected

RunId = Annotated[str, PathParameter(description="Id of the run.")]
Selected = Annotated[DeadLetterSelection, BodyKwarg(examples=[Example(value={"all": True})])]


class Queue(Controller):
    path = "/queue"
    tags = ("queue",)

    @get(
        "/health",
        **described("queue.get_health", "The status is 503 if database, Redis or file store can't be written."),
        responses=problem_responses()
        | {
            503: ResponseSpec(
                HealthResponse,
                description="The database, Redis or the file store can't be written; the body says which and why.",
                generate_examples=False,
            )
        },
    )
    async def get_health(self, service: NamedDependency[Service]) -> Response[HealthResponse]:
        health, metrics = await asyncio.gather(service.queue.get_health(), service.queue.get_metrics())
        return Response(
            health_response(health, metrics), status_code=200 if health.status == "ok" else 503, headers={"cache-control": "no-store"}
        )

    @get(
        "/metrics",
        **described("queue.get_metrics", "With `Accept: text/plain` the response is in the Prometheus text format."),
        responses=problem_responses(),
    )
    async def get_queue_metrics(self, request: Request[Any, Any, Any], service: NamedDependency[Service]) -> Response[QueueMetricsResponse]:
        metrics, headers = await service.queue.get_metrics(), {"cache-control": "no-store", "vary": "accept"}
        if prometheus.accepts_text(request.headers.get("accept", "")):
            return Response(prometheus.exposition(metrics), media_type=prometheus.MEDIA_TYPE, headers=headers)  # type: ignore[arg-type]
        return Response(metrics_response(metrics), headers=headers)

    @get("/workers", **described("queue.list_workers"), responses=problem_responses(503))
    async def list_workers(self, service: NamedDependency[Service]) -> Response[WorkerList]:
        return Response(await service.queue.list_workers(), headers={"cache-control": "no-store"})

    @post("/pause", status_code=204, **described("queue.pause"), responses=problem_responses(503))
    async def pause_queue(self, service: NamedDependency[Service]) -> None:
        await service.queue.pause()

    @post("/resume", status_code=204, **described("queue.resume"), responses=problem_responses(503))
    async def resume_queue(self, service: NamedDependency[Service]) -> None:
        await service.queue.resume()

    @get("/dead", **described("queue.list_dead_letters"), responses=not_modified() | problem_responses(406, 503))
    async def list_dead_letters(
        self,
        request: Request[Any, Any, Any],
        service: NamedDependency[Service],
        answer_format: NamedDependency[AnswerFormat],
        limit: Limit = 50,
        cursor: Cursor = "",
    ) -> Response[DeadLetterPage]:
        return await listed(request, answer_format, await service.queue.list_dead_letters(limit=limit, cursor=cursor or None))

    @get("/dead/{run_id:str}", **described("queue.get_dead_letter"), responses=not_modified() | problem_responses(404, 503))
    async def get_dead_letter(
        self, request: Request[Any, Any, Any], service: NamedDependency[Service], run_id: RunId
    ) -> Response[DeadLetter]:
        return conditional(request, await service.queue.get_dead_letter(run_id))

    @post("/dead/redrive", status_code=200, **described("queue.redrive"), responses=problem_responses(408, 413, 415, 503))
    async def redrive_dead_letters(self, service: NamedDependency[Service], data: Selected) -> AffectedRuns:
        return await service.queue.redrive(data)

    @post("/dead/discard", status_code=200, **described("queue.discard"), responses=problem_responses(408, 413, 415, 503))
    async def discard_dead_letters(self, service: NamedDependency[Service], data: Selected) -> AffectedRuns:
        return await service.queue.discard(data)

    @post(
        "/dead/{run_id:str}/redrive",
        status_code=200,
        **described("queue.redrive", "This path selects one run; 409 if it is not dead.", summary="Redrive a dead letter"),
        responses=problem_responses(409, 503),
    )
    async def redrive_dead_letter(self, service: NamedDependency[Service], run_id: RunId) -> AffectedRuns:
        affected = await service.queue.redrive(DeadLetterSelection(ids=(run_id,)))
        require_affected(affected, run_id)
        return affected

    @post(
        "/dead/{run_id:str}/discard",
        status_code=200,
        **described("queue.discard", "This path selects one run; 409 if it is not dead.", summary="Discard a dead letter"),
        responses=problem_responses(409, 503),
    )
    async def discard_dead_letter(self, service: NamedDependency[Service], run_id: RunId) -> AffectedRuns:
        affected = await service.queue.discard(DeadLetterSelection(ids=(run_id,)))
        require_affected(affected, run_id)
        return affected
