"""Coalescing: of equal unfinished runs, only one is computed, the leader. The others follow it from state to state.

A leader and its followers change state in one transaction, so no follower is left behind, whichever process dies and when.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, Protocol

import sqlalchemy as sa

from workers.db import locks
from workers.db.in_list import in_list
from workers.db.tables import IS_OPEN, OutboxRow, RunRow
from workers.model.clock import now_ms
from workers.model.states import DONE, OPEN, Priority, RunState, predecessors

_ORDER: Final = {priority: i for i, priority in enumerate(Priority)}
_LEADER_COLUMNS: Final = ("id", "coalesce_key", "state", "priority", "due_at", "created_at", "started_at")
_LEADERS: Final = (
    sa.select(*(getattr(RunRow, name) for name in _LEADER_COLUMNS))
    .where(in_list(RunRow.coalesce_key, "keys"), IS_OPEN, RunRow.leader_id.is_(None), ~RunRow.cancel_requested)
    .order_by(RunRow.id)
    .with_for_update()
)
# SQLite would choose the index of `leader_id` or of states, each of which leads to all open runs.
_SQLITE_LEADERS: Final = sa.text(
    f"SELECT {', '.join(_LEADER_COLUMNS)} FROM runs INDEXED BY runs_by_coalesce_key "
    "WHERE coalesce_key IN (SELECT value FROM json_each(:keys)) "
    f"AND {IS_OPEN.text} AND leader_id IS NULL AND NOT cancel_requested ORDER BY id"
)
_SET_HAS_FOLLOWERS: Final = sa.update(RunRow).where(in_list(RunRow.id, "ids")).values(has_followers=True)
_FOLLOWED_COLUMNS: Final = ("state", "started_at", "due_at", "updated_at", "finished_at", "error", "fingerprint", "engine")


class Leader(Protocol):
    """The columns of a run that decide what follows it, as a row or as an object."""

    @property
    def id(self) -> Any: ...
    @property
    def state(self) -> Any: ...
    @property
    def has_followers(self) -> Any: ...


def join(connection: sa.Connection, runs: Sequence[dict[str, Any]]) -> None:
    """Make each of these new runs follow an equal unfinished run that is at least as urgent and due no later, if there is one.

    Equal runs among the new ones follow the first of them.
    """
    joining = [run for run in runs if run["coalesce_key"] is not None and run["state"] == RunState.QUEUED]
    if not joining:
        return
    keys = sorted({run["coalesce_key"] for run in joining})
    # Until the transaction ends, no equal run can be accepted and (see `with_for_update`) the leaders can't change their state.
    locks.lock_all(connection, keys)
    leaders: dict[str, list[dict[str, Any]]] = {key: [] for key in keys}
    is_sqlite = connection.dialect.name == "sqlite"
    found = connection.execute(_SQLITE_LEADERS, {"keys": json.dumps(keys)}) if is_sqlite else connection.execute(_LEADERS, {"keys": keys})
    for row in found.mappings():
        leaders[row["coalesce_key"]].append(dict(row))
    followed = set()
    for run in joining:
        leader = next((leader for leader in leaders[run["coalesce_key"]] if _may_lead(leader, run)), None)
        if leader is None:
            leaders[run["coalesce_key"]].append(run)
        else:
            followed.add(leader["id"])
            leader["has_followers"] = True
            run["leader_id"], run["state"], run["started_at"] = leader["id"], leader["state"], leader["started_at"]
    if stored := followed - {run["id"] for run in joining}:
        connection.execute(_SET_HAS_FOLLOWERS, {"ids": sorted(stored)})


def _may_lead(leader: dict[str, Any], run: dict[str, Any]) -> bool:
    urgent_enough = _ORDER[Priority(leader["priority"])] <= _ORDER[Priority(run["priority"])]
    # A run that was due when it was accepted counts as due, even if the clock of the process that accepted it was ahead of ours.
    return urgent_enough and (leader["due_at"] <= max(run["due_at"], now_ms()) or leader["due_at"] <= leader["created_at"])


def move_followers(connection: sa.Connection, leader: Leader) -> None:
    """Give the followers the state of their leader. If it was cancelled, the most urgent of them becomes the leader."""
    if not leader.has_followers:
        return
    state = RunState(leader.state)
    # A cancellation is meant for one run only.
    if state == RunState.CANCELLED:
        _promote_follower(connection, leader.id)
        return
    columns = [getattr(RunRow, name) for name in _FOLLOWED_COLUMNS]
    values = dict(connection.execute(sa.select(*columns).where(RunRow.id == leader.id)).mappings().one())
    if state == RunState.SUCCEEDED:
        values["cached"] = True
    followers = (RunRow.leader_id == leader.id, IS_OPEN, RunRow.state.in_(predecessors(state) if state in DONE else OPEN))
    connection.execute(sa.update(RunRow).where(*followers).values(**values))


def _promote_follower(connection: sa.Connection, leader_id: str) -> None:
    now = now_ms()
    order = sa.case(_ORDER, value=RunRow.priority)
    columns = (RunRow.id, RunRow.kind, RunRow.job, RunRow.due_at)
    query = sa.select(*columns).where(RunRow.leader_id == leader_id, IS_OPEN).order_by(order, RunRow.id)
    followers = connection.execute(query.with_for_update()).all()
    if not followers:
        return
    first, *others = followers
    # All start over: the cancelled leader may have been running.
    again = {"state": RunState.QUEUED, "updated_at": now, "started_at": None}
    connection.execute(sa.update(RunRow).where(RunRow.id == first.id).values(**again, leader_id=None, has_followers=bool(others)))
    for other in others:
        connection.execute(sa.update(RunRow).where(RunRow.id == other.id).values(**again, leader_id=first.id, has_followers=False))
    connection.execute(sa.insert(OutboxRow).values(run_id=first.id, kind=first.kind, job=first.job, due_at=first.due_at))
