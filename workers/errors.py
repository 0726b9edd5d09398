"""Errors of the service.

WorkersError
├── Invalid       a request with a wrong value
├── NotFound      no such run, dataset or strategy
├── Conflict      the current state does not allow it: a name is taken, a version differs, a run is not done
└── Unavailable   the database or the queue can't be reached
"""

from __future__ import annotations

from python_core.errors import StructuredError


class WorkersError(StructuredError):
    """Base of the service's errors: what was wrong (`message`), where, and what would be right (`hint`), with a stable `code`."""

    code = "error"


class Invalid(WorkersError):
    code = "invalid"


class NotFound(WorkersError):
    code = "not_found"


class Conflict(WorkersError):
    code = "conflict"


class Unavailable(WorkersError):
    code = "unavailable"
