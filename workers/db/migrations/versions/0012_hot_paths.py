"""What makes runs cheap: trades in the row of their result, the finished run of a result, and a revision by which look-ups are cached."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

SUCCEEDED = sa.text("state = 'succeeded'")


def upgrade() -> None:
    op.add_column("results", sa.Column("trades_data", sa.LargeBinary(), nullable=True))
    if op.get_bind().dialect.name == "postgresql":
        # They are compressed already.
        op.execute("ALTER TABLE results ALTER COLUMN trades_data SET STORAGE EXTERNAL")
    op.create_index("runs_by_result", "runs", ["fingerprint", "owner"], sqlite_where=SUCCEEDED, postgresql_where=SUCCEEDED)
    catalog = op.create_table(
        "catalog",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="catalog_pk"),
    )
    op.bulk_insert(catalog, [{"id": 1, "revision": 1}])


def downgrade() -> None:
    op.drop_table("catalog")
    op.drop_index("runs_by_result", "runs")
    op.drop_column("results", "trades_data")
