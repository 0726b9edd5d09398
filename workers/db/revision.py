"""Revisions: numbers that rise with every change of what processes remember.

That of the catalog rises with every change of a dataset or a stored strategy; that of runs, when labels of a succeeded run change or it is deleted.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from workers.db.tables import CatalogRow

CURRENT: Final = sa.select(CatalogRow.revision)
BOTH: Final = sa.select(CatalogRow.revision, CatalogRow.runs_revision)


class Revisions(NamedTuple):
    catalog: int
    runs: int


def read(connection: sa.Connection) -> Revisions:
    """Both revisions."""
    return Revisions(*connection.execute(BOTH).one())


async def current(session: AsyncSession) -> int:
    return (await session.scalars(CURRENT)).one()


async def count_change(session: AsyncSession) -> None:
    """Make all processes look up datasets and strategies again. Part of every transaction that changes one."""
    await session.execute(sa.update(CatalogRow).values(revision=CatalogRow.revision + 1))


def count_change_of_runs(connection: sa.Connection) -> None:
    """Make all processes read succeeded runs again. Part of every transaction that changes labels of one, or deletes one."""
    connection.execute(sa.update(CatalogRow).values(runs_revision=CatalogRow.runs_revision + 1))
