"""Create a strategy and run it, as one: when the run can't be accepted, the strategy is not there either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Final

import msgspec
import sqlalchemy as sa
from msgspec import Meta
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

import python_core as bt
from python_core.engine.kernel import Engine
from workers import strategies
from workers.data import resolve
from workers.data.bars_cache import BarsCache
from workers.db import idempotency
from workers.db.database import Database
from workers.db.tables import StrategyRow
from workers.errors import WorkersError
from workers.model.clock import now_ms
from workers.model.names import check_name, new_id
from workers.model.runs import BacktestRequest, Run, RunOptions, encode
from workers.model.selection import Selection
from workers.runs import saga, submit
from workers.runs.results import Results
from workers.runs.saga import Data, Step

KIND: Final = "create-and-run"


class CreateAndRunRequest(Selection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A strategy, the name to keep it under, and what to run it on."""

    name: Annotated[str, Meta(min_length=1, max_length=120, examples=["sma-cross"])]
    strategy: bt.Strategy
    execution: bt.Execution = bt.Execution()
    engine: Engine = "auto"


async def create_and_run(database: Database, results: Results, bars: BarsCache, asked: CreateAndRunRequest, options: RunOptions) -> Run:
    """Accept both, or neither.

    Raises:
        NotFound, Invalid: the run can't be accepted.
        Conflict: the name is taken, or the key has come with another request.
    """
    check_name(asked.name)
    text = encode(asked)
    data: Data = {"strategy_id": new_id(), "run_id": new_id(), "asked": asked, "options": options}
    async with database.write() as session:
        run_id = await idempotency.keep(session, options, KIND, text, data["run_id"])
        if run_id == data["run_id"]:
            await saga.begin(session, run_id, KIND, data)
    # Bars of a range are read before, not within the steps' transactions. What is wrong with them, the steps will tell.
    if not asked.whole:
        with suppress(WorkersError):
            await resolve.look_up(database, bars, asked)
    # Known before, it may have been left half done.
    await saga.go_on(database, run_id, steps(database, results, bars))
    return await submit.get(database, results, run_id)


def steps(database: Database, results: Results, bars: BarsCache) -> Sequence[Step]:
    """The strategy, then the run. The saga has the run's id."""

    async def create(session: AsyncSession, data: Data) -> None:
        asked, now = msgspec.convert(data["asked"], CreateAndRunRequest), now_ms()
        try:
            session.add(
                StrategyRow(
                    id=data["strategy_id"], name=asked.name, strategy=encode(asked.strategy), version=1, created_at=now, updated_at=now
                )
            )
            await session.flush()
        except IntegrityError:
            raise strategies.taken(asked.name) from None

    async def forget(session: AsyncSession, data: Data) -> None:
        await session.execute(sa.delete(StrategyRow).where(StrategyRow.id == data["strategy_id"]))

    async def free_key(session: AsyncSession, data: Data) -> None:
        await idempotency.free(session, msgspec.convert(data["options"], RunOptions), KIND, data["run_id"])

    async def nothing(session: AsyncSession, data: Data) -> None:
        pass

    async def run(session: AsyncSession, data: Data) -> None:
        asked, options = msgspec.convert(data["asked"], CreateAndRunRequest), msgspec.convert(data["options"], RunOptions)
        request = BacktestRequest(**asked.selection(), strategy=data["strategy_id"], execution=asked.execution, engine=asked.engine)
        row, found = await submit.prepare(database, results, bars, request, options)
        row.id = data["run_id"]
        await submit.accept(session, results, row, request, found)

    return (Step(nothing, free_key), Step(create, forget), Step(run))


def sagas(database: Database, results: Results, bars: BarsCache) -> Mapping[str, Sequence[Step]]:
    """Every kind of saga there is."""
    return {KIND: steps(database, results, bars)}
