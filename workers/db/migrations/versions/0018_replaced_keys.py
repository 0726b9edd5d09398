"""Which API key has replaced another, so that none is rotated twice."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("replaced_by", sa.String(36)))


def downgrade() -> None:
    op.drop_column("api_keys", "replaced_by")
