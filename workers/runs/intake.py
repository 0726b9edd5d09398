"""The way in: requests become runs, many in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

import python_core as bt
from python_core.engine.inputs import Inputs
from workers.cache import Recent
from workers.data import resolve
from workers.data.bars_cache import BarsCache
from workers.data.resolve import ResolvedDataset
from workers.db import idempotency, revision
from workers.db.batches import Batches
from workers.db.database import Database
from workers.db.idempotency import Claim
from workers.db.tables import HAS_SUCCEEDED, RunRow
from workers.errors import Conflict, WorkersError
from workers.model.clock import now_ms
from workers.model.names import new_id
from workers.model.runs import BacktestRequest, Run, RunOptions, encode
from workers.model.states import RunState
from workers.runs import coalesce, store
from workers.runs.lookups import UNKNOWN, Lookups
from workers.runs.results import Results
from workers.runs.store import KnownResult

OPERATION: Final = "backtest"
DEFAULT_OPTIONS: Final = RunOptions()
# Attempts at a request whose dataset or strategy changes between its preparation and its transaction.
MAX_TRIES: Final = 20
# Requests with a finished run that a process remembers.
MAX_REMEMBERED: Final = 10_000
# Requests of a batch that are decoded, or prepared, in one go.
YIELD_EVERY: Final = 16


class Submission(NamedTuple):
    """A request, the run that it becomes, and the revision of the catalog in which its dataset and strategy were found.

    `row` has the columns of the run. `given` is the request as the client sent it, `request` with its strategy and its version of the dataset.
    `checked` is the result whose files were found to be `complete` or not.
    """

    options: RunOptions
    given: str
    request: BacktestRequest
    row: dict[str, Any]
    revision: int
    checked: str = ""
    complete: bool = False


class Stale(NamedTuple):
    """Not accepted: the catalog has changed."""

    revision: int


class Unchecked(NamedTuple):
    """Not accepted: there is a result, and whether its files are still there is not known."""

    known: KnownResult


class Earlier(NamedTuple):
    """An earlier run that this request stands for: that of its key, or a finished one of an equal request of the same owner."""

    run_id: str


class Accepted(NamedTuple):
    """A new run."""

    row: dict[str, Any]


Outcome = Accepted | Earlier | Stale | Unchecked


class Intake:
    """Accepts backtests. The requests that wait while a transaction runs are accepted together in the next."""

    def __init__(self, database: Database, results: Results, bars: BarsCache, lookups: Lookups) -> None:
        self._database = database
        self._results = results
        self._bars = bars
        self._lookups = lookups
        self._accept = Batches(database, accept)
        self._find_revision = Batches[None, int](database, find_revision, reading=True)
        # By owner and request, the finished run that it stands for, and the revision in which it does.
        self._finished = Recent[tuple[str, str], tuple[int, str]](MAX_REMEMBERED)

    async def submit(self, request: BacktestRequest, options: RunOptions = DEFAULT_OPTIONS) -> Run | str:
        """Accept a backtest, run and job in one transaction: returns the new run, or the id of one that may have a result.

        Raises:
            NotFound: unknown dataset or strategy.
            Invalid: strategy and execution don't fit together, or there are no bars in the range.
            Conflict: the idempotency key was used for another request, or several datasets match.
        """
        given = encode(request)
        if options.key:
            # A repeated request needs no dataset and no strategy, which may be gone.
            async with self._database.read() as session:
                known_id = await idempotency.find_subject(session, options, OPERATION, given)
            if known_id is not None:
                return known_id
        elif (finished := self._finished.get((options.owner, given))) is not None and finished[0] == await self._find_revision(None):
            return finished[1]
        checked, complete = "", False
        for _ in range(MAX_TRIES):
            submission = await prepare(self._database, self._bars, self._lookups, request, options)
            submission = submission._replace(checked=checked, complete=complete)
            try:
                outcome = await self._accept(submission)
            except IntegrityError:  # the dataset was deleted between its look-up and the end of the transaction
                self._lookups.renew(UNKNOWN)
                continue
            if isinstance(outcome, Stale):
                self._lookups.renew(outcome.revision)
            elif isinstance(outcome, Unchecked):
                checked = submission.row["fingerprint"]
                complete = await asyncio.to_thread(self._results.is_complete, outcome.known)
            elif isinstance(outcome, Earlier):
                # A result with files has to be checked each time: they may be lost.
                if not options.key and not checked:
                    self._finished[options.owner, given] = submission.revision, outcome.run_id
                return outcome.run_id
            elif isinstance(outcome, Accepted):
                done = outcome.row["state"] == RunState.SUCCEEDED
                return cast(str, outcome.row["id"]) if done else store.new_run(outcome.row, submission.request)
        raise Conflict("datasets or strategies changed during every attempt to accept this run", hint="try again", code="busy")

    async def submit_all(
        self, requests: Sequence[BacktestRequest], options: RunOptions = DEFAULT_OPTIONS
    ) -> list[Run | str | WorkersError]:
        """Accept each of these backtests, or give the error that `submit` raises for it; a key is numbered through."""
        tasks = []
        for i, request in enumerate(requests):
            its_options = msgspec.structs.replace(options, key=f"{options.key} {i}") if options.key else options
            tasks.append(asyncio.create_task(self.submit(request, its_options)))
            if i % YIELD_EVERY == 0:
                await asyncio.sleep(0)  # others want their turn, too
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, WorkersError):
                raise outcome
        return cast(list[Run | str | WorkersError], outcomes)


async def prepare(database: Database, bars: BarsCache, lookups: Lookups, request: BacktestRequest, options: RunOptions) -> Submission:
    """A request as a run, not stored yet.

    Raises:
        NotFound: unknown dataset or strategy.
        Conflict: several datasets match.
        Invalid: strategy and execution don't fit together, the dataset is of inverse contracts, or there are no bars in the range.
    """
    dataset = await lookups.dataset(request)
    # If the strategy is found in a later revision, `accept` refuses this one.
    found_in = lookups.revision
    stored = None if isinstance(request.strategy, bt.Strategy) else await lookups.strategy(request.strategy)
    strategy = cast(bt.Strategy, request.strategy) if stored is None else stored.strategy
    resolved = await resolve.resolve(database, bars, dataset, request, strategy, request.execution)
    pinned = msgspec.structs.replace(request, **resolve.pinned_to(dataset), strategy=strategy)
    fingerprint = fingerprint_of(resolved, strategy, request.execution)
    now = now_ms()
    row = {
        "id": new_id(),
        "kind": OPERATION,
        "owner": options.owner,
        "priority": options.priority,
        "state": RunState.QUEUED,
        "request": encode(pinned),
        "dataset_id": dataset.id,
        "dataset_version": dataset.version,
        "strategy_id": None if stored is None else stored.id,
        "strategy_version": None if stored is None else stored.version,
        "fingerprint": fingerprint,
        "coalesce_key": f"{fingerprint}:{request.engine}",
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
    return Submission(options, encode(request), pinned, row, found_in)


def fingerprint_of(resolved: ResolvedDataset, strategy: bt.Strategy, execution: bt.Execution) -> str:
    """The fingerprint that the kernel will give this run, computed without loading the bars."""
    return Inputs(cast(bt.Bars, resolved), strategy, execution, resolved.first).fingerprint  # it reads only the fingerprint of bars


def find_revision(connection: sa.Connection, items: Sequence[None]) -> list[int | Exception]:
    """The revision of the catalog, for each who asks."""
    return [connection.scalars(revision.CURRENT).one()] * len(items)


def accept(connection: sa.Connection, submissions: Sequence[Submission]) -> list[Outcome | Exception]:
    """Store the runs of these requests with their jobs; those with a result succeed at once, those equal to an unfinished run follow it."""
    current = connection.scalars(revision.CURRENT).one()
    outcomes: list[Outcome | Exception] = [Accepted(each.row) if each.revision == current else Stale(current) for each in submissions]
    results = store.find_known(connection, [each.row["fingerprint"] for each in submissions])
    for i, each in enumerate(submissions):
        if isinstance(outcomes[i], Accepted) and (known := results.get(each.row["fingerprint"])) is not None:
            outcomes[i] = _reuse(connection, each, known)
    _claim_keys(connection, submissions, outcomes)
    new = [outcome.row for outcome in outcomes if isinstance(outcome, Accepted)]
    if new:
        coalesce.join(connection, new)
        store.insert_runs(connection, new)
    return outcomes


def accept_one(connection: sa.Connection, submission: Submission) -> None:
    """Store a run whatever has changed since it was prepared; if its result has files, a worker checks whether they are there."""
    current = connection.scalars(revision.CURRENT).one()
    (outcome,) = accept(connection, [submission._replace(revision=current, checked=submission.row["fingerprint"])])
    assert isinstance(outcome, Accepted), outcome


def _reuse(connection: sa.Connection, submission: Submission, known: KnownResult) -> Outcome:
    row = submission.row
    if submission.request.engine not in ("auto", known.engine):
        return Accepted(row)
    if known.trades_hash or known.equity_hash:
        if submission.checked != row["fingerprint"]:
            return Unchecked(known)
        if not submission.complete:
            return Accepted(row)
    same = ("fingerprint", "owner", "request", "strategy_id", "strategy_version")
    if (earlier := connection.scalar(_FIND_FINISHED, {f"its_{name}": row[name] for name in same})) is not None:
        return Earlier(earlier)
    row.update(state=RunState.SUCCEEDED, finished_at=now_ms(), cached=True, engine=known.engine)
    return Accepted(row)


def _claim_keys(connection: sa.Connection, submissions: Sequence[Submission], outcomes: list[Outcome | Exception]) -> None:
    """Record the keys of these requests; those whose key was used before stand for the run of that time."""
    claims = {}
    for i, (each, outcome) in enumerate(zip(submissions, outcomes, strict=True)):
        if each.options.key and isinstance(outcome, Accepted | Earlier):
            subject = outcome.run_id if isinstance(outcome, Earlier) else outcome.row["id"]
            claims[i] = Claim(each.options, OPERATION, each.given, subject)
    if not claims:
        return
    for (i, claim), first in zip(claims.items(), idempotency.record_all(connection, list(claims.values())), strict=True):
        if isinstance(first, Conflict):
            outcomes[i] = first
        elif first != claim.subject_id:
            outcomes[i] = Earlier(first)


_FIND_FINISHED: Final = (
    sa.select(RunRow.id)
    .where(
        RunRow.fingerprint == sa.bindparam("its_fingerprint"),
        RunRow.owner == sa.bindparam("its_owner"),
        HAS_SUCCEEDED,
        RunRow.request == sa.bindparam("its_request"),
        RunRow.strategy_id.is_not_distinct_from(sa.bindparam("its_strategy_id", type_=sa.Text())),
        RunRow.strategy_version.is_not_distinct_from(sa.bindparam("its_strategy_version", type_=sa.BigInteger())),
    )
    .order_by(RunRow.created_at, RunRow.id)  # with the id alone, SQLite would choose the index of states, which is in this order
    .limit(1)
)
