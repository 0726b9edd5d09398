"""Strategies: kept under a name, so that backtests can refer to them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg, FromPath, HeaderParameter
from msgspec import Meta

from api.http.openapi import CROSS
from api.http.problems import ProblemError, problem_answers
from api.http.responses import Limit, Offset, answer, created, location_header, matches, not_modified
from python_core import Execution, Strategy
from python_core.diagnostics import Diagnosis, Plot
from python_core.strategy import library
from workers import Service, StoredStrategy

IfMatch = Annotated[str, HeaderParameter(name="If-Match", description="Entity tag that you read: answers 412 if it was changed since.")]


class StrategyRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A strategy and the name to keep it under."""

    name: Annotated[str, Meta(min_length=1, max_length=120, examples=["sma-cross"])]
    strategy: Strategy


class StrategyCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What can be told of a strategy before it runs."""

    hash: Annotated[str, Meta(description="Strategies with one hash give one result on any bars.")]
    warm_up_bars: Annotated[int, Meta(description="Bars of the strategy's timeframe that pass before every signal is known.")]
    explanation: Annotated[str, Meta(description="What it does, in plain words.")]
    canonical: Annotated[dict[str, Any], Meta(description="What decides the results, in one spelling.")]


class StrategyLibrary(msgspec.Struct, frozen=True, kw_only=True):
    """Well-known strategies to start from, by name."""

    items: tuple[library.Recipe, ...]


class StrategyPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some strategies, by name; `total` counts all of them."""

    items: tuple[StoredStrategy, ...]
    offset: int
    total: int


class DiagnosisRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A strategy to look into, and the dataset to try it on."""

    dataset: Annotated[str, Meta(min_length=1, max_length=120, description="Id or name.")]
    strategy: Strategy
    execution: Execution = Execution()


class PlotRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Expressions to reckon bar by bar."""

    dataset: Annotated[str, Meta(min_length=1, max_length=120, description="Id or name.")]
    strategy: Strategy
    expressions: Annotated[
        tuple[Annotated[str, Meta(max_length=2_000)], ...] | None,
        Meta(description="May use the strategy's names; none: its conditions, definitions and indicators."),
    ] = None
    start: Annotated[int | None, Meta(description="Open time of the first bar, epoch milliseconds; none: the last bars.")] = None
    limit: Annotated[int, Meta(ge=1, le=5_000, description="At most so many bars.")] = 500


Diagnosed = Annotated[DiagnosisRequest, BodyKwarg(examples=[Example(value={"dataset": "btcusdt-1h", "strategy": CROSS})])]
Plotted = Annotated[
    PlotRequest, BodyKwarg(examples=[Example(value={"dataset": "btcusdt-1h", "strategy": CROSS, "expressions": ["sma(close, fast)"]})])
]
Unnamed = Annotated[Strategy, BodyKwarg(examples=[Example(value=CROSS)])]
Body = Annotated[StrategyRequest, BodyKwarg(examples=[Example(value={"name": "sma-cross", "strategy": CROSS})])]


class Strategies(Controller):
    path = "/strategies"
    tags = ("strategies",)

    @post(
        "/",
        summary="Keep a strategy",
        response_headers=[location_header()],
        responses=problem_answers(408, 409, 413, 415, 503),
    )
    async def create_strategy(self, service: NamedDependency[Service], data: Body) -> Response[StoredStrategy]:
        """The name must not be taken (409)."""
        stored = await service.create_strategy(data.name, data.strategy)
        return created(f"/api/v1/strategies/{stored.id}", stored)

    @get("/", summary="List strategies", responses=problem_answers(503))
    async def list_strategies(self, service: NamedDependency[Service], offset: Offset = 0, limit: Limit = 100) -> StrategyPage:
        """By name."""
        every = await service.list_strategies()
        return StrategyPage(items=every[offset : offset + limit], offset=offset, total=len(every))

    @get("/library", summary="List well-known strategies", responses=not_modified() | problem_answers(), sync_to_thread=False)
    def list_library(self, request: Request[Any, Any, Any]) -> Response[StrategyLibrary]:
        """Each with its idea, its source, params with ranges and rules that suit it. They can be posted as they are."""
        return answer(request, StrategyLibrary(items=library.every()))

    @post("/check", summary="Check a strategy", status_code=200, responses=problem_answers(408, 413, 415), sync_to_thread=False)
    def check_strategy(self, data: Unnamed) -> StrategyCheck:
        """Nothing is kept or run: an error with its place, or what the strategy does in plain words."""
        return StrategyCheck(hash=data.hash, warm_up_bars=data.warm_up_bars, explanation=data.explain(), canonical=data.canonical())

    @post("/diagnose", summary="Look into a strategy", status_code=200, responses=problem_answers(404, 408, 413, 415, 503))
    async def diagnose_strategy(self, service: NamedDependency[Service], data: Diagnosed) -> Diagnosis:
        """Why it trades as much or as little as it does, and whether its signals depend on later bars or on where the data begins.

        Of long data, the last 20,000 bars of the strategy's timeframe are looked at.
        """
        return await service.diagnose(data.dataset, data.strategy, data.execution)

    @post("/plot", summary="Plot a strategy's values", status_code=200, responses=problem_answers(404, 408, 413, 415, 503))
    async def plot_strategy(self, service: NamedDependency[Service], data: Plotted) -> Plot:
        """Indicators, definitions and conditions bar by bar, null where they are not known yet."""
        return await service.plot(data.dataset, data.strategy, data.expressions, start=data.start, limit=data.limit)

    @get("/{strategy:str}", summary="Read a strategy", responses=not_modified() | problem_answers(404, 503))
    async def get_strategy(
        self, request: Request[Any, Any, Any], service: NamedDependency[Service], strategy: FromPath[str]
    ) -> Response[StoredStrategy]:
        """By its id or name. The entity tag serves `If-Match` on a change."""
        return answer(request, await service.get_strategy(strategy))

    @put("/{strategy:str}", summary="Change a strategy", responses=problem_answers(404, 408, 409, 412, 413, 415, 503))
    async def update_strategy(
        self, service: NamedDependency[Service], strategy: FromPath[str], data: Body, if_match: IfMatch = ""
    ) -> StoredStrategy:
        """Replaces name and strategy and raises the version. Runs keep the strategy that they were accepted with."""
        version = await _version(service, strategy, if_match)
        return await service.update_strategy(strategy, strategy=data.strategy, name=data.name, version=version)

    @delete("/{strategy:str}", summary="Forget a strategy", responses=problem_answers(404, 409, 412, 503))
    async def delete_strategy(self, service: NamedDependency[Service], strategy: FromPath[str], if_match: IfMatch = "") -> None:
        """Its runs stay."""
        await service.delete_strategy(strategy, version=await _version(service, strategy, if_match))


async def _version(service: Service, reference: str, if_match: str) -> int | None:
    if not if_match:
        return None
    there = await service.get_strategy(reference)
    if not matches(if_match, there):
        raise ProblemError(412, "the strategy was changed since you read it; read it again and repeat your change")
    return there.version
