"""Indexes of the lists that are sorted by name across owners."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.create_index("datasets_by_name", "datasets", ["name", "owner"])
    op.create_index("strategies_by_name", "strategies", ["name", "owner"])
    op.create_index("schedules_by_dataset", "schedules", ["dataset", "owner"])


def downgrade() -> None:
    op.drop_index("schedules_by_dataset", "schedules")
    op.drop_index("strategies_by_name", "strategies")
    op.drop_index("datasets_by_name", "datasets")
