"""Import reports."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("dataset_versions", sa.Column("report", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("dataset_versions", "report")
