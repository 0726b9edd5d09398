"""What load balancers and Prometheus ask for."""

from __future__ import annotations

from typing import Any, Final

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler

from api.http import prometheus
from workers import Service

NO_STORE: Final = {"cache-control": "no-store"}


@get("/health/live", include_in_schema=False, sync_to_thread=False)
def get_liveness() -> Response[dict[str, str]]:
    """200 while the process responds."""
    return Response({"status": "ok"}, headers=NO_STORE)


@get("/health/ready", include_in_schema=False)
async def get_readiness(service: NamedDependency[Service]) -> Response[dict[str, str]]:
    """200 while database, Redis and file store can be written, else 503. Which of them fails is only told to those with a key."""
    health = await service.queue.get_health()
    return Response({"status": health.status}, status_code=200 if health.status == "ok" else 503, headers=NO_STORE)


@get("/metrics", include_in_schema=False)
async def get_metrics(service: NamedDependency[Service]) -> Response[Any]:
    """The metrics of the queue in the Prometheus text format."""
    return Response(prometheus.exposition(await service.queue.get_metrics()), media_type=prometheus.MEDIA_TYPE, headers=NO_STORE)


HANDLERS: Final[tuple[HTTPRouteHandler, ...]] = (get_liveness, get_readiness, get_metrics)
