"""Group commit: calls that arrive while a transaction is under way are carried out together in the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from workers.db.database import Database
from workers.outages import is_deadlock, is_unreachable

T = TypeVar("T")
R = TypeVar("R")

MAX_ITEMS: Final = 500


class Batches(Generic[T, R]):
    """Calls with one item each, carried out by `work` in transactions of many, which write unless `reading`; each returns after the commit.

    `work` returns for each item its result, or the exception to raise for it. If the database refuses a whole transaction, its items are tried
    one by one, so that none fails because of another.
    """

    def __init__(
        self, database: Database, work: Callable[[sa.Connection, Sequence[T]], Sequence[R | Exception]], *, reading: bool = False
    ) -> None:
        self._run_transaction = database.query if reading else database.transact
        self._work = work
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, item: T) -> R:
        """The result of one item. If the caller is cancelled, the item may still be carried out."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_ITEMS], self._waiting[MAX_ITEMS:]
                await self._carry_out(batch)
        finally:
            self._running = None

    async def _carry_out(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        items = [item for item, _ in batch]
        try:
            outcomes: Sequence[R | Exception] = await self._run_transaction(lambda connection: self._work(connection, items))
        except DBAPIError as error:
            if len(batch) > 1 and (is_deadlock(error) or not is_unreachable(error)):
                for each in batch:
                    await self._carry_out([each])
                return
            outcomes = [error] * len(batch)
        except Exception as error:
            outcomes = [error] * len(batch)
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            settle(future, outcome)


def settle(future: asyncio.Future[R], outcome: R | Exception) -> None:
    """Give a caller its result, or the exception to raise, unless the caller was cancelled."""
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
