"""Schedules of fetches, and gaps in the data of exchanges."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "dataset_gaps",
        sa.Column("dataset_id", sa.String(36), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("end", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name="dataset_gaps_dataset_id_fk", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("dataset_id", "start", name="dataset_gaps_pk"),
    )
    op.create_table(
        "schedules",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("dataset", sa.String(120), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("every_ms", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.String(120), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.Column("fetch_id", sa.String(36), nullable=True),
        sa.PrimaryKeyConstraint("id", name="schedules_pk"),
        sa.UniqueConstraint("dataset", name="schedules_dataset_unique"),
    )
    op.create_index("schedules_by_next_at", "schedules", ["next_at"])


def downgrade() -> None:
    op.drop_table("schedules")
    op.drop_table("dataset_gaps")
