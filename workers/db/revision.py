"""The revision of the catalog, a number that rises with every change of a dataset or a stored strategy."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from workers.db.tables import CatalogRow

CURRENT: Final = sa.select(CatalogRow.revision)


async def current(session: AsyncSession) -> int:
    return (await session.scalars(CURRENT)).one()


async def count_change(session: AsyncSession) -> None:
    """Make all processes look up datasets and strategies again. Part of every transaction that changes one."""
    await session.execute(sa.update(CatalogRow).values(revision=CatalogRow.revision + 1))
