"""A request as a run, not stored yet."""

from __future__ import annotations

import hashlib
from typing import Any, Final, NamedTuple, cast

import msgspec

import python_core as bt
from python_core.engine.inputs import Inputs
from workers.data import resolve
from workers.data.bars_cache import BarsCache
from workers.data.resolve import ResolvedDataset
from workers.db.database import Database
from workers.errors import Conflict
from workers.model.callers import Caller
from workers.model.datasets import Dataset
from workers.model.labels import NO_LABELS, RunLabels
from workers.model.names import created_at, new_id
from workers.model.runs import Backtest, RunOptions, encode
from workers.model.states import RunState
from workers.runs.lookups import Lookups
from workers.strategies import StoredStrategy

OPERATION: Final = "backtest"


class Submission(NamedTuple):
    """A caller's request, the run that it becomes, and the revision of the catalog in which its dataset and strategy were found.

    `row` has the columns of the run. `backtest` is what determines its result, with its strategy and its version of the dataset; `given` is the
    request as the client sent it, which its key stands for. `bars` is about the number that it computes. `checked` is the result whose files were
    found to be `complete` or not.
    """

    caller: Caller
    options: RunOptions
    backtest: Backtest
    row: dict[str, Any]
    bars: int
    revision: int
    given: str = ""
    checked: str = ""
    complete: bool = False


async def prepare(
    database: Database,
    bars: BarsCache,
    lookups: Lookups,
    caller: Caller,
    request: Backtest,
    options: RunOptions,
    labels: RunLabels = NO_LABELS,
    *,
    run_id: str = "",
) -> Submission:
    """A request as a run, not stored yet, with this id or a new one.

    Raises:
        NotFound: unknown dataset or strategy.
        Conflict: several datasets match, or one of them belongs to another owner.
        Invalid: strategy and execution don't fit together, the dataset is of inverse contracts, or there are no bars in the range.
    """
    dataset = await lookups.dataset(caller, request)
    _check_owner(caller, dataset, "dataset")
    # If the strategy is found in a later revision, `accept` refuses this one.
    found_in = lookups.revision
    stored = None if isinstance(request.strategy, bt.Strategy) else await lookups.strategy(caller, request.strategy)
    if stored is not None:
        _check_owner(caller, stored, "strategy")
    strategy = cast(bt.Strategy, request.strategy) if stored is None else stored.strategy
    resolved = await resolve.resolve(database, bars, dataset, request, strategy, request.execution)
    pinned = msgspec.structs.replace(request, **resolve.pinned_to(dataset), strategy=strategy)
    fingerprint = fingerprint_of(resolved, strategy, request.execution)
    run_id = run_id or new_id()
    now = created_at(run_id)  # lists are in the order of ids
    row = {
        "id": run_id,
        "kind": OPERATION,
        "name": labels.name,
        "tags": encode(labels.tags),
        "notes": labels.notes,
        "owner": caller.owner,
        "priority": options.priority,
        "state": RunState.QUEUED,
        "request": encode(pinned),
        "dataset_id": dataset.id,
        "dataset_version": dataset.version,
        "strategy_id": None if stored is None else stored.id,
        "strategy_version": None if stored is None else stored.version,
        "fingerprint": fingerprint,
        # Equal runs of other owners have leaders of their own, so that no owner learns what others run.
        "coalesce_key": hashlib.sha256(f"{caller.owner}\0{fingerprint}\0{request.engine}".encode()).hexdigest(),
        "leader_id": None,
        "has_followers": False,
        "attempt": 0,
        "job": 1,
        "failures": 0,
        "due_at": max(now, options.run_at or now),
        "cached": False,
        "cancel_requested": False,
        "worker": None,
        "engine": None,
        "created_at": now,
        "updated_at": now,
        "started_at": None,
        "finished_at": None,
        "stages": None,
        "output": None,
        "error": None,
    }
    return Submission(caller, options, pinned, row, resolve.count_bars(dataset, request), found_in)


def _check_owner(caller: Caller, used: Dataset | StoredStrategy, where: str) -> None:
    """Only those who see all can name what another owner has. A run of theirs on it would keep its owner, who doesn't see the run, from deleting it.

    Raises:
        Conflict: it belongs to another owner.
    """
    if used.owner not in (caller.owner, ""):
        hint = f"act as that owner, over HTTP with `Barstorm-Owner: {used.owner}`"
        raise Conflict(f"{where} {used.name!r} belongs to the owner {used.owner!r}", where=where, hint=hint, code="other_owner")


def fingerprint_of(resolved: ResolvedDataset, strategy: bt.Strategy, execution: bt.Execution) -> str:
    """The fingerprint that the kernel will give this run, computed without loading the bars."""
    return Inputs(cast(bt.Bars, resolved), strategy, execution, resolved.first).fingerprint  # it reads only the fingerprint of bars
