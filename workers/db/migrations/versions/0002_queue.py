"""Owners, priorities, coalesced runs, idempotency keys, sagas."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

OPEN = sa.text("state IN ('queued', 'retrying', 'running')")
UNFINISHED = sa.text("state IN ('running', 'undoing')")


def column(name: str, kind: Any, *, nullable: bool = False, default: Any = None) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=nullable, server_default=default)


def upgrade() -> None:
    _drop_indexes()
    with op.batch_alter_table("runs") as runs:
        runs.add_column(column("owner", sa.String(120), default=""))
        runs.add_column(column("priority", sa.String(8), default="normal"))
        runs.add_column(column("flight", sa.String(80), nullable=True))
        runs.add_column(column("leader_id", sa.String(36), nullable=True))
        runs.add_column(column("followed", sa.Boolean(), default=sa.false()))
        runs.add_column(column("output", sa.Text(), nullable=True))
        runs.alter_column("dataset_id", existing_type=sa.String(36), nullable=True)
    _create_indexes()
    op.create_index("runs_by_flight", "runs", ["flight"], sqlite_where=OPEN, postgresql_where=OPEN)
    op.create_index("runs_by_leader", "runs", ["leader_id"], sqlite_where=OPEN, postgresql_where=OPEN)
    op.create_table(
        "idempotency_keys",
        column("key", sa.String(64)),
        column("request", sa.String(64)),
        column("subject_id", sa.String(36)),
        column("created_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("key", name="idempotency_keys_pk"),
    )
    op.create_index("idempotency_keys_by_created_at", "idempotency_keys", ["created_at"])
    op.create_table(
        "sagas",
        column("id", sa.String(36)),
        column("kind", sa.String(40)),
        column("state", sa.String(12)),
        column("step", sa.BigInteger()),
        column("data", sa.Text()),
        column("error", sa.Text(), nullable=True),
        column("created_at", sa.BigInteger()),
        column("updated_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="sagas_pk"),
    )
    op.create_index("sagas_open", "sagas", ["updated_at"], sqlite_where=UNFINISHED, postgresql_where=UNFINISHED)


def downgrade() -> None:
    op.drop_table("sagas")
    op.drop_table("idempotency_keys")
    op.drop_index("runs_by_leader", "runs")
    op.drop_index("runs_by_flight", "runs")
    _drop_indexes()
    op.execute("DELETE FROM runs WHERE dataset_id IS NULL")
    with op.batch_alter_table("runs") as runs:
        runs.alter_column("dataset_id", existing_type=sa.String(36), nullable=False)
        for name in ("output", "followed", "leader_id", "flight", "priority", "owner"):
            runs.drop_column(name)
    _create_indexes()


# Alembic copies SQLite's table, and not every version of it copies partial indexes.
def _create_indexes() -> None:
    op.create_index("runs_by_state", "runs", ["state", "id"])
    op.create_index("runs_open", "runs", ["updated_at"], sqlite_where=OPEN, postgresql_where=OPEN)


def _drop_indexes() -> None:
    op.drop_index("runs_open", "runs")
    op.drop_index("runs_by_state", "runs")
