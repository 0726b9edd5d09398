"""Stored pause of the queue."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "pauses",
        sa.Column("what", sa.String(20), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("what", name="pauses_pk"),
    )


def downgrade() -> None:
    op.drop_table("pauses")
