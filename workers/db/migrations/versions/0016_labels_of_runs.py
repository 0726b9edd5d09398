"""Names, tags and notes of runs, the indexes of their filters, and a revision by which finished runs are remembered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

OPEN = sa.text("state IN ('queued', 'retrying', 'running')")
FOLLOWER = sa.text("leader_id IS NOT NULL")
NAMED = sa.text("name <> ''")
HAS_STRATEGY = sa.text("strategy_id IS NOT NULL")


def upgrade() -> None:
    # Constants as defaults, so that neither database rewrites the table.
    op.add_column("runs", sa.Column("name", sa.String(120), nullable=False, server_default=""))
    op.add_column("runs", sa.Column("tags", sa.Text, nullable=False, server_default="[]"))
    op.add_column("runs", sa.Column("notes", sa.Text, nullable=False, server_default=""))
    op.create_table(
        "run_tags",
        sa.Column("tag", sa.String(40), nullable=False),
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.PrimaryKeyConstraint("tag", "run_id", name="run_tags_pk"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="run_tags_run_id_fk", ondelete="CASCADE"),
    )
    op.create_index("run_tags_by_run_id", "run_tags", ["run_id"])
    op.create_index("runs_by_owner", "runs", ["owner", "id"])
    op.create_index("runs_by_dataset", "runs", ["dataset_id", "id"])
    op.create_index("runs_by_strategy", "runs", ["strategy_id", "id"], sqlite_where=HAS_STRATEGY, postgresql_where=HAS_STRATEGY)
    op.create_index("runs_by_name", "runs", ["name", "id"], sqlite_where=NAMED, postgresql_where=NAMED)
    op.drop_index("runs_by_leader", "runs")
    op.create_index("runs_by_leader", "runs", ["leader_id"], sqlite_where=FOLLOWER, postgresql_where=FOLLOWER)
    op.add_column("catalog", sa.Column("runs_revision", sa.BigInteger, nullable=False, server_default="1"))


def downgrade() -> None:
    op.drop_column("catalog", "runs_revision")
    op.drop_index("runs_by_leader", "runs")
    op.create_index("runs_by_leader", "runs", ["leader_id"], sqlite_where=OPEN, postgresql_where=OPEN)
    for name in ("name", "strategy", "dataset", "owner"):
        op.drop_index(f"runs_by_{name}", "runs")
    op.drop_table("run_tags")
    for name in ("notes", "tags", "name"):
        op.drop_column("runs", name)
