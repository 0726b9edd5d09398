"""Outages: which errors mean that the database, Redis or the files can't be reached, rather than a fault of a request or of ours."""

from __future__ import annotations

import sqlite3
from typing import Final

from redis.exceptions import DataError, RedisError, ResponseError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from workers.errors import Unavailable

HINT: Final = "try again in a moment"
# Classes and codes of PostgreSQL (https://www.postgresql.org/docs/current/errcodes-appendix.html): no connection, wrong credentials, no such
# database, deadlocks, no resources, shutdown or time limit, system error, internal error; and locks not available within the limit.
_SQLSTATE_CLASSES: Final = ("08", "28", "3D", "40", "53", "57", "58", "XX", "55P03")
# The session is over or, after a failover, at the wrong server: what works is a new connection.
_STALE_SESSIONS: Final = ("08", "25006", "25P03", "57P")
_SQLITE_CODES: Final = frozenset(
    (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
    )
)


def outage(error: BaseException) -> Unavailable | None:
    """The outage that an error means, for clients; None for errors of other kinds, such as a violated constraint."""
    if isinstance(error, RedisError) and not isinstance(error, DataError):
        verb = "refuses commands" if isinstance(error, ResponseError) else "does not respond"
        return Unavailable(f"Redis {verb} ({_reason(error)})", where="redis", hint=HINT)
    if isinstance(error, PoolTimeout):
        return Unavailable("the database does not respond (all connections are in use)", where="database", hint=HINT)
    if isinstance(error, DBAPIError):
        text = f"the database does not respond ({_reason(error.orig or error)})"
        return Unavailable(text, where="database", hint=HINT) if _is_lost_database(error) else None
    if isinstance(error, OSError):
        return Unavailable(f"the service can't reach its files or its database ({_reason(error)})", hint=HINT)
    return None


def is_unreachable(error: BaseException) -> bool:
    """Whether an error means that the database, Redis or the files can't be reached."""
    return outage(error) is not None


def is_deadlock(error: DBAPIError) -> bool:
    """Whether the database ended a transaction because it and others waited for each other."""
    return _sqlstate(error.orig).startswith("40")


def is_stale_session(error: BaseException) -> bool:
    """Whether an error of the database's driver means that only a new connection can help."""
    return isinstance(error, TimeoutError) or _sqlstate(error).startswith(_STALE_SESSIONS)


def _is_lost_database(error: DBAPIError) -> bool:
    driver_error = error.orig
    if error.connection_invalidated:
        return True
    if isinstance(driver_error, sqlite3.Error):
        return getattr(driver_error, "sqlite_errorcode", 0) & 0xFF in _SQLITE_CODES  # the rest is detail
    if sqlstate := _sqlstate(driver_error):
        return sqlstate.startswith((*_SQLSTATE_CLASSES, *_STALE_SESSIONS))
    # asyncpg reports a closed connection like a value that does not fit its column, except that the latter is also a ValueError.
    lost = isinstance(error, OperationalError | InterfaceError)
    return lost and not isinstance(driver_error and driver_error.__cause__, ValueError)


def _sqlstate(error: BaseException | None) -> str:
    return getattr(error, "sqlstate", None) or ""


def _reason(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:250]
