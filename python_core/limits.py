"""Checks that the numbers of settings lie within their limits."""

from __future__ import annotations

import math
import sys
from typing import Final

from python_core.errors import ExecutionError

MAX_FLOAT: Final = sys.float_info.max


def check_number(
    where: str,
    value: object,
    *,
    above: float | None = None,
    minimum: float | None = None,
    below: float | None = None,
    maximum: float | None = None,
) -> None:
    """Check a finite number.

    Raises:
        ExecutionError: another type, or out of range.
    """
    bounds = []
    if above is not None:
        bounds.append(f"greater than {above:g}")
    if minimum is not None:
        bounds.append(f"at least {minimum:g}")
    if below is not None:
        bounds.append(f"below {below:g}")
    if maximum is not None:
        bounds.append(f"at most {maximum:g}")
    hint = f"use a finite number {' and '.join(bounds)}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ExecutionError(f"expected a number, got {format_value(value)}", where=where, hint=hint)
    if (
        abs(value) > MAX_FLOAT
        or not math.isfinite(value)
        or (above is not None and value <= above)
        or (minimum is not None and value < minimum)
        or (below is not None and value >= below)
        or (maximum is not None and value > maximum)
    ):
        raise ExecutionError(f"{format_value(value)} is out of range", where=where, hint=hint)


def check_integer(where: str, value: object, *, minimum: int, maximum: int) -> None:
    """Check a whole number.

    Raises:
        ExecutionError: another type, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        raise ExecutionError(f"{format_value(value)} is out of range", where=where, hint=f"use a whole number from {minimum} to {maximum}")


def format_value(value: object) -> str:
    """The value as an error message shows it: at most 60 characters."""
    # Python doesn't format very long integers.
    return "a number too large for float64" if isinstance(value, int) and abs(value) > MAX_FLOAT else f"{value!r:.60}"
