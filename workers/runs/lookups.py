"""What each process remembers of datasets and stored strategies, so that a run needs no query to find them.

Names are remembered for one revision of the catalog, which the transaction that accepts a run compares with the current one. Versions never
change and are remembered as long as there is room.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, cast

from sqlalchemy.ext.asyncio import AsyncSession

from workers import strategies
from workers.cache import Recent
from workers.data import catalog, resolve
from workers.data.parts import Part
from workers.db import revision
from workers.db.database import Database
from workers.model.callers import OPERATOR, Caller
from workers.model.datasets import Dataset
from workers.model.selection import Selection
from workers.strategies import StoredStrategy

T = TypeVar("T")
# No revision of a catalog.
UNKNOWN: Final = 0
MAX_NAMES: Final = 10_000
MAX_VERSIONS: Final = 1_000


class Lookups:
    """Datasets and strategies by the names that requests give, as of `revision`.

    A query reads the revision first, so what it finds is at least as new.
    """

    def __init__(self, database: Database) -> None:
        self.revision = UNKNOWN
        self._database = database
        self._named = Recent[tuple[Any, ...], Any](MAX_NAMES)
        self._versions = Recent[tuple[str, int], tuple[Dataset, tuple[Part, ...]]](MAX_VERSIONS)

    def renew(self, revision: int) -> None:
        """Forget what was known of another revision."""
        if revision != self.revision:
            self._named.clear()
            self.revision = revision

    async def dataset(self, caller: Caller, selection: Selection) -> Dataset:
        """The dataset that a selection of the caller names.

        Raises:
            NotFound: there is none.
            Conflict: several datasets match the market.
        """
        market = selection.symbol, selection.timeframe, selection.exchange, selection.kind
        key = ("dataset", caller.owner, caller.sees_all, selection.dataset, *market)
        return await self._look_up(key, lambda session: resolve.find(session, caller, selection))

    async def strategy(self, caller: Caller, reference: str) -> StoredStrategy:
        """A stored strategy by id or name.

        Raises:
            NotFound: there is none.
        """
        key = ("strategy", caller.owner, caller.sees_all, reference)
        return await self._look_up(key, lambda session: strategies.get(session, caller, reference))

    async def version(self, dataset_id: str, version: int) -> tuple[Dataset, tuple[Part, ...]]:
        """A version of a dataset and its files.

        Raises:
            NotFound: there is none.
        """
        if (known := self._versions.get((dataset_id, version))) is not None:
            return known
        async with self._database.read() as session:
            dataset = await catalog.get(session, OPERATOR, f"{dataset_id}@{version}")
            found = dataset, tuple(await catalog.list_parts(session, dataset))
        self._versions[dataset_id, version] = found
        return found

    async def _look_up(self, key: tuple[Any, ...], find: Callable[[AsyncSession], Awaitable[T]]) -> T:
        while (known := self._named.get(key)) is None:
            async with self._database.read() as session:
                self.renew(found_in := await revision.current(session))
                found = await find(session)
            if self.revision == found_in:
                self._named[key] = found
                return found
        return cast(T, known)
