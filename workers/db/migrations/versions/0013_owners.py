"""Owners of strategies; names of datasets and strategies, and datasets of schedules, are unique for each owner."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    with op.batch_alter_table("strategies") as table:
        table.add_column(sa.Column("owner", sa.String(120), nullable=False, server_default=""))
        table.drop_constraint("strategies_name_unique", type_="unique")
        table.create_unique_constraint("strategies_owner_unique", ["owner", "name"])
    with op.batch_alter_table("datasets") as table:
        table.drop_constraint("datasets_name_unique", type_="unique")
        table.create_unique_constraint("datasets_owner_unique", ["owner", "name"])
    with op.batch_alter_table("schedules") as table:
        table.drop_constraint("schedules_dataset_unique", type_="unique")
        table.create_unique_constraint("schedules_owner_unique", ["owner", "dataset"])


def downgrade() -> None:
    owners = op.get_bind().scalars(
        sa.text("SELECT owner FROM datasets UNION SELECT owner FROM strategies UNION SELECT owner FROM schedules ORDER BY owner")
    )
    if len(found := owners.all()) > 1:
        raise CommandError(f"revision 0012 has no owners, and this database has those of {found!r}; delete what belongs to all but one")
    with op.batch_alter_table("schedules") as table:
        table.drop_constraint("schedules_owner_unique", type_="unique")
        table.create_unique_constraint("schedules_dataset_unique", ["dataset"])
    with op.batch_alter_table("datasets") as table:
        table.drop_constraint("datasets_owner_unique", type_="unique")
        table.create_unique_constraint("datasets_name_unique", ["name"])
    with op.batch_alter_table("strategies") as table:
        table.drop_constraint("strategies_owner_unique", type_="unique")
        table.create_unique_constraint("strategies_name_unique", ["name"])
        table.drop_column("owner")
