"""What finished backtests have found: trades, equity and monthly returns."""

from __future__ import annotations

from typing import Annotated, Any, Final

from litestar import Controller, Request, Response, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from api.http.conditional import not_modified
from api.http.formats import AnswerFormat, exported, exported_by, paged
from api.http.openapi import described
from api.http.problems import problem_responses
from api.http.responses import Cursor
from api.routes.backtests import RunId
from workers import EquityCurve, MonthlyReturns, Service, TradePage

# Of an equity curve as JSON, which is made in memory.
MAX_POINTS: Final = 1_000_000


class Results(Controller):
    path = "/backtests"
    tags = ("backtests",)

    @get(
        "/{run_id:str}/trades",
        **described("backtests.get_trades", exported_by("backtests.export_trades")),
        responses=not_modified() | problem_responses(404, 406, 409, 429, 503),
    )
    async def get_backtest_trades(
        self,
        request: Request[Any, Any, Any],
        service: NamedDependency[Service],
        answer_format: NamedDependency[AnswerFormat],
        run_id: RunId,
        limit: Annotated[
            int | None, QueryParameter(ge=1, le=1_000, description="Maximum number of trades; default: 100 as JSON, all in other formats.")
        ] = None,
        cursor: Cursor = "",
    ) -> Response[TradePage]:
        result = await _digest(service, run_id)
        if answer_format == "json" or limit is not None or cursor:
            return await paged(
                request,
                answer_format,
                result,
                lambda: service.backtests.get_trades(run_id, limit=limit or 100, cursor=cursor or None),
                immutable=True,
            )
        return await exported(
            request, answer_format, result, lambda file, form: service.backtests.export_trades(run_id, file, form), immutable=True
        )

    @get(
        "/{run_id:str}/equity",
        **described("backtests.get_equity", exported_by("backtests.export_equity")),
        responses=not_modified() | problem_responses(404, 406, 409, 429, 503),
    )
    async def get_backtest_equity(
        self,
        request: Request[Any, Any, Any],
        service: NamedDependency[Service],
        answer_format: NamedDependency[AnswerFormat],
        run_id: RunId,
        points: Annotated[
            int | None,
            QueryParameter(
                ge=2, le=MAX_POINTS, description=f"Maximum number of points; default: {MAX_POINTS:,} as JSON, all in other formats."
            ),
        ] = None,
    ) -> Response[EquityCurve]:
        result = await _digest(service, run_id)
        if answer_format == "json":
            return await paged(
                request, answer_format, result, lambda: service.backtests.get_equity(run_id, points=points or MAX_POINTS), immutable=True
            )
        return await exported(
            request,
            answer_format,
            result,
            lambda file, form: service.backtests.export_equity(run_id, file, form, points=points),
            immutable=True,
        )

    @get(
        "/{run_id:str}/monthly-returns",
        **described("backtests.get_monthly_returns"),
        responses=not_modified() | problem_responses(404, 406, 409, 503),
    )
    async def get_backtest_monthly_returns(
        self,
        request: Request[Any, Any, Any],
        service: NamedDependency[Service],
        answer_format: NamedDependency[AnswerFormat],
        run_id: RunId,
    ) -> Response[MonthlyReturns]:
        result = await _digest(service, run_id)
        return await paged(request, answer_format, result, lambda: service.backtests.get_monthly_returns(run_id), immutable=True)


async def _digest(service: Service, run_id: str) -> str:
    """The digest of the result of a run, which never changes; empty without one."""
    run = await service.backtests.get(run_id)
    return run.result.digest if run.result else ""
