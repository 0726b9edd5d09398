"""Datasets with versions and parts; result files named by their hash."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def column(name: str, kind: Any, *, nullable: bool = False, default: str | None = None) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=nullable, server_default=default)


def upgrade() -> None:
    for added in (
        column("exchange", sa.Text(), default=""),
        column("kind", sa.String(8), default="spot"),
        column("tick_size", sa.Double(), nullable=True),
        column("lot_size", sa.Double(), nullable=True),
        column("version", sa.BigInteger(), default="1"),
        column("gaps", sa.BigInteger(), default="0"),
        column("source", sa.Text(), default=""),
        column("updated_at", sa.BigInteger(), default="0"),
    ):
        op.add_column("datasets", added)
    op.add_column("runs", column("dataset_version", sa.BigInteger(), default="1"))
    for name in ("trades_hash", "equity_hash"):
        op.add_column("results", column(name, sa.String(64), nullable=True))
    op.create_table(
        "dataset_versions",
        column("dataset_id", sa.String(36)),
        column("version", sa.BigInteger()),
        column("rows", sa.BigInteger()),
        column("start", sa.BigInteger()),
        column("end", sa.BigInteger()),
        column("gaps", sa.BigInteger()),
        column("fingerprint", sa.String(64)),
        column("bytes", sa.BigInteger()),
        column("source", sa.Text()),
        column("updated_at", sa.BigInteger()),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name="dataset_versions_dataset_id_fk", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("dataset_id", "version", name="dataset_versions_pk"),
    )
    op.create_table(
        "dataset_parts",
        column("dataset_id", sa.String(36)),
        column("version", sa.BigInteger()),
        column("series", sa.String(8)),
        column("start", sa.BigInteger()),
        column("end", sa.BigInteger()),
        column("rows", sa.BigInteger()),
        column("hash", sa.String(64)),
        column("bytes", sa.BigInteger()),
        sa.ForeignKeyConstraint(
            ["dataset_id", "version"],
            ["dataset_versions.dataset_id", "dataset_versions.version"],
            name="dataset_parts_version_fk",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("dataset_id", "version", "series", "start", name="dataset_parts_pk"),
    )
    op.create_index("dataset_parts_by_hash", "dataset_parts", ["hash"])
    op.execute(sa.text("UPDATE datasets SET updated_at = created_at"))
    # Older files have other names: their datasets are listed, but reading one asks for a new upload.
    op.execute(
        sa.text(
            'INSERT INTO dataset_versions (dataset_id, version, rows, start, "end", gaps, fingerprint, bytes, source, updated_at) '
            "SELECT id, 1, rows, start, \"end\", 0, fingerprint, bytes, '', created_at FROM datasets"
        )
    )


def downgrade() -> None:
    op.drop_table("dataset_parts")
    op.drop_table("dataset_versions")
    for name in ("trades_hash", "equity_hash"):
        op.drop_column("results", name)
    op.drop_column("runs", "dataset_version")
    for name in ("exchange", "kind", "tick_size", "lot_size", "version", "gaps", "source", "updated_at"):
        op.drop_column("datasets", name)
