"""Strategies: stored under a name, checked, diagnosed and plotted."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final

import msgspec
from msgspec import Meta

import python_core as bt
from python_core.diagnostics import Diagnosis, Plot
from python_core.execution import Fill
from python_core.strategy import library
from workers import strategies
from workers.data import tasks
from workers.model.callers import Scope
from workers.service.datasets import find_parts
from workers.service.operation_group import OperationGroup, operation
from workers.strategies import StoredStrategy, StrategyPage

DEFAULT_EXECUTION: Final = bt.Execution()


class StrategyLibrary(msgspec.Struct, frozen=True, kw_only=True):
    """Well-known strategies to start from, sorted by name."""

    items: Annotated[tuple[library.LibraryStrategy, ...], Meta(description="The strategies.")]


class StrategyCheck(msgspec.Struct, frozen=True, kw_only=True):
    """A compiled strategy: its identity, warm-up and explanation."""

    hash: Annotated[str, Meta(description="Strategies with equal hashes give equal results on the same bars.")]
    warm_up_bars: Annotated[int, Meta(description="Number of bars, in the strategy's timeframe, until every signal is defined.")]
    settle_bars: Annotated[
        int, Meta(description="Number of bars until what came before them hardly matters; runs on a range read as many before their start.")
    ]
    explanation: Annotated[str, Meta(description="What the strategy does, in plain words.")]
    canonical: Annotated[dict[str, Any], Meta(description="The fields that determine the result, in canonical form.")]


class Strategies(OperationGroup):
    name: ClassVar[str] = "strategies"

    @operation(Scope.WRITE, audited=True)
    async def create(self, name: str, strategy: bt.Strategy, key: str = "") -> StoredStrategy:
        """Create a strategy.

        Stores it under a name that no other strategy has.

        Raises:
            Conflict: the name is taken, or the idempotency key was used for another request.
        """
        return await strategies.create(self._resources.database, self._caller, name, strategy, key)

    @operation(Scope.READ)
    async def get(self, reference: str) -> StoredStrategy:
        """Get a strategy.

        Returns the strategy and its version.
        """
        async with self._resources.database.read() as session:
            return await strategies.get(session, self._caller, reference)

    @operation(Scope.READ)
    async def list(self, name_prefix: str | None = None, limit: int = 100, cursor: str | None = None) -> StrategyPage:
        """List strategies.

        All stored strategies, or those whose names begin with a prefix, sorted by name.
        """
        async with self._resources.database.read() as session:
            return await strategies.page(session, self._caller, name_prefix=name_prefix, limit=limit, cursor=cursor)

    @operation(Scope.WRITE, audited=True)
    async def update(
        self, reference: str, strategy: bt.Strategy | None = None, name: str | None = None, version: int | None = None
    ) -> StoredStrategy:
        """Update a strategy.

        Replaces the name and the strategy, and increments the version. Runs keep the strategy they were accepted with.

        Raises:
            Conflict: `version` is given and is not the current one, or the name is taken.
        """
        return await strategies.update(self._resources.database, self._caller, reference, strategy=strategy, name=name, version=version)

    @operation(Scope.WRITE, audited=True)
    async def delete(self, reference: str, version: int | None = None) -> None:
        """Delete a strategy.

        Its runs are not deleted.

        Raises:
            Conflict: `version` is given and is not the current one.
        """
        await strategies.delete(self._resources.database, self._caller, reference, version=version)

    @operation(Scope.READ)
    async def check(self, strategy: bt.Strategy) -> StrategyCheck:
        """Check a strategy.

        Compiles it without storing or running it, and explains it in plain words. Errors name the expression and the position.
        """
        return await self._resources.workroom.run("strategies", tasks.Check(strategy), StrategyCheck)

    @operation(Scope.READ)
    async def list_library(self) -> StrategyLibrary:
        """List the strategy library.

        Well-known strategies, each with its idea, source, parameter ranges and suggested execution rules, ready to be submitted.
        """
        return StrategyLibrary(items=library.load_all())

    @operation(Scope.READ)
    async def diagnose(self, dataset: str, strategy: bt.Strategy, execution: bt.Execution = DEFAULT_EXECUTION) -> Diagnosis:
        """Diagnose a strategy.

        Reports how often each condition was true on a dataset, what keeps the strategy from trading, and whether its signals depend on
        future bars (look-ahead) or on where the data begins. Uses the last 20,000 bars of the strategy's timeframe.

        Raises:
            Invalid: the strategy can't run on this dataset.
        """
        task = tasks.Diagnose(*await find_parts(self._resources, self._caller, dataset), strategy, execution)
        return await self._resources.workroom.run("strategies", task, Diagnosis)

    @operation(Scope.READ)
    async def plot(
        self,
        dataset: str,
        strategy: bt.Strategy,
        expressions: tuple[str, ...] | None = None,
        start: int | None = None,
        limit: int = 500,
        fill: Fill = "next_open",
    ) -> Plot:
        """Plot a strategy.

        Returns the values of its indicators, definitions and conditions bar by bar, for a chart; null where a value is not yet defined.

        Raises:
            Invalid: an expression doesn't compile.
        """
        task = tasks.MakePlot(*await find_parts(self._resources, self._caller, dataset), strategy, expressions, start, limit, fill)
        return await self._resources.workroom.run("strategies", task, Plot)
