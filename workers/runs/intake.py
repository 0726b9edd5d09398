"""The way in: requests become runs, many in one transaction."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, NamedTuple, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

import python_core as bt
from python_core.engine.inputs import Inputs
from workers.accounts import quotas
from workers.accounts.quotas import Quotas, Use
from workers.cache import Recent
from workers.data import resolve
from workers.data.bars_cache import BarsCache
from workers.data.resolve import ResolvedDataset
from workers.db import idempotency, revision
from workers.db.batches import Batches
from workers.db.database import Database
from workers.db.idempotency import Claim
from workers.db.revision import Revisions
from workers.db.tables import HAS_SUCCEEDED, RunRow
from workers.errors import Conflict, WorkersError
from workers.model.callers import Caller
from workers.model.clock import now_ms
from workers.model.datasets import Dataset
from workers.model.labels import NO_LABELS, RunLabels
from workers.model.names import created_at, new_id
from workers.model.runs import Backtest, BacktestRequest, Run, RunOptions, encode
from workers.model.states import RunState
from workers.queue.queue import QueuedJob
from workers.runs import coalesce, store
from workers.runs.lookups import UNKNOWN, Lookups
from workers.runs.results import Results
from workers.runs.runs_revision import find_revisions
from workers.runs.store import KnownResult
from workers.strategies import StoredStrategy

OPERATION: Final = "backtest"
DEFAULT_OPTIONS: Final = RunOptions()
# Attempts at a request whose dataset or strategy changes between its preparation and its transaction.
MAX_TRIES: Final = 20
# Requests with a finished run that a process remembers.
MAX_REMEMBERED: Final = 10_000
# Finished runs that a request is compared with.
MAX_COMPARED: Final = 100
# Requests of a batch that are decoded, or prepared, in one go.
YIELD_EVERY: Final = 16
# Requests of a batch with a range that are prepared at the same time.
RANGES_AT_ONCE: Final = 16


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


class Rerun(NamedTuple):
    """A request to repeat a run: its text, by which its key is known, and the stored strategy of that run."""

    given: str
    strategy_id: str | None = None
    strategy_version: int | None = None


class Stale(NamedTuple):
    """Not accepted: the catalog has changed."""

    revision: int


class Unchecked(NamedTuple):
    """Not accepted: there is a result, and whether its files are still there is not known."""

    known: KnownResult


class Earlier(NamedTuple):
    """An earlier run that this request stands for: that of its key, or a finished one of an equal request of the same owner.

    `runs_revision` is the revision of runs in which a finished one was found.
    """

    run_id: str
    runs_revision: int = 0
    by_key: bool = False


class Accepted(NamedTuple):
    """A new run."""

    row: dict[str, Any]


Outcome = Accepted | Earlier | Stale | Unchecked


class Intake:
    """Accepts backtests. The requests that wait while a transaction runs are accepted together in the next."""

    def __init__(self, database: Database, results: Results, bars: BarsCache, lookups: Lookups, limits: Quotas = quotas.UNLIMITED) -> None:
        self._database = database
        self._results = results
        self._bars = bars
        self._lookups = lookups
        self._accept = Batches[Submission, Outcome](database, partial(accept, limits=limits))
        self._find_revisions = Batches[None, Revisions](database, find_revisions, reading=True)
        # By caller and request, the finished run that it stands for, and the revisions in which it does.
        self._finished = Recent[tuple[Any, ...], tuple[Revisions, str]](MAX_REMEMBERED)

    async def find_earlier(self, caller: Caller, options: RunOptions, given: str) -> str | None:
        """The id of the run that a request with this text has made under its key, if it has one.

        Raises:
            Conflict: the key was used for another request.
        """
        if not options.key:
            return None
        async with self._database.read() as session:
            return await idempotency.find_subject(session, caller.owner, options.key, OPERATION, options.keyed(given))

    async def submit(
        self, caller: Caller, request: BacktestRequest, options: RunOptions = DEFAULT_OPTIONS, *, rerun: Rerun | None = None
    ) -> Run | str:
        """Accept a backtest, run and job in one transaction: returns the new run, without its result, or the id of an earlier one.

        Raises:
            NotFound: unknown dataset or strategy.
            Invalid: strategy and execution don't fit together, or there are no bars in the range.
            Conflict: the idempotency key was used for another request, several datasets match, or the dataset or strategy has another owner.
            TooManyRequests: the owner has used up a quota.
        """
        backtest, labels = request.backtest, request.labels
        # Without labels, it is the text that keys were stored with before there were any.
        given = encode(backtest) + (encode(labels) if labels != NO_LABELS else "")
        keyed = given if rerun is None else rerun.given
        # A repeated request needs no dataset and no strategy, which may be gone.
        if (known_id := await self.find_earlier(caller, options, keyed)) is not None:
            return known_id
        strategy_of = None if rerun is None else (rerun.strategy_id, rerun.strategy_version)
        finished_key = caller.owner, caller.sees_all, given, strategy_of
        if (
            not options.key
            and (finished := self._finished.get(finished_key)) is not None
            and finished[0] == await self._find_revisions(None)
        ):
            return finished[1]
        checked, complete = "", False
        for _ in range(MAX_TRIES):
            submission = await prepare(self._database, self._bars, self._lookups, caller, backtest, options, labels)
            submission = submission._replace(given=keyed, checked=checked, complete=complete)
            if rerun is not None:
                submission.row.update(strategy_id=rerun.strategy_id, strategy_version=rerun.strategy_version)
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
                if outcome.by_key:
                    idempotency.note_replay()
                # A result with files has to be checked each time: they may be lost.
                if not options.key and not checked:
                    self._finished[finished_key] = Revisions(submission.revision, outcome.runs_revision), outcome.run_id
                return outcome.run_id
            elif isinstance(outcome, Accepted):
                return store.new_run(outcome.row, submission.backtest)
        raise Conflict("datasets or strategies changed during every attempt to accept this run", hint="try again", code="busy")

    async def submit_all(self, caller: Caller, requests: Sequence[BacktestRequest], options: RunOptions) -> list[Run | str | WorkersError]:
        """Accept each of these backtests, or give the error that `submit` raises for it; a key is numbered through."""
        # New ranges are work with a queue of its own, which one batch must not fill.
        ranges = asyncio.Semaphore(RANGES_AT_ONCE)

        async def submit(request: BacktestRequest, its_options: RunOptions) -> Run | str:
            if not request.is_range:
                return await self.submit(caller, request, its_options)
            async with ranges:
                return await self.submit(caller, request, its_options)

        tasks = []
        for i, request in enumerate(requests):
            its_options = msgspec.structs.replace(options, key=f"{options.key} {i}") if options.key else options
            tasks.append(asyncio.create_task(submit(request, its_options)))
            if i % YIELD_EVERY == 0:
                await asyncio.sleep(0)  # others want their turn, too
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, WorkersError):
                raise outcome
        return cast(list[Run | str | WorkersError], outcomes)


def jobs_of(outcomes: Sequence[Run | str | WorkersError]) -> list[QueuedJob]:
    """The jobs of the new runs among these, to be sent to the queue."""
    new = [outcome for outcome in outcomes if isinstance(outcome, Run) and _has_job(outcome)]
    return [QueuedJob(OPERATION, run.id, 1, max(run.due_at - run.created_at, 0), run.owner, run.priority) for run in new]


def without_jobs(outcomes: Sequence[Run | str | WorkersError]) -> dict[str, RunState]:
    """The states of the new runs among these that have no job: they follow an equal run, or have its result."""
    return {outcome.id: outcome.state for outcome in outcomes if isinstance(outcome, Run) and not _has_job(outcome)}


def _has_job(run: Run) -> bool:
    return run.leader_id is None and run.state == RunState.QUEUED


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


def accept(connection: sa.Connection, submissions: Sequence[Submission], limits: Quotas = quotas.UNLIMITED) -> list[Outcome | Exception]:
    """Store the runs of these requests with their jobs; those with a result succeed at once, those equal to an unfinished run follow it."""
    results, current = store.find_known_and_revisions(connection, [each.row["fingerprint"] for each in submissions])
    outcomes: list[Outcome | Exception] = [
        Accepted(each.row) if each.revision == current.catalog else Stale(current.catalog) for each in submissions
    ]
    for i, each in enumerate(submissions):
        if isinstance(outcomes[i], Accepted) and (known := results.get(each.row["fingerprint"])) is not None:
            outcomes[i] = _reuse(connection, each, known, current.runs)
    _claim_keys(connection, submissions, outcomes)
    if new := _new_rows(outcomes):
        coalesce.join(connection, new)
        _consume_quotas(connection, submissions, outcomes, limits)
    if new := _new_rows(outcomes):
        store.insert_runs(connection, new)
    return outcomes


def _new_rows(outcomes: Sequence[Outcome | Exception]) -> list[dict[str, Any]]:
    return [outcome.row for outcome in outcomes if isinstance(outcome, Accepted)]


def accept_one(connection: sa.Connection, submission: Submission, limits: Quotas) -> None:
    """Store a run whatever has changed since it was prepared; if its result has files, a worker checks whether they are there.

    Raises:
        TooManyRequests: the owner has used up a quota.
    """
    current = connection.scalars(revision.CURRENT).one()
    (outcome,) = accept(connection, [submission._replace(revision=current, checked=submission.row["fingerprint"])], limits)
    if isinstance(outcome, Exception):
        raise outcome
    assert isinstance(outcome, Accepted), outcome


def _reuse(connection: sa.Connection, submission: Submission, known: KnownResult, runs_revision: int) -> Outcome:
    row = submission.row
    if submission.backtest.engine not in ("auto", known.engine):
        return Accepted(row)
    if known.trades_hash or known.equity_hash:
        if submission.checked != row["fingerprint"]:
            return Unchecked(known)
        if not submission.complete:
            return Accepted(row)
    same = ("fingerprint", "owner", "request", "strategy_id", "strategy_version", "name", "tags", "notes")
    if (earlier := connection.scalar(_FIND_FINISHED, {f"its_{name}": row[name] for name in same})) is not None:
        return Earlier(earlier, runs_revision)
    row.update(state=RunState.SUCCEEDED, finished_at=now_ms(), cached=True, engine=known.engine)
    return Accepted(row)


def _claim_keys(connection: sa.Connection, submissions: Sequence[Submission], outcomes: list[Outcome | Exception]) -> None:
    """Record the keys of these requests; those whose key was used before stand for the run of that time."""
    claims = {}
    for i, (each, outcome) in enumerate(zip(submissions, outcomes, strict=True)):
        if each.options.key and isinstance(outcome, Accepted | Earlier):
            claims[i] = _claim(each, outcome.run_id if isinstance(outcome, Earlier) else outcome.row["id"])
    if not claims:
        return
    for (i, claim), first in zip(claims.items(), idempotency.record_all(connection, list(claims.values())), strict=True):
        if isinstance(first, Conflict):
            outcomes[i] = first
        elif first != claim.subject_id:
            outcomes[i] = Earlier(first, by_key=True)


def _claim(submission: Submission, run_id: str) -> Claim:
    options = submission.options
    return Claim(submission.caller.owner, options.key, OPERATION, options.keyed(submission.given), run_id)


def _consume_quotas(
    connection: sa.Connection, submissions: Sequence[Submission], outcomes: list[Outcome | Exception], limits: Quotas
) -> None:
    """Refuse the runs that exceed a quota of their owner, and with them those that follow them or stand for them.

    Only runs that will compute count, so repeated requests, equal runs and stored results must have been found before.
    """
    computing = [i for i, each in enumerate(outcomes) if isinstance(each, Accepted) and _computes(each.row)]
    uses = [Use(submissions[i].caller.owner, submissions[i].bars) for i in computing]
    refusals = zip(computing, quotas.consume(connection, OPERATION, limits, uses), strict=True)
    refused = {submissions[i].row["id"]: refusal for i, refusal in refusals if refusal is not None}
    if not refused:
        return
    refused |= {row["id"]: refused[row["leader_id"]] for row in _new_rows(outcomes) if row["leader_id"] in refused}
    unused = []
    for i, outcome in enumerate(outcomes):
        if isinstance(outcome, Accepted) and outcome.row["id"] in refused:
            outcomes[i] = refused[outcome.row["id"]]
            if submissions[i].options.key:
                unused.append(_claim(submissions[i], outcome.row["id"]))
        elif isinstance(outcome, Earlier) and outcome.run_id in refused:
            outcomes[i] = refused[outcome.run_id]
    idempotency.release_all(connection, unused)


def _computes(row: dict[str, Any]) -> bool:
    return bool(row["state"] == RunState.QUEUED and row["leader_id"] is None)


# Runs with one result differ in labels, or in how they name their bars and strategy. Only the newest of each name are compared: beyond them an
# equal one may be missed, and the request becomes a run of its own, with the same result.
_NEWEST: Final = (
    sa.select(RunRow.id, RunRow.request, RunRow.strategy_id, RunRow.strategy_version, RunRow.tags, RunRow.notes)
    .where(
        RunRow.fingerprint == sa.bindparam("its_fingerprint"),
        RunRow.owner == sa.bindparam("its_owner"),
        RunRow.name == sa.bindparam("its_name"),
        HAS_SUCCEEDED,
    )
    .order_by(RunRow.id.desc())
    .limit(MAX_COMPARED)
    .subquery()
)
_FIND_FINISHED: Final = sa.select(sa.func.max(_NEWEST.c.id)).where(
    _NEWEST.c.request == sa.bindparam("its_request"),
    _NEWEST.c.strategy_id.is_not_distinct_from(sa.bindparam("its_strategy_id", type_=sa.Text())),
    _NEWEST.c.strategy_version.is_not_distinct_from(sa.bindparam("its_strategy_version", type_=sa.BigInteger())),
    _NEWEST.c.tags == sa.bindparam("its_tags"),
    _NEWEST.c.notes == sa.bindparam("its_notes"),
)
