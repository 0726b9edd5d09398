"""How much of the service one owner may use: runs at a time, and bars a day. Runs without an owner are those of the owner ''."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import sqlalchemy as sa

from workers.db.tables import IS_OPEN, RunRow, UsageRow
from workers.db.upsert import insert
from workers.errors import TooManyRequests
from workers.model.clock import now_ms
from workers.settings import Settings

DAY_S: Final = 86_400
RETRY_S: Final = 5


class Quotas(NamedTuple):
    """Limits for each owner: unfinished runs that compute, and bars that the runs of a UTC day compute; 0: no limit."""

    runs: int = 0
    bars: int = 0

    @classmethod
    def of(cls, settings: Settings) -> Quotas:
        return cls(settings.owner_runs, settings.owner_bars_a_day)


class Use(NamedTuple):
    """What a new run uses."""

    owner: str
    bars: int


UNLIMITED: Final = Quotas()


def consume(connection: sa.Connection, kind: str, quotas: Quotas, uses: Sequence[Use]) -> list[TooManyRequests | None]:
    """Record what these runs of one kind use, in the transaction that stores them; the error of each that exceeds a quota, which uses nothing."""
    refusals: list[TooManyRequests | None] = [None] * len(uses)
    if quotas == UNLIMITED:
        return refusals
    today, second = divmod(now_ms() // 1000, DAY_S)
    open_runs = _count_open(connection, kind, {use.owner for use in uses}, quotas.runs) if quotas.runs else Counter[str]()
    bars = _bars_of(connection, {use.owner for use in uses}, today) if quotas.bars else Counter[str]()
    new = Counter[str]()
    for i, (owner, more) in enumerate(uses):
        if quotas.runs and open_runs[owner] >= quotas.runs:
            refusals[i] = _exceeded(
                f"{open_runs[owner]:,} runs are unfinished, the limit", "quota_runs", "wait until some have finished", RETRY_S
            )
        elif quotas.bars and bars[owner] + more > quotas.bars:
            what = f"today's runs compute {bars[owner]:,} bars; {more:,} more would exceed the limit of {quotas.bars:,}"
            refusals[i] = _exceeded(what, "quota_bars", "try again after midnight UTC", DAY_S - second)
        else:
            open_runs[owner] += 1
            bars[owner] += more
            new[owner] += more
    if quotas.bars:
        _add(connection, new, today)
    return refusals


def delete_old(connection: sa.Connection) -> None:
    """Delete what was recorded for days before yesterday."""
    connection.execute(sa.delete(UsageRow).where(UsageRow.day < now_ms() // 1000 // DAY_S - 1))


def _count_open(connection: sa.Connection, kind: str, owners: Iterable[str], limit: int) -> Counter[str]:
    """The unfinished runs of each owner that compute, as they follow no equal one; those above the limit need not be counted."""
    counts = Counter[str]()
    for owner in owners:
        computing = RunRow.owner == owner, IS_OPEN, RunRow.kind == kind, RunRow.leader_id.is_(None)
        some = sa.select(RunRow.id).where(*computing).limit(limit).subquery()
        counts[owner] = connection.scalar(sa.select(sa.func.count()).select_from(some)) or 0
    return counts


def _bars_of(connection: sa.Connection, owners: Iterable[str], day: int) -> Counter[str]:
    query = sa.select(UsageRow.owner, UsageRow.bars).where(UsageRow.day == day, UsageRow.owner.in_(owners))
    return Counter({row.owner: row.bars for row in connection.execute(query)})


def _add(connection: sa.Connection, bars: Counter[str], day: int) -> None:
    # In the order of owners, so that two transactions never wait for each other.
    rows = [{"owner": owner, "day": day, "bars": more} for owner, more in sorted(bars.items()) if more]
    if rows:
        new = insert(connection, UsageRow)
        connection.execute(
            new.on_conflict_do_update(index_elements=["owner", "day"], set_={"bars": UsageRow.bars + new.excluded.bars}), rows
        )


def _exceeded(what: str, code: str, hint: str, retry_after_s: int) -> TooManyRequests:
    return TooManyRequests(what, where="owner", hint=hint, code=code, retry_after_s=retry_after_s)
