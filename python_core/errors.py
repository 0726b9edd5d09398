"""Errors of the library.

BarstormError (ValueError)
├── BarsError        invalid bars
├── FileError        a file that can't be read
├── StrategyError    an invalid expression, parameter or timeframe
├── ExecutionError   invalid costs, sizes or stops
├── EngineError      an engine that is not available, or inputs it can't process
└── Cancelled        cancelled with `Control.cancel()`
"""

from __future__ import annotations


class StructuredError(Exception):
    """A message with parts that programs can read; base of `BarstormError` and of the service's errors.

    Attributes:
        code: a stable name, for use by programs.
        where: the column, field or expression that is wrong.
        hint: how to fix it.
    """

    code = "invalid"

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


class BarstormError(StructuredError, ValueError):
    """Base of the library's errors."""


class BarsError(BarstormError):
    """Columns or rows that are not valid bars."""

    code = "invalid_bars"


class FileError(BarstormError):
    """A file that can't be read: missing, damaged, too large, or in an unknown format."""

    code = "invalid_file"


class StrategyError(BarstormError):
    """An invalid expression, parameter, timeframe or signal; `where` names the expression and column."""

    code = "invalid_strategy"


class ExecutionError(BarstormError):
    """An invalid execution rule; `where` names the field."""

    code = "invalid_execution"


class EngineError(BarstormError):
    """An engine that is not available, or inputs it can't process."""

    code = "engine"


class Cancelled(BarstormError):
    """The run was cancelled with `Control.cancel()`."""

    code = "cancelled"
