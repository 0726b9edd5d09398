"""Equal runs in the words of the code: `coalesce_key` and `has_followers`."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

OPEN = sa.text("state IN ('queued', 'retrying', 'running')")


def rename(old_key: str, new_key: str, old_followers: str, new_followers: str) -> None:
    op.drop_index(f"runs_by_{old_key}", "runs")
    # Alembic would copy SQLite's whole table for this.
    op.execute(f"ALTER TABLE runs RENAME COLUMN {old_key} TO {new_key}")
    op.execute(f"ALTER TABLE runs RENAME COLUMN {old_followers} TO {new_followers}")
    op.create_index(f"runs_by_{new_key}", "runs", [new_key], sqlite_where=OPEN, postgresql_where=OPEN)


def upgrade() -> None:
    rename("flight", "coalesce_key", "followed", "has_followers")


def downgrade() -> None:
    rename("coalesce_key", "flight", "has_followers", "followed")
