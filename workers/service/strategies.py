"""Strategies: stored under a name, checked, diagnosed and plotted."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final

import msgspec
from msgspec import Meta

import python_core as bt
from python_core import diagnostics
from python_core.diagnostics import Diagnosis, Plot
from python_core.strategy import library
from workers import strategies
from workers.service.datasets import on_bars
from workers.service.part import Part, operation
from workers.strategies import StoredStrategy

DEFAULT_EXECUTION: Final = bt.Execution()


class StrategyPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of strategies, sorted by name; `total` counts all of them."""

    items: tuple[StoredStrategy, ...]
    offset: int
    total: int


class StrategyLibrary(msgspec.Struct, frozen=True, kw_only=True):
    """Well-known strategies to start from, sorted by name."""

    items: tuple[library.Recipe, ...]


class StrategyCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a strategy before it runs."""

    hash: Annotated[str, Meta(description="Strategies with equal hashes give equal results on any bars.")]
    warm_up_bars: Annotated[int, Meta(description="Bars of the strategy's timeframe before every signal is defined.")]
    explanation: Annotated[str, Meta(description="What it does, in plain words.")]
    canonical: Annotated[dict[str, Any], Meta(description="The fields that decide the result, in canonical form.")]


class Strategies(Part):
    name: ClassVar[str] = "strategies"

    @operation
    async def create(self, name: str, strategy: bt.Strategy) -> StoredStrategy:
        """Create a strategy.

        Stores it under a name.

        Raises:
            Conflict: the name is taken.
        """
        return await strategies.create(self._resources.database, name, strategy)

    @operation
    async def get(self, reference: str) -> StoredStrategy:
        """Get a strategy.

        By id or name.
        """
        async with self._resources.database.read() as session:
            return await strategies.find(session, reference)

    @operation
    async def list(self, offset: int = 0, limit: int = 100) -> StrategyPage:
        """List strategies.

        Sorted by name.
        """
        async with self._resources.database.read() as session:
            found = await strategies.every(session)
        return StrategyPage(items=found[offset : offset + limit], offset=offset, total=len(found))

    @operation
    async def update(
        self, reference: str, strategy: bt.Strategy | None = None, name: str | None = None, version: int | None = None
    ) -> StoredStrategy:
        """Update a strategy.

        Replaces name and strategy and raises the version. Runs keep the strategy they were accepted with.

        Raises:
            Conflict: `version` is given and is not the current one, or the name is taken.
        """
        return await strategies.update(self._resources.database, reference, strategy=strategy, name=name, version=version)

    @operation
    async def delete(self, reference: str, version: int | None = None) -> None:
        """Delete a strategy.

        Its runs are kept.

        Raises:
            Conflict: `version` is given and is not the current one.
        """
        await strategies.delete(self._resources.database, reference, version=version)

    @operation
    async def check(self, strategy: bt.Strategy) -> StrategyCheck:
        """Check a strategy.

        Compiles it without storing or running it, and explains it in plain words; errors name the expression and the position.
        """
        return StrategyCheck(
            hash=strategy.hash,
            warm_up_bars=strategy.warm_up_bars,
            explanation=strategy.explain(),
            canonical=strategy.canonical(),
        )

    @operation
    async def list_library(self) -> StrategyLibrary:
        """List the strategy library.

        Well-known strategies, each with its idea, source, parameter ranges and suggested execution rules. They can be submitted as they are.
        """
        return StrategyLibrary(items=library.load_all())

    @operation
    async def diagnose(self, dataset: str, strategy: bt.Strategy, execution: bt.Execution = DEFAULT_EXECUTION) -> Diagnosis:
        """Diagnose a strategy.

        Explains why it trades as much or as little as it does on a dataset, and whether its signals depend on later bars or on where the data
        begins. Only the last 20,000 bars of the strategy's timeframe are used.

        Raises:
            Invalid: the strategy can't run on this dataset.
        """
        return await on_bars(self._resources, dataset, lambda bars: diagnostics.diagnose(bars, strategy, execution))

    @operation
    async def plot(
        self,
        dataset: str,
        strategy: bt.Strategy,
        expressions: tuple[str, ...] | None = None,
        start: int | None = None,
        limit: int = 500,
    ) -> Plot:
        """Plot the values of a strategy.

        Indicators, definitions and conditions bar by bar; null where a value is not defined yet.

        Raises:
            Invalid: an expression doesn't compile.
        """
        return await on_bars(self._resources, dataset, lambda bars: diagnostics.plot(bars, strategy, expressions, start=start, limit=limit))
