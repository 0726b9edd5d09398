"""Errors of the service.

WorkersError
├── Invalid       a request that can't be carried out as it stands
├── NotFound      no run, dataset or strategy of that id or name
├── Conflict      it clashes with what is there: a taken name, another version, a run that isn't done
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
