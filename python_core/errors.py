"""Errors of the library.

BarstormError (ValueError)
├── BarsError        bars that break the contract
├── FileError        a file that holds no usable bars
├── StrategyError    an expression, parameter or timeframe that can't be run
├── ExecutionError   costs, sizes or stops that make no sense
├── EngineError      an engine that isn't there, or inputs it can't take
└── Cancelled        the caller's own `Control.cancel()`
"""

from __future__ import annotations


class StructuredError(Exception):
    """A message with parts that programs can read; base of `BarstormError` and of the service's errors.

    Attributes:
        code: a stable name of the fault.
        where: the column, field or expression at fault.
        hint: what would be right.
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
    """Base of the library's errors: what was wrong (`message`), where, and what would be right (`hint`), with a stable `code`."""


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
