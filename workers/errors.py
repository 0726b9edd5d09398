"""Errors of the service.

WorkersError
├── Invalid       a request that can't be carried out as it stands
├── NotFound      no run, dataset or strategy of that id or name
├── Conflict      it clashes with what is there: a taken name, another version, a run that isn't done
└── Unavailable   the database or the queue can't be reached
"""

from __future__ import annotations


class WorkersError(Exception):
    """What was wrong, where, and what would be right.

    `code` is stable and made for programs; `where` names the field; `hint` says what would be right.
    """

    code = "error"

    def __init__(self, message: str, *, where: str = "", hint: str = "", code: str = "") -> None:
        self.message = message
        self.where = where
        self.hint = hint
        if code:
            self.code = code
        super().__init__(message, where, hint)

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}; {self.hint}" if self.hint else text


class Invalid(WorkersError):
    code = "invalid"


class NotFound(WorkersError):
    code = "not_found"


class Conflict(WorkersError):
    code = "conflict"


class Unavailable(WorkersError):
    code = "unavailable"
