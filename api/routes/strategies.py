"""Strategies: kept under a name, so that backtests can refer to them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg, FromPath, HeaderParameter
from msgspec import Meta

from api.http.openapi import CROSS, described
from api.http.problems import ProblemError, problem_answers
from api.http.responses import Limit, Offset, answer, created, location_header, matches, not_modified
from python_core import Execution, Strategy
from python_core.diagnostics import Diagnosis, Plot
from workers import Service, StoredStrategy, StrategyCheck, StrategyLibrary, StrategyPage

IfMatch = Annotated[str, HeaderParameter(name="If-Match", description="Entity tag that you read: answers 412 if it was changed since.")]


class StrategyRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A strategy and the name to keep it under."""

    name: Annotated[str, Meta(min_length=1, max_length=120, examples=["sma-cross"])]
    strategy: Strategy


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
        **described("strategies.create", "A name that is taken is a 409."),
        response_headers=[location_header()],
        responses=problem_answers(408, 409, 413, 415, 503),
    )
    async def create_strategy(self, service: NamedDependency[Service], data: Body) -> Response[StoredStrategy]:
        stored = await service.strategies.create(data.name, data.strategy)
        return created(f"/api/v1/strategies/{stored.id}", stored)

    @get("/", **described("strategies.list"), responses=problem_answers(503))
    async def list_strategies(self, service: NamedDependency[Service], offset: Offset = 0, limit: Limit = 100) -> StrategyPage:
        return await service.strategies.list(offset, limit)

    @get("/library", **described("strategies.list_library"), responses=not_modified() | problem_answers())
    async def list_library(self, request: Request[Any, Any, Any], service: NamedDependency[Service]) -> Response[StrategyLibrary]:
        return answer(request, await service.strategies.list_library())

    @post("/check", **described("strategies.check"), status_code=200, responses=problem_answers(408, 413, 415))
    async def check_strategy(self, service: NamedDependency[Service], data: Unnamed) -> StrategyCheck:
        return await service.strategies.check(data)

    @post("/diagnose", **described("strategies.diagnose"), status_code=200, responses=problem_answers(404, 408, 413, 415, 503))
    async def diagnose_strategy(self, service: NamedDependency[Service], data: Diagnosed) -> Diagnosis:
        return await service.strategies.diagnose(data.dataset, data.strategy, data.execution)

    @post("/plot", **described("strategies.plot"), status_code=200, responses=problem_answers(404, 408, 413, 415, 503))
    async def plot_strategy(self, service: NamedDependency[Service], data: Plotted) -> Plot:
        return await service.strategies.plot(data.dataset, data.strategy, data.expressions, start=data.start, limit=data.limit)

    @get(
        "/{strategy:str}",
        **described("strategies.get", "Send the entity tag as `If-Match` to update only what you have read."),
        responses=not_modified() | problem_answers(404, 503),
    )
    async def get_strategy(
        self, request: Request[Any, Any, Any], service: NamedDependency[Service], strategy: FromPath[str]
    ) -> Response[StoredStrategy]:
        return answer(request, await service.strategies.get(strategy))

    @put(
        "/{strategy:str}",
        **described("strategies.update", "With `If-Match`: 412 if the strategy has changed since it was read."),
        responses=problem_answers(404, 408, 409, 412, 413, 415, 503),
    )
    async def update_strategy(
        self, service: NamedDependency[Service], strategy: FromPath[str], data: Body, if_match: IfMatch = ""
    ) -> StoredStrategy:
        version = await _version(service, strategy, if_match)
        return await service.strategies.update(strategy, strategy=data.strategy, name=data.name, version=version)

    @delete(
        "/{strategy:str}",
        **described("strategies.delete", "With `If-Match`: 412 if the strategy has changed since it was read."),
        responses=problem_answers(404, 409, 412, 503),
    )
    async def delete_strategy(self, service: NamedDependency[Service], strategy: FromPath[str], if_match: IfMatch = "") -> None:
        await service.strategies.delete(strategy, version=await _version(service, strategy, if_match))


async def _version(service: Service, reference: str, if_match: str) -> int | None:
    if not if_match:
        return None
    there = await service.strategies.get(reference)
    if not matches(if_match, there):
        raise ProblemError(412, "the strategy was changed since you read it; read it again and repeat your change")
    return there.version
