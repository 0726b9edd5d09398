"""Strategies: stored under a name, checked, diagnosed and plotted."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg, HeaderParameter, PathParameter
from msgspec import Meta

from api.http.bodies import decode_either
from api.http.conditional import conditional, matches, not_modified
from api.http.disconnects import while_connected
from api.http.formats import AnswerFormat, listed
from api.http.idempotency import CreationKey
from api.http.older.strategies import OlderStrategyRequest, is_older
from api.http.openapi import SMA_CROSS, body_of, described
from api.http.problems import ProblemError, problem_responses
from api.http.requests import ApiRequest
from api.http.responses import Cursor, Limit, NamePrefix, created, location_header
from python_core import Execution, Strategy
from python_core.diagnostics import Diagnosis, Plot
from python_core.diagnostics.values import MAX_COLUMNS
from python_core.execution import Fill
from python_core.levels import Expression
from workers import Service, StoredStrategy, StrategyCheck, StrategyLibrary, StrategyPage
from workers.model.clock import LAST_MS
from workers.model.names import Name
from workers.model.selection import Reference

StrategyReference = Annotated[str, PathParameter(description="Id or name of the strategy.")]
IfMatch = Annotated[
    str, HeaderParameter(name="If-Match", description="Entity tag of the version that was read; 412 if the strategy has changed since.")
]


class StrategyRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A strategy and the name to store it under."""

    name: Annotated[Name, Meta(description="Unique name of the strategy.", examples=["sma-cross"])]
    strategy: Annotated[Strategy, Meta(description="The strategy.")]


class DiagnosisRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A strategy to diagnose and the dataset to run it on."""

    dataset: Annotated[Reference, Meta(description="Id or name of a dataset.", examples=["btcusdt-1h"])]
    strategy: Annotated[Strategy, Meta(description="The strategy.")]
    execution: Annotated[Execution, Meta(description="Execution rules; those left out have their defaults.")] = Execution()


class PlotRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Expressions of a strategy to evaluate on every bar of a range."""

    dataset: Annotated[Reference, Meta(description="Id or name of a dataset.", examples=["btcusdt-1h"])]
    strategy: Annotated[Strategy, Meta(description="The strategy.")]
    expressions: Annotated[
        Annotated[tuple[Expression, ...], Meta(examples=[["sma(close, fast)"]], extra_json_schema={"maxItems": MAX_COLUMNS})] | None,
        Meta(
            description="Expressions, at most 50, that may use the strategy's names; default: its conditions, definitions and indicators."
        ),
    ] = None
    start: Annotated[
        Annotated[int, Meta(ge=-LAST_MS, le=LAST_MS)] | None,
        Meta(description="Open time of the first bar, UTC epoch milliseconds; default: the last `limit` bars."),
    ] = None
    limit: Annotated[int, Meta(ge=1, le=5_000, description="Maximum number of bars.")] = 500
    fill: Annotated[
        Fill,
        Meta(
            description="As in an execution: with `close`, a bar sees a bar of a higher timeframe only if that ends no later than itself."
        ),
    ] = "next_open"


STRATEGY = {"name": "sma-cross", "strategy": SMA_CROSS}
DiagnosisBody = Annotated[DiagnosisRequest, BodyKwarg(examples=[Example(value={"dataset": "btcusdt-1h", "strategy": SMA_CROSS})])]
PlotBody = Annotated[
    PlotRequest, BodyKwarg(examples=[Example(value={"dataset": "btcusdt-1h", "strategy": SMA_CROSS, "expressions": ["sma(close, fast)"]})])
]
CheckBody = Annotated[Strategy, BodyKwarg(examples=[Example(value=SMA_CROSS)])]
StrategyBody = Annotated[StrategyRequest, BodyKwarg(examples=[Example(value=STRATEGY)])]


class Strategies(Controller):
    path = "/strategies"
    tags = ("strategies",)

    @post(
        "/",
        **described("strategies.create", "Also takes a type and its settings, in the words of older clients."),
        operation_class=body_of(StrategyRequest, OlderStrategyRequest, examples=[STRATEGY]),
        response_headers=[location_header()],
        responses=problem_responses(408, 409, 413, 415, 503),
    )
    async def create_strategy(
        self, request: ApiRequest, service: NamedDependency[Service], idempotency_key: CreationKey = ""
    ) -> Response[StoredStrategy]:
        body = decode_either(await request.json_text(), StrategyRequest, OlderStrategyRequest, is_older)
        strategy = body.strategy if isinstance(body, StrategyRequest) else body.config.to_strategy()
        stored = await service.strategies.create(body.name, strategy, idempotency_key)
        return created(f"/api/v1/strategies/{stored.id}", stored)

    @get("/", **described("strategies.list"), responses=not_modified() | problem_responses(406, 503))
    async def list_strategies(
        self,
        request: Request[Any, Any, Any],
        service: NamedDependency[Service],
        answer_format: NamedDependency[AnswerFormat],
        name_prefix: NamePrefix = "",
        limit: Limit = 100,
        cursor: Cursor = "",
    ) -> Response[StrategyPage]:
        return await listed(request, answer_format, await service.strategies.list(name_prefix or None, limit=limit, cursor=cursor or None))

    @get("/library", **described("strategies.list_library"), responses=not_modified() | problem_responses())
    async def list_strategy_library(self, request: Request[Any, Any, Any], service: NamedDependency[Service]) -> Response[StrategyLibrary]:
        return conditional(request, await service.strategies.list_library())

    @post("/check", **described("strategies.check"), status_code=200, responses=problem_responses(408, 413, 415, 429, 503))
    async def check_strategy(self, request: Request[Any, Any, Any], service: NamedDependency[Service], data: CheckBody) -> StrategyCheck:
        return await while_connected(request, service.strategies.check(data))

    @post("/diagnose", **described("strategies.diagnose"), status_code=200, responses=problem_responses(404, 408, 413, 415, 429, 503))
    async def diagnose_strategy(self, request: Request[Any, Any, Any], service: NamedDependency[Service], data: DiagnosisBody) -> Diagnosis:
        return await while_connected(request, service.strategies.diagnose(data.dataset, data.strategy, data.execution))

    @post("/plot", **described("strategies.plot"), status_code=200, responses=problem_responses(404, 408, 413, 415, 429, 503))
    async def plot_strategy(self, request: Request[Any, Any, Any], service: NamedDependency[Service], data: PlotBody) -> Plot:
        plot = service.strategies.plot(data.dataset, data.strategy, data.expressions, start=data.start, limit=data.limit, fill=data.fill)
        return await while_connected(request, plot)

    @get(
        "/{strategy:str}",
        **described(
            "strategies.get",
            "Send the entity tag as `If-Match` with an update, so that it doesn't overwrite a change made in the meantime.",
        ),
        responses=not_modified() | problem_responses(404, 503),
    )
    async def get_strategy(
        self, request: Request[Any, Any, Any], service: NamedDependency[Service], strategy: StrategyReference
    ) -> Response[StoredStrategy]:
        return conditional(request, await service.strategies.get(strategy))

    @put(
        "/{strategy:str}",
        **described("strategies.update"),
        responses=problem_responses(404, 408, 409, 412, 413, 415, 503),
    )
    async def update_strategy(
        self, service: NamedDependency[Service], strategy: StrategyReference, data: StrategyBody, if_match: IfMatch = ""
    ) -> StoredStrategy:
        version = await _matching_version(service, strategy, if_match)
        return await service.strategies.update(strategy, strategy=data.strategy, name=data.name, version=version)

    @delete(
        "/{strategy:str}",
        **described("strategies.delete"),
        responses=problem_responses(404, 409, 412, 503),
    )
    async def delete_strategy(self, service: NamedDependency[Service], strategy: StrategyReference, if_match: IfMatch = "") -> None:
        await service.strategies.delete(strategy, version=await _matching_version(service, strategy, if_match))


async def _matching_version(service: Service, reference: str, if_match: str) -> int | None:
    """The version that an update must find, or None without `If-Match`."""
    if not if_match:
        return None
    stored = await service.strategies.get(reference)
    if not matches(if_match, stored):
        raise ProblemError(412, "the strategy has changed since it was read; read it again and repeat the change")
    return stored.version
