"""Errors of the service.

WorkersError
├── Invalid           a request with a wrong value
├── NotFound          no such run, dataset or strategy
├── Conflict          the current state does not allow it: a name is taken, a version differs, a run is not done
├── LimitExceeded     the request takes more time or memory than one may
├── TooManyRequests   too many requests of its kind are being worked on
└── Unavailable       the database or the queue can't be reached
    └── NotInstalled  a package that the request needs is missing
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from python_core.errors import BarstormError, StructuredError


class WorkersError(StructuredError):
    """Base of the service's errors: what was wrong (`message`), where, and what would be right (`hint`), with a stable `code`."""

    code = "error"


class Invalid(WorkersError):
    code = "invalid"


class NotFound(WorkersError):
    code = "not_found"


class Unauthenticated(WorkersError):
    code = "unauthenticated"


class Forbidden(WorkersError):
    code = "forbidden"


class Conflict(WorkersError):
    code = "conflict"


class LimitExceeded(WorkersError):
    """`code` is `time_limit` or `memory_limit`."""

    code = "time_limit"


class TooManyRequests(WorkersError):
    """`retry_after_s` is when a place should be free."""

    code = "too_many_requests"

    def __init__(self, message: str, *, where: str = "", hint: str = "", code: str = "", retry_after_s: int = 1) -> None:
        super().__init__(message, where=where, hint=hint, code=code)
        self.retry_after_s = retry_after_s


class Unavailable(WorkersError):
    code = "unavailable"


class NotInstalled(Unavailable):
    code = "not_installed"


@contextmanager
def as_client_error(within: str = "") -> Iterator[None]:
    """Raise errors of the library as `Invalid`; `within` is the field of the request that their places are in."""
    try:
        yield
    except BarstormError as error:
        where = f"{within}.{error.where}" if within and error.where else error.where or within
        raise Invalid(error.message, where=where, hint=error.hint, code=error.code) from error
