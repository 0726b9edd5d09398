"""Create a strategy and run it: both or neither."""

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
from python_core.engine.compiled import Engine
from workers import strategies
from workers.data import resolve
from workers.data.bars_cache import BarsCache
from workers.db import idempotency, revision
from workers.db.database import Database
from workers.db.tables import StrategyRow
from workers.errors import Conflict, Invalid, NotFound
from workers.model.clock import now_ms
from workers.model.names import check_name, new_id
from workers.model.runs import BacktestRequest, RunOptions, encode, upgrade_request
from workers.model.selection import Selection
from workers.runs import intake, saga
from workers.runs.lookups import Lookups
from workers.runs.saga import Data, Step

KIND: Final = "create-and-run"


class CreateAndRunRequest(Selection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A strategy to store, and the bars to run it on."""

    name: Annotated[str, Meta(min_length=1, max_length=120, description="Unique name of the strategy.", examples=["sma-cross"])]
    strategy: bt.Strategy
    execution: bt.Execution = bt.Execution()
    engine: Annotated[
        Engine, Meta(description="Engine that runs it; `auto` is Rust where it is installed. All give identical results.")
    ] = "auto"


async def create_and_run(database: Database, bars: BarsCache, request: CreateAndRunRequest, options: RunOptions) -> str:
    """Create the strategy and accept its run; returns the id of the run.

    Raises:
        NotFound, Invalid: the run can't be accepted.
        Conflict: the name is taken, or the idempotency key was used for another request.
        TooManyRequests, LimitExceeded: its range is new, and can't be read now.
    """
    check_name(request.name)
    # The fingerprint of a range needs its bars. They are read here, because the steps hold a transaction open. Errors of the request are left
    # to the steps, which undo the saga; too little room to read them ends it here, before anything is stored.
    if request.is_range:
        with suppress(NotFound, Conflict, Invalid):
            dataset = await Lookups(database).dataset(request)
            await resolve.resolve(database, bars, dataset, request, request.strategy, request.execution)
    data: Data = {"strategy_id": new_id(), "run_id": new_id(), "request": request, "options": options}
    async with database.write() as session:
        run_id = await idempotency.record(session, options, KIND, encode(request), data["run_id"])
        if run_id == data["run_id"]:
            await saga.start(session, run_id, KIND, data)
    # Also when the key was used before: the saga of the first request may be unfinished.
    await saga.advance(database, run_id, steps(database, bars))
    return run_id


def steps(database: Database, bars: BarsCache) -> Sequence[Step]:
    """Record the key, create the strategy, accept the run. The id of the saga is that of the run."""

    async def create_strategy(session: AsyncSession, data: Data) -> None:
        request, now = _request(data), now_ms()
        try:
            session.add(
                StrategyRow(
                    id=data["strategy_id"], name=request.name, strategy=encode(request.strategy), version=1, created_at=now, updated_at=now
                )
            )
            await session.flush()
            await revision.count_change(session)
        except IntegrityError:
            raise strategies.name_taken(request.name) from None

    async def delete_strategy(session: AsyncSession, data: Data) -> None:
        await session.execute(sa.delete(StrategyRow).where(StrategyRow.id == data["strategy_id"]))
        await revision.count_change(session)

    async def record_key(session: AsyncSession, data: Data) -> None:
        """Nothing to do: the key was recorded in the transaction that started the saga."""

    async def release_key(session: AsyncSession, data: Data) -> None:
        await idempotency.release(session, msgspec.convert(data["options"], RunOptions), KIND, data["run_id"])

    async def accept_run(session: AsyncSession, data: Data) -> None:
        request, options = _request(data), msgspec.convert(data["options"], RunOptions)
        backtest = BacktestRequest(**request.selection(), strategy=data["strategy_id"], execution=request.execution, engine=request.engine)
        # Its own look-ups: the strategy was created by this saga, whose steps may be repeated by any process.
        # Without the key, which stands for the whole and is recorded already.
        without_key = msgspec.structs.replace(options, key="")
        submission = await intake.prepare(database, bars, Lookups(database), backtest, without_key)
        submission.row["id"] = data["run_id"]
        await (await session.connection()).run_sync(intake.accept_one, submission)

    return (Step(record_key, release_key), Step(create_strategy, delete_strategy), Step(accept_run))


def _request(data: Data) -> CreateAndRunRequest:
    return msgspec.json.decode(upgrade_request(encode(data["request"])), type=CreateAndRunRequest)


def sagas(database: Database, bars: BarsCache) -> Mapping[str, Sequence[Step]]:
    """The steps of each kind of saga."""
    return {KIND: steps(database, bars)}
