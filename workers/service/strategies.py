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
from workers.service.datasets import find_parts
from workers.service.operation_group import OperationGroup, operation, page_of
from workers.strategies import StoredStrategy

DEFAULT_EXECUTION: Final = bt.Execution()


class StrategyPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of strategies, sorted by name; `total` counts all of them."""

    items: tuple[StoredStrategy, ...]
    offset: int
    total: int


class StrategyLibrary(msgspec.Struct, frozen=True, kw_only=True):
    """Well-known strategies to start from, sorted by name."""

    items: tuple[library.LibraryStrategy, ...]


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

    @operation
    async def create(self, name: str, strategy: bt.Strategy) -> StoredStrategy:
        """Create a strategy.

        Stores it under a name that no other strategy has.

        Raises:
            Conflict: the name is taken.
        """
        return await strategies.create(self._resources.database, name, strategy)

    @operation
    async def get(self, reference: str) -> StoredStrategy:
        """Get a strategy.

        Returns the strategy and its version.
        """
        async with self._resources.database.read() as session:
            return await strategies.get(session, reference)

    @operation
    async def list(self, offset: int = 0, limit: int = 100) -> StrategyPage:
        """List strategies.

        All stored strategies, sorted by name.
        """
        async with self._resources.database.read() as session:
            found = await strategies.list_all(session)
        return page_of(StrategyPage, found, offset, limit)

    @operation
    async def update(
        self, reference: str, strategy: bt.Strategy | None = None, name: str | None = None, version: int | None = None
    ) -> StoredStrategy:
        """Update a strategy.

        Replaces the name and the strategy, and increments the version. Runs keep the strategy they were accepted with.

        Raises:
            Conflict: `version` is given and is not the current one, or the name is taken.
        """
        return await strategies.update(self._resources.database, reference, strategy=strategy, name=name, version=version)

    @operation
    async def delete(self, reference: str, version: int | None = None) -> None:
        """Delete a strategy.

        Its runs are not deleted.

        Raises:
            Conflict: `version` is given and is not the current one.
        """
        await strategies.delete(self._resources.database, reference, version=version)

    @operation
    async def check(self, strategy: bt.Strategy) -> StrategyCheck:
        """Check a strategy.

        Compiles it without storing or running it, and explains it in plain words. Errors name the expression and the position.
        """
        return await self._resources.workroom.run("strategies", tasks.Check(strategy), StrategyCheck)

    @operation
    async def list_library(self) -> StrategyLibrary:
        """List the strategy library.

        Well-known strategies, each with its idea, source, parameter ranges and suggested execution rules, ready to be submitted.
        """
        return StrategyLibrary(items=library.load_all())

    @operation
    async def diagnose(self, dataset: str, strategy: bt.Strategy, execution: bt.Execution = DEFAULT_EXECUTION) -> Diagnosis:
        """Diagnose a strategy.

        Reports how often each condition was true on a dataset, what keeps the strategy from trading, and whether its signals depend on
        future bars (look-ahead) or on where the data begins. Uses the last 20,000 bars of the strategy's timeframe.

        Raises:
            Invalid: the strategy can't run on this dataset.
        """
        task = tasks.Diagnose(*await find_parts(self._resources, dataset), strategy, execution)
        return await self._resources.workroom.run("strategies", task, Diagnosis)

    @operation
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
        task = tasks.MakePlot(*await find_parts(self._resources, dataset), strategy, expressions, start, limit, fill)
        return await self._resources.workroom.run("strategies", task, Plot)
