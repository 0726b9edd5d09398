"""Single flight: of equal runs that are open at the same time one is worked on, and the others go with it from state to state.

All of it happens in the transaction that moves the leader, so whoever dies when, a follower is never left behind.
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
    """Let a new run follow an open one that is equal, no less urgent and no later, if there is one; until the transaction ends, no other
    equal run can be accepted, and the leader can't move."""
    if row.flight is None or row.state != RunState.QUEUED:
        return
    await locks.lock(session, row.flight)
    urgent_enough = [priority for priority in Priority if _ORDER[priority] <= _ORDER[Priority(row.priority)]]
    # What was due at once when it was accepted is never later, though the clock of who accepted it may be ahead of ours (on SQLite: was).
    leader = await session.scalar(
        sa.select(RunRow)
        .where(RunRow.flight == row.flight, RunRow.state.in_(OPEN), RunRow.leader_id.is_(None), ~RunRow.cancel_requested)
        .where(RunRow.priority.in_(urgent_enough), (RunRow.due_at <= max(row.due_at, now_ms())) | (RunRow.due_at <= RunRow.created_at))
        .order_by(RunRow.id)
        .limit(1)
        .with_for_update()
    )
    if leader is not None:
        leader.followed = True
        row.leader_id, row.state, row.started_at = leader.id, leader.state, leader.started_at


async def move_followers(session: AsyncSession, leader: RunRow) -> None:
    """Take the followers along to where their leader now is; if it was cancelled, one of them leads on."""
    if not leader.followed:
        return
    state = RunState(leader.state)
    if state == RunState.CANCELLED:
        await _promote_follower(session, leader.id)
        return
    names = ("state", "started_at", "due_at", "updated_at", "finished_at", "error", "fingerprint", "engine")
    values = {name: getattr(leader, name) for name in names}
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
    waiting = sa.select(RunRow).where(RunRow.leader_id == leader_id, RunRow.state.in_(OPEN)).order_by(order, RunRow.id)
    followers = (await session.scalars(waiting.with_for_update())).all()
    for follower in followers:
        first = followers[0]
        follower.state, follower.updated_at, follower.started_at = RunState.QUEUED, now, None
        follower.leader_id = None if follower is first else first.id
        follower.followed = follower is first and len(followers) > 1
    if followers:
        session.add(OutboxRow(run_id=followers[0].id, kind=followers[0].kind, job=followers[0].job, due_at=followers[0].due_at))
