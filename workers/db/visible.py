"""Rows that a caller sees, and those that its runs may use."""

from __future__ import annotations

from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute

from workers.db.tables import DatasetRow, StrategyRow
from workers.errors import NotFound
from workers.model.callers import Caller


def visible(caller: Caller, owner: InstrumentedAttribute[str]) -> sa.ColumnElement[bool]:
    """The condition that the caller sees the row with this column of owners."""
    return sa.true() if caller.sees_all else owner == caller.owner


def owners_of_names(caller: Caller) -> list[str]:
    """The owners whose names and markets a caller's requests mean: its own or else, for those who see all, none."""
    return [caller.owner, ""] if caller.sees_all else [caller.owner]


def find_named(caller: Caller, table: type[DatasetRow] | type[StrategyRow], reference: str) -> sa.Select[Any]:
    """The row that a reference of the caller means: that with this id, else the one to which the caller's owner gave this name, else, for those
    who see all, one of this name without an owner."""
    by_name = sa.and_(table.name == reference, table.owner.in_(owners_of_names(caller)))
    matches = sa.select(table).where(sa.or_(sa.and_(table.id == reference, visible(caller, table.owner)), by_name))
    return matches.order_by(table.id != reference, table.owner != caller.owner).limit(1)


def not_found(kind: Literal["dataset", "strategy"], reference: str, caller: Caller, *, hint: str) -> NotFound:
    """The error that `find_named` has found nothing."""
    hint += f", or use the id or name of an existing {kind}"
    if caller.key_id and caller.sees_all:
        hint += "; the header Barstorm-Owner says whose names you use"
    elif caller.owner and not caller.sees_all:
        hint += f" of {caller.owner!r}; only administrators use what has no owner, such as the samples"
    return NotFound(f"{kind} {reference!r:.130} not found", where=kind, hint=hint)
