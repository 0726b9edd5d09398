"""Metrics relative to a benchmark; earlier results have none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

METRICS = ("beta", "alpha", "tracking_error", "information_ratio")


def upgrade() -> None:
    for name in METRICS:
        op.add_column("results", sa.Column(name, sa.Double))


def downgrade() -> None:
    for name in METRICS:
        op.drop_column("results", name)
