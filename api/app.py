"""The ASGI application: addresses, shared parts, lifespan. Nothing happens at import."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, Request, Response, Router, get
from litestar.datastructures import State
from litestar.di import Provide
from litestar.response import Redirect

import workers
from api.http import problems
from api.http.openapi import openapi_config, page_assets
from api.http.requests import MAX_JSON_BYTES, ApiRequest
from api.http.run_options import provide_terms
from api.routes import backtests, datasets, fetches, queue, strategies
from python_core import Strategy
from python_core.diagnostics import Diagnosis, Plot
from python_core.files.cleaning import ImportReport

STRUCTS = (
    problems.Problem,
    datasets.DatasetPage,
    workers.BarsPage,
    ImportReport,
    Strategy,
    strategies.StrategyCheck,
    Diagnosis,
    strategies.DiagnosisRequest,
    strategies.StrategyLibrary,
    strategies.StrategyRequest,
    Plot,
    strategies.PlotRequest,
    strategies.StrategyPage,
    workers.BacktestRequest,
    backtests.AttemptList,
    workers.FetchRequest,
    workers.FetchPage,
    workers.ScheduleRequest,
    fetches.SchedulePage,
    workers.RunPage,
    workers.TradePage,
    workers.EquityCurve,
    workers.DeadLetterSelection,
    workers.AffectedRuns,
    workers.CreateAndRunRequest,
    workers.DeadLetterPage,
    queue.RerunRequest,
    queue.WorkerList,
    workers.Health,
    workers.QueueMetrics,
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
            "terms": Provide(provide_terms, sync_to_thread=False),
        },
        exception_handlers=problems.EXCEPTION_HANDLERS,
        before_request=before_request,
        request_class=ApiRequest,
        request_max_body_size=MAX_JSON_BYTES,
        openapi_config=openapi_config(STRUCTS),
        logging_config=None,
    )


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
