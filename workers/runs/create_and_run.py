"""Create a strategy and run it: both or neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Final

import msgspec
import sqlalchemy as sa
from msgspec import UNSET, Meta, UnsetType
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

import python_core as bt
from python_core.engine.compiled import Engine
from workers import strategies
from workers.accounts.quotas import UNLIMITED, Quotas
from workers.data import catalog, resolve
from workers.data.bars_cache import BarsCache
from workers.db import idempotency, revision
from workers.db.database import Database
from workers.db.tables import StrategyRow
from workers.errors import Conflict, Invalid, NotFound
from workers.model.callers import Caller
from workers.model.clock import now_ms
from workers.model.labels import LabelChanges, Notes, RunLabels, RunName, Tags
from workers.model.names import Name, check_name, new_id
from workers.model.runs import Backtest, RunOptions, encode, upgrade_request
from workers.model.selection import Selection
from workers.runs import saga
from workers.runs.acceptance import accept_one
from workers.runs.lookups import Lookups
from workers.runs.saga import Data, Step
from workers.runs.submission import prepare

KIND: Final = "create-and-run"


class CreateAndRunRequest(Selection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A strategy to store, and the bars to run it on."""

    name: Annotated[Name, Meta(description="Unique name of the strategy.", examples=["sma-cross"])]
    strategy: Annotated[bt.Strategy, Meta(description="The strategy.")]
    execution: Annotated[bt.Execution, Meta(description="Execution rules; those left out have their defaults.")] = bt.Execution()
    engine: Annotated[
        Engine, Meta(description="Engine that runs it; `auto` is Rust where it is installed. All give identical results.")
    ] = "auto"
    run_name: RunName | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    notes: Notes | UnsetType = UNSET

    def __post_init__(self) -> None:
        super().__post_init__()
        LabelChanges(name=self.run_name, tags=self.tags, notes=self.notes)  # raises what is wrong with them


async def create_and_run(
    database: Database, bars: BarsCache, limits: Quotas, caller: Caller, request: CreateAndRunRequest, options: RunOptions
) -> str:
    """Create the strategy and accept its run; returns the id of the run.

    Raises:
        NotFound, Invalid: the run can't be accepted.
        Conflict: the name is taken, or the idempotency key was used for another request.
        TooManyRequests: the owner has used up a quota.
        TooManyRequests, LimitExceeded: its range is new, and can't be read now.
    """
    check_name(request.name)
    # The fingerprint of a range needs its bars. They are read here, because the steps hold a transaction open. Errors of the request are left
    # to the steps, which undo the saga; too little room to read them ends it here, before anything is stored.
    if request.is_range:
        with suppress(NotFound, Conflict, Invalid):
            dataset = await Lookups(database).dataset(caller, request)
            await resolve.resolve(database, bars, dataset, request, request.strategy, request.execution)
    data: Data = {"strategy_id": new_id(), "run_id": new_id(), "request": request, "options": options, "caller": caller}
    async with database.write() as session:
        run_id = await idempotency.record(session, caller.owner, options.key, KIND, options.keyed(encode(request)), data["run_id"])
        if run_id == data["run_id"]:
            await saga.start(session, run_id, KIND, data)
    # Also when the key was used before: the saga of the first request may be unfinished.
    await saga.advance(database, run_id, steps(database, bars, limits))
    return run_id


def steps(database: Database, bars: BarsCache, limits: Quotas) -> Sequence[Step]:
    """Record the key, create the strategy, accept the run. The id of the saga is that of the run."""

    async def create_strategy(session: AsyncSession, data: Data) -> None:
        request, now = _request(data), now_ms()
        try:
            session.add(
                StrategyRow(
                    id=data["strategy_id"],
                    owner=_caller(data).owner,
                    name=request.name,
                    strategy=encode(request.strategy),
                    version=1,
                    created_at=now,
                    updated_at=now,
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
        await idempotency.release(session, _caller(data).owner, _options(data).key, KIND, data["run_id"])

    async def accept_run(session: AsyncSession, data: Data) -> None:
        request = _request(data)
        backtest = Backtest(**request.selection(), strategy=data["strategy_id"], execution=request.execution, engine=request.engine)
        labels = RunLabels(name=request.run_name or "", tags=request.tags or (), notes=request.notes or "")
        # Its own look-ups: the strategy was created by this saga, whose steps may be repeated by any process.
        # Without the key, which stands for the whole and is recorded already.
        without_key = msgspec.structs.replace(_options(data), key="")
        lookups, caller = Lookups(database), _caller(data)
        submission = await prepare(database, bars, lookups, caller, backtest, without_key, labels, run_id=data["run_id"])
        try:
            await (await session.connection()).run_sync(accept_one, submission, limits)
        except IntegrityError:  # as in `Intake.submit`, but the saga is undone, so that the client may repeat the whole
            raise catalog.deleted_meanwhile(request.dataset or str(submission.row["dataset_id"])) from None

    return (Step(record_key, release_key), Step(create_strategy, delete_strategy), Step(accept_run))


def _request(data: Data) -> CreateAndRunRequest:
    return msgspec.json.decode(upgrade_request(encode(data["request"])), type=CreateAndRunRequest)


def _options(data: Data) -> RunOptions:
    # Sagas of earlier versions have the owner here.
    given = data["options"]
    return (
        msgspec.convert({name: value for name, value in given.items() if name != "owner"}, RunOptions) if isinstance(given, dict) else given
    )


def _caller(data: Data) -> Caller:
    return msgspec.convert(data["caller"], Caller) if "caller" in data else Caller(owner=data["options"]["owner"])


def sagas(database: Database, bars: BarsCache) -> Mapping[str, Sequence[Step]]:
    """The steps of each kind of saga."""
    # What a process that died had accepted is not refused.
    return {KIND: steps(database, bars, UNLIMITED)}
