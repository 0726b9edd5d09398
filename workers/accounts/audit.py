"""The audit log: who changed what."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
import sqlalchemy as sa
import structlog
from msgspec import Meta

from workers.db.database import Database
from workers.db.paging import page_of
from workers.db.tables import AuditRow
from workers.logs import without_keys
from workers.model.callers import Caller
from workers.model.clock import TimeMs, now_ms
from workers.model.names import Id, new_id
from workers.model.pages import NextCursor
from workers.outages import is_unreachable

SUCCEEDED: Final = "ok"
KEEP_MS: Final = 365 * 86_400_000
BATCH: Final = 10_000
MAX_SUBJECT: Final = 120
_log = structlog.stdlib.get_logger(__name__)


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A change, or an attempt at one that was refused."""

    id: Id
    at: Annotated[TimeMs, Meta(description="When it was done, UTC epoch milliseconds.")]
    owner: Annotated[str, Meta(description="Owner as whom it was done, or empty.")]
    key_id: Annotated[str, Meta(description="Id of the API key, or empty if there was none.")]
    operation: Annotated[str, Meta(description="Name of the operation.", examples=["datasets.delete"])]
    subject: Annotated[str, Meta(description="Id or name of what it was done to, the selection as JSON, or empty.")]
    outcome: Annotated[str, Meta(description="`ok`, or the code of the error.", examples=["ok", "not_found"])]
    request_id: Annotated[str, Meta(description="Id of the request, which its response has as `X-Request-Id`; empty on the command line.")]


class AuditPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the audit log, newest first."""

    items: Annotated[tuple[AuditEntry, ...], Meta(description="The entries of this page.")]
    next_cursor: NextCursor


async def record(database: Database, caller: Caller, operation: str, subject: str, outcome: str) -> None:
    """Add an entry to the log in the database and, of a request, to that of the process. If it can't be stored, that is only logged."""
    request_id = structlog.contextvars.get_contextvars().get("request_id", "")
    row = {
        "id": new_id(),
        "at": now_ms(),
        "owner": caller.owner,
        "key_id": caller.key_id,
        "operation": operation,
        # A subject that was refused may have any characters; PostgreSQL stores no null.
        "subject": "".join(filter(str.isprintable, without_keys(subject)[:MAX_SUBJECT])),
        "outcome": outcome,
        "request_id": request_id,
    }
    logged = {name: row[name] for name in ("operation", "subject", "outcome", "owner", "key_id")}
    if request_id:  # on the command line, it would stand between the output
        _log.info("audit", **logged)
    try:
        await database.transact(lambda connection: connection.execute(sa.insert(AuditRow), row))
    except Exception as error:
        _log.error("audit entry not stored", **logged, reason=str(error), exc_info=not is_unreachable(error))


async def page(database: Database, *, limit: int, cursor: str | None) -> AuditPage:
    """All entries, newest first."""
    async with database.read() as session:
        rows, next_cursor = await page_of(session, "audit", AuditRow, limit=limit, cursor=cursor)
    names = AuditEntry.__struct_fields__
    return AuditPage(items=tuple(AuditEntry(**{name: getattr(row, name) for name in names}) for row in rows), next_cursor=next_cursor)


def delete_old(connection: sa.Connection) -> None:
    """Delete entries older than a year, at most a batch, so that the statement stays within its time limit."""
    old = sa.select(AuditRow.id).where(AuditRow.at < now_ms() - KEEP_MS).limit(BATCH)
    connection.execute(sa.delete(AuditRow).where(AuditRow.id.in_(old)))
