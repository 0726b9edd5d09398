"""The ASGI application: routes, dependencies, lifespan."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, get_args

import msgspec
import structlog
from litestar import Litestar, Request, Response, Router, get
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.di import Provide
from litestar.response import Redirect

import workers
from api.auth.guard import PUBLIC, Guard
from api.auth.headers import add_headers, request_id
from api.http import problems
from api.http.compression import compressed
from api.http.conditional import check_if_match
from api.http.formats import provide_format
from api.http.head import HeadRequests, without_body
from api.http.idempotency import begin_count
from api.http.older import responses as older_responses
from api.http.openapi import openapi_config, page_assets
from api.http.query import check_query
from api.http.read_options import provide_read_options
from api.http.requests import MAX_JSON_BYTES, ApiRequest
from api.http.run_filter import provide_run_filter
from api.http.run_options import provide_run_options
from api.routes import backtest_management, backtests, datasets, events, fetches, keys, monitoring, queue, results, strategies
from python_core import Strategy
from workers.service.operations import OPERATIONS

# Request bodies, and the response types that only HTTP has.
HTTP_STRUCTS = (
    problems.FieldError,
    problems.Problem,
    Strategy,
    backtests.AttemptList,
    backtests.BatchRequest,
    backtests.RerunRequest,
    backtest_management.ComparisonRequest,
    strategies.DiagnosisRequest,
    strategies.PlotRequest,
    strategies.StrategyRequest,
    older_responses.HealthResponse,
    older_responses.QueueMetricsResponse,
    workers.BacktestRequest,
    workers.CreateAndRunRequest,
    workers.DeadLetterSelection,
    workers.FeedEvent,
    workers.FetchRequest,
    workers.KeyRequest,
    workers.LabelChanges,
    workers.RunSelection,
    workers.ScheduleRequest,
)


def create_app(settings: workers.Settings | None = None, *, max_upload_bytes: int | None = None) -> Litestar:
    """The application. Settings default to those of the environment; the service is opened when the application starts."""
    settings = settings or workers.Settings.from_env()

    @asynccontextmanager
    async def service(app: Litestar) -> AsyncIterator[None]:
        async with workers.open_service(settings) as opened:
            app.state.service = opened
            yield

    controllers = [
        datasets.Datasets,
        fetches.Fetches,
        fetches.Schedules,
        strategies.Strategies,
        backtests.Backtests,
        backtest_management.BacktestManagement,
        backtests.BacktestJobs,
        results.Results,
        events.Events,
        keys.Keys,
        keys.Account,
        queue.Queue,
    ]
    return Litestar(
        [index, page_assets(), *monitoring.HANDLERS, Router("/api/v1", route_handlers=controllers)],
        lifespan=[service],
        state=State({"max_upload_bytes": max_upload_bytes or settings.upload_mb * 1_000_000}),
        dependencies={
            "service": Provide(provide_service, sync_to_thread=False),
            "options": Provide(provide_run_options, sync_to_thread=False),
            "run_filter": Provide(provide_run_filter, sync_to_thread=False),
            "read": Provide(provide_read_options),
            "answer_format": Provide(provide_format, sync_to_thread=False),
        },
        exception_handlers=problems.EXCEPTION_HANDLERS,
        before_request=partial(before_request, Guard(settings)),
        before_send=[add_headers],
        middleware=[without_body, compressed],
        plugins=[HeadRequests()],
        cors_config=cors_config(settings),
        request_class=ApiRequest,
        request_max_body_size=MAX_JSON_BYTES,
        openapi_config=openapi_config(schemas()),
        logging_config=None,
    )


def schemas() -> tuple[type[msgspec.Struct], ...]:
    """The structs of the OpenAPI document: request bodies and responses."""
    responses = {choice for operation in OPERATIONS.values() for choice in get_args(operation.response) or (operation.response,)}
    return (*HTTP_STRUCTS, *(item for item in responses if isinstance(item, type) and issubclass(item, msgspec.Struct)))


@get("/", include_in_schema=False, sync_to_thread=False)
def index() -> Redirect:
    """Redirect browsers to the page of the API."""
    return Redirect("/schema")


async def before_request(guard: Guard, request: Request[Any, Any, Any]) -> Response[None] | None:
    """Checks on every request: no null characters, which PostgreSQL and file systems reject, those of the guard, and query parameters."""
    structlog.contextvars.bind_contextvars(request_id=request_id(request.scope))
    if "\0" in request.scope["path"] or b"%00" in request.scope["query_string"]:
        raise problems.ProblemError(400, "the URL contains a null character")
    # Each use of `request.headers` costs more than most of these checks.
    path, headers, service = request.scope["path"], request.headers, request.app.state.service
    if not path.startswith("/health/"):  # load balancers ask by address
        guard.check_origin(request.method, headers)
    if request.method == "OPTIONS":  # Litestar's own response lists only some of the methods
        methods = next(route.methods for route in request.app.routes if route.path_format == request.scope["path_template"])
        return Response(None, status_code=204, headers={"allow": ", ".join(sorted(methods))})
    begin_count(request.scope, headers)
    request.scope["state"]["service"] = service if PUBLIC.fullmatch(path) else await guard.identify(request.scope, headers, service)
    check_query(request)
    if "if-match" in headers:
        check_if_match(request)
    return None


def provide_service(request: Request[Any, Any, Any]) -> workers.Service:
    """The service for the caller of a request."""
    service: workers.Service = request.scope["state"]["service"]
    return service


def cors_config(settings: workers.Settings) -> CORSConfig | None:
    """What pages of the origins of the settings may do; without any, nothing."""
    if not settings.cors_origins:
        return None
    return CORSConfig(
        allow_origins=[origin.strip() for origin in settings.cors_origins.split(",")],
        allow_headers=[
            "Authorization",
            "Barstorm-Owner",
            "Content-Type",
            "Idempotency-Key",
            "If-Match",
            "If-None-Match",
            "Last-Event-ID",
            "Prefer",
        ],
        expose_headers=[
            "Content-Disposition",
            "ETag",
            "Idempotency-Replayed",
            "Link",
            "Location",
            "Preference-Applied",
            "RateLimit",
            "RateLimit-Policy",
            "Retry-After",
            "X-Request-Id",
        ],
    )
