"""The transaction that accepts backtests: runs and jobs are stored, keys claimed and quotas used, or none of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from workers.accounts import quotas
from workers.accounts.quotas import Quotas, Use
from workers.db import idempotency, revision
from workers.db.idempotency import Claim
from workers.db.tables import HAS_SUCCEEDED, RunRow
from workers.errors import Conflict
from workers.model.clock import now_ms
from workers.model.states import RunState
from workers.runs import coalesce, store
from workers.runs.store import KnownResult
from workers.runs.submission import OPERATION, Submission

# Finished runs that a request is compared with.
MAX_COMPARED: Final = 100


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
