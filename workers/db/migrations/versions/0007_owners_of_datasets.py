"""Owners of datasets; existing datasets have none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("datasets", sa.Column("owner", sa.String(120), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("datasets", "owner")
