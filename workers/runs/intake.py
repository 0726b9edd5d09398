"""The way in: requests become runs, many in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, NamedTuple, cast

import msgspec
from sqlalchemy.exc import IntegrityError

from workers.accounts import quotas
from workers.accounts.quotas import Quotas
from workers.cache import Recent
from workers.data.bars_cache import BarsCache
from workers.db import idempotency
from workers.db.batches import Batches
from workers.db.database import Database
from workers.db.revision import Revisions
from workers.errors import Conflict, WorkersError
from workers.model.callers import Caller
from workers.model.labels import NO_LABELS
from workers.model.runs import BacktestRequest, Run, RunOptions, encode
from workers.model.states import RunState
from workers.queue.queue import QueuedJob
from workers.runs import store
from workers.runs.acceptance import Accepted, Earlier, Outcome, Stale, Unchecked, accept
from workers.runs.lookups import UNKNOWN, Lookups
from workers.runs.results import Results
from workers.runs.runs_revision import find_revisions
from workers.runs.submission import OPERATION, Submission, prepare

DEFAULT_OPTIONS: Final = RunOptions()
# Attempts at a request whose dataset or strategy changes between its preparation and its transaction.
MAX_TRIES: Final = 20
# Requests with a finished run that a process remembers.
MAX_REMEMBERED: Final = 10_000
# Requests of a batch that are decoded, or prepared, in one go.
YIELD_EVERY: Final = 16
# Requests of a batch with a range that are prepared at the same time.
RANGES_AT_ONCE: Final = 16


class Rerun(NamedTuple):
    """A request to repeat a run: its text, by which its key is known, and the stored strategy of that run."""

    given: str
    strategy_id: str | None = None
    strategy_version: int | None = None


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
