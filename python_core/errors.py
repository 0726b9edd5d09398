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
    code = "invalid_bars"


class FileError(BarstormError):
    code = "invalid_file"


class StrategyError(BarstormError):
    code = "invalid_strategy"


class ExecutionError(BarstormError):
    code = "invalid_execution"


class EngineError(BarstormError):
    code = "engine"


class Cancelled(BarstormError):
    code = "cancelled"
