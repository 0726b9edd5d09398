"""Checks that the numbers of settings lie within their limits."""

from __future__ import annotations

import sys
from typing import Final, cast

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
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and _is_within(cast(float, value), above, minimum, below, maximum):
        return
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
    if not is_number:
        raise ExecutionError(f"expected a number, got {format_value(value)}", where=where, hint=hint)
    raise ExecutionError(f"{format_value(value)} is out of range", where=where, hint=hint)


def _is_within(value: float, above: float | None, minimum: float | None, below: float | None, maximum: float | None) -> bool:
    return (
        abs(value) <= MAX_FLOAT
        and (above is None or value > above)
        and (minimum is None or value >= minimum)
        and (below is None or value < below)
        and (maximum is None or value <= maximum)
    )


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
