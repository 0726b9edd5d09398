"""Counts of contract 2, and the contract of each result; results so far are of contract 1, which clipped, filtered and expired nothing."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

COUNTS = ("clipped_orders", "filtered_entries", "expired_orders")


def upgrade() -> None:
    for name in COUNTS:
        op.add_column("results", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("results", sa.Column("warm_up_shortfall", sa.BigInteger(), nullable=True))
    op.add_column("results", sa.Column("contract", sa.BigInteger(), nullable=False, server_default="1"))


def downgrade() -> None:
    for name in ("contract", "warm_up_shortfall", *COUNTS):
        op.drop_column("results", name)
