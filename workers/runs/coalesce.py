"""Coalescing: of equal unfinished runs, only one is computed, the leader. The others follow it from state to state.

A leader and its followers change state in one transaction, so no follower is left behind, whichever process dies and when.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from workers.db import locks
from workers.db.tables import OutboxRow, RunRow
from workers.model.clock import now_ms
from workers.model.states import DONE, OPEN, Priority, RunState, predecessors

_ORDER: Final = {priority: i for i, priority in enumerate(Priority)}


async def join(session: AsyncSession, row: RunRow) -> None:
    """Make a new run follow an equal unfinished run that is at least as urgent and due no later, if there is one."""
    if row.coalesce_key is None or row.state != RunState.QUEUED:
        return
    # Until the transaction ends, no equal run can be accepted and (see `with_for_update`) the leader can't change its state.
    await locks.lock(session, row.coalesce_key)
    urgent_enough = [priority for priority in Priority if _ORDER[priority] <= _ORDER[Priority(row.priority)]]
    # A run that was due when it was accepted counts as due, even if the clock of the process that accepted it was ahead of ours.
    leader = await session.scalar(
        sa.select(RunRow)
        .where(RunRow.coalesce_key == row.coalesce_key, RunRow.state.in_(OPEN), RunRow.leader_id.is_(None), ~RunRow.cancel_requested)
        .where(RunRow.priority.in_(urgent_enough), (RunRow.due_at <= max(row.due_at, now_ms())) | (RunRow.due_at <= RunRow.created_at))
        .order_by(RunRow.id)
        .limit(1)
        .with_for_update()
    )
    if leader is not None:
        leader.has_followers = True
        row.leader_id, row.state, row.started_at = leader.id, leader.state, leader.started_at


async def move_followers(session: AsyncSession, leader: RunRow) -> None:
    """Give the followers the state of their leader. If it was cancelled, the most urgent of them becomes the leader."""
    if not leader.has_followers:
        return
    state = RunState(leader.state)
    # A cancellation is meant for one run only.
    if state == RunState.CANCELLED:
        await _promote_follower(session, leader.id)
        return
    columns = ("state", "started_at", "due_at", "updated_at", "finished_at", "error", "fingerprint", "engine")
    values = {name: getattr(leader, name) for name in columns}
    if state == RunState.SUCCEEDED:
        values["cached"] = True
    await session.execute(
        sa.update(RunRow)
        .where(RunRow.leader_id == leader.id, RunRow.state.in_(predecessors(state) if state in DONE else OPEN))
        .values(**values)
        .execution_options(synchronize_session=False)
    )


async def _promote_follower(session: AsyncSession, leader_id: str) -> None:
    now = now_ms()
    order = sa.case(_ORDER, value=RunRow.priority)
    query = sa.select(RunRow).where(RunRow.leader_id == leader_id, RunRow.state.in_(OPEN)).order_by(order, RunRow.id)
    followers = (await session.scalars(query.with_for_update())).all()
    # All start over: the cancelled leader may have been running.
    for follower in followers:
        first = followers[0]
        follower.state, follower.updated_at, follower.started_at = RunState.QUEUED, now, None
        follower.leader_id = None if follower is first else first.id
        follower.has_followers = follower is first and len(followers) > 1
    if followers:
        session.add(OutboxRow(run_id=followers[0].id, kind=followers[0].kind, job=followers[0].job, due_at=followers[0].due_at))
