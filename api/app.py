"""The ASGI application: addresses, shared parts, lifespan. Nothing happens at import."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, Router, get
from litestar.datastructures import State
from litestar.di import Provide
from litestar.response import Redirect

import workers
from api.http import problems
from api.http.openapi import openapi_config, page_assets
from api.http.requests import MAX_JSON_BYTES, ApiRequest
from api.http.run_options import provide_run_options
from api.routes import backtests, datasets, fetches, queue, strategies
from python_core import Strategy
from workers.service.operations import OPERATIONS

# Request bodies, and answers that only HTTP has.
BODIES = (
    problems.Problem,
    Strategy,
    backtests.AttemptList,
    queue.RerunRequest,
    strategies.DiagnosisRequest,
    strategies.PlotRequest,
    strategies.StrategyRequest,
    workers.BacktestRequest,
    workers.CreateAndRunRequest,
    workers.DeadLetterSelection,
    workers.FetchRequest,
    workers.ScheduleRequest,
)


def create_app(settings: workers.Settings | None = None, *, max_upload_bytes: int | None = None) -> Litestar:
    """The application; without settings, those of the environment. Its service is opened and closed with its lifespan."""
    chosen = settings or workers.Settings.from_env()

    @asynccontextmanager
    async def service(app: Litestar) -> AsyncIterator[None]:
        async with workers.open_service(chosen) as opened:
            app.state.service = opened
            yield

    resources = [datasets.Datasets, fetches.Fetches, fetches.Schedules, strategies.Strategies, backtests.Backtests, queue.Operations]
    return Litestar(
        [index, page_assets(), Router("/api/v1", route_handlers=resources)],
        lifespan=[service],
        state=State({"max_upload_bytes": max_upload_bytes or chosen.upload_mb * 1_000_000}),
        dependencies={
            "service": Provide(provide_service, sync_to_thread=False),
            "options": Provide(provide_run_options, sync_to_thread=False),
        },
        exception_handlers=problems.EXCEPTION_HANDLERS,
        before_request=before_request,
        request_class=ApiRequest,
        request_max_body_size=MAX_JSON_BYTES,
        openapi_config=openapi_config(schemas()),
        logging_config=None,
    )


def schemas() -> tuple[type[msgspec.Struct], ...]:
    """The structs of the OpenAPI document: bodies, and the answers of all operations."""
    answers = {operation.answer for operation in OPERATIONS.values()}
    return (*BODIES, *(answer for answer in answers if isinstance(answer, type) and issubclass(answer, msgspec.Struct)))


@get("/", include_in_schema=False, sync_to_thread=False)
def index() -> Redirect:
    """A browser that comes to the door is shown the page of the API."""
    return Redirect("/schema")


async def before_request(request: Request[Any, Any, Any]) -> Response[None] | None:
    """What holds for all addresses: no null characters, on which file systems and PostgreSQL fail, and no orders from other sites' pages."""
    if "\0" in request.scope["path"] or b"%00" in request.scope["query_string"]:
        raise problems.ProblemError(400, "the address holds a null character")
    if request.method not in ("GET", "HEAD", "OPTIONS") and request.headers.get("sec-fetch-site") == "cross-site":
        raise problems.ProblemError(403, "the browser says that another site's page asks; only pages of this host may change things")
    if request.method == "OPTIONS":  # Litestar's own answer names only some of the methods
        methods = next(route.methods for route in request.app.routes if route.path_format == request.scope["path_template"])
        return Response(None, status_code=204, headers={"allow": ", ".join(sorted(methods))})
    return None


def provide_service(state: State) -> workers.Service:
    service: workers.Service = state.service
    return service
