"""The ASGI application: routes, dependencies, lifespan."""

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
from api.http.read_options import provide_read_options
from api.http.requests import MAX_JSON_BYTES, ApiRequest
from api.http.run_options import provide_run_options
from api.routes import backtests, datasets, fetches, queue, strategies
from python_core import Strategy
from workers.service.operations import OPERATIONS

# Request bodies, and the response types that only HTTP has.
HTTP_STRUCTS = (
    problems.Problem,
    Strategy,
    backtests.AttemptList,
    backtests.BatchRequest,
    backtests.RerunRequest,
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
    """The application. Settings default to those of the environment; the service is opened when the application starts."""
    settings = settings or workers.Settings.from_env()

    @asynccontextmanager
    async def service(app: Litestar) -> AsyncIterator[None]:
        async with workers.open_service(settings) as opened:
            opened.warm_up()
            app.state.service = opened
            yield

    controllers = [
        datasets.Datasets,
        fetches.Fetches,
        fetches.Schedules,
        strategies.Strategies,
        backtests.Backtests,
        backtests.BacktestJobs,
        queue.Queue,
    ]
    return Litestar(
        [index, page_assets(), Router("/api/v1", route_handlers=controllers)],
        lifespan=[service],
        state=State({"max_upload_bytes": max_upload_bytes or settings.upload_mb * 1_000_000}),
        dependencies={
            "service": Provide(provide_service, sync_to_thread=False),
            "options": Provide(provide_run_options, sync_to_thread=False),
            "read": Provide(provide_read_options),
        },
        exception_handlers=problems.EXCEPTION_HANDLERS,
        before_request=before_request,
        request_class=ApiRequest,
        request_max_body_size=MAX_JSON_BYTES,
        openapi_config=openapi_config(schemas()),
        logging_config=None,
    )


def schemas() -> tuple[type[msgspec.Struct], ...]:
    """The structs of the OpenAPI document: request bodies and responses."""
    responses = {operation.response for operation in OPERATIONS.values()}
    return (*HTTP_STRUCTS, *(item for item in responses if isinstance(item, type) and issubclass(item, msgspec.Struct)))


@get("/", include_in_schema=False, sync_to_thread=False)
def index() -> Redirect:
    """Redirect browsers to the page of the API."""
    return Redirect("/schema")


async def before_request(request: Request[Any, Any, Any]) -> Response[None] | None:
    """Checks on every request: no null characters, which PostgreSQL and file systems reject, and no changes by pages of other sites."""
    if "\0" in request.scope["path"] or b"%00" in request.scope["query_string"]:
        raise problems.ProblemError(400, "the URL contains a null character")
    if request.method not in ("GET", "HEAD", "OPTIONS") and request.headers.get("sec-fetch-site") == "cross-site":
        raise problems.ProblemError(403, "cross-site request: only pages of this host may make changes")
    if request.method == "OPTIONS":  # Litestar's own response lists only some of the methods
        methods = next(route.methods for route in request.app.routes if route.path_format == request.scope["path_template"])
        return Response(None, status_code=204, headers={"allow": ", ".join(sorted(methods))})
    return None


def provide_service(state: State) -> workers.Service:
    service: workers.Service = state.service
    return service
