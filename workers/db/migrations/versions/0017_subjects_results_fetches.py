"""Room for versions of datasets under idempotency keys; indexes of the finished runs of a result by name, and of fetches."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

SUCCEEDED = sa.text("state = 'succeeded'")
FETCH = sa.text("kind = 'data_fetch'")


def upgrade() -> None:
    with op.batch_alter_table("idempotency_keys") as table:
        table.alter_column("subject_id", existing_type=sa.String(36), type_=sa.String(64), existing_nullable=False)
    op.drop_index("runs_by_result", "runs")
    columns = ["fingerprint", "owner", "name", "id"]
    op.create_index("runs_by_result", "runs", columns, sqlite_where=SUCCEEDED, postgresql_where=SUCCEEDED)
    op.create_index("runs_that_fetch", "runs", ["id"], sqlite_where=FETCH, postgresql_where=FETCH)
    op.create_index("runs_that_fetch_by_owner", "runs", ["owner", "id"], sqlite_where=FETCH, postgresql_where=FETCH)


def downgrade() -> None:
    op.drop_index("runs_that_fetch_by_owner", "runs")
    op.drop_index("runs_that_fetch", "runs")
    op.drop_index("runs_by_result", "runs")
    op.create_index("runs_by_result", "runs", ["fingerprint", "owner"], sqlite_where=SUCCEEDED, postgresql_where=SUCCEEDED)
    op.execute("DELETE FROM idempotency_keys WHERE length(subject_id) > 36")
    with op.batch_alter_table("idempotency_keys") as table:
        table.alter_column("subject_id", existing_type=sa.String(64), type_=sa.String(36), existing_nullable=False)
