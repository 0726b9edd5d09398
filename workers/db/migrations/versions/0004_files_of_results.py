"""Indexes by which garbage collection finds the result of a file."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_index("results_by_trades_hash", "results", ["trades_hash"])
    op.create_index("results_by_equity_hash", "results", ["equity_hash"])


def downgrade() -> None:
    op.drop_index("results_by_equity_hash", "results")
    op.drop_index("results_by_trades_hash", "results")
