"""How the service does: its health and the figures of its queue."""

from __future__ import annotations

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec

from api.problems import problem_answers
from workers import Health, QueueMetrics, Service


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
    async def queue_metrics(self, service: NamedDependency[Service]) -> Response[QueueMetrics]:
        """Jobs that wait, run and have ended, and the workers that reported lately."""
        return Response(await service.queue_metrics(), headers={"cache-control": "no-store"})
