"""Rolling sums and averages that can't drift, and the rule for unknown values."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from python_core.indicators.table import Series
from python_core.numerics.exact_sum import SCALE, divide, to_fixed_point


def rolling_sum(x: Series, length: int) -> Series:
    """Sum of the last `length` values, correctly rounded (as by `math.fsum`): it can't drift, and the order of the values doesn't matter."""
    return _rolling(x, length, SCALE)


def rolling_mean(x: Series, length: int) -> Series:
    """Average of the last `length` values: their exact sum over `length`, rounded once."""
    return _rolling(x, length, SCALE * length)


def _rolling(x: Series, length: int, by: int) -> Series:
    out = np.full(len(x), np.nan)
    values = x.tolist()
    scaled = [to_fixed_point(value) if np.isfinite(value) else None for value in values]
    total, known = 0, 0
    for i, new in enumerate(scaled):
        if new is None:
            total, known = 0, 0
            continue
        total += new
        known += 1
        if known > length:
            total -= scaled[i - length]  # type: ignore[operator]
        if known >= length:
            out[i] = divide(total, by)
    return out


def restart_after_gaps(outputs: int = 1) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates a reference function with the rule for unknown values; all arrays among its arguments are inputs of the same length.

    On a bar where an input is not finite the output is NaN, and on the next bar the function restarts as if the data started there. So the
    function itself only sees finite values.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def wrapper(*inputs: Any) -> Any:
            series = [each for each in inputs if isinstance(each, np.ndarray)]
            known = np.logical_and.reduce([np.isfinite(each) for each in series])
            results = [np.full(len(known), np.nan) for _ in range(outputs)]
            edges = np.flatnonzero(np.diff(np.concatenate(([False], known, [False])).astype(np.int8)))
            with np.errstate(all="ignore"):
                for start, end in edges.reshape(-1, 2).tolist():
                    part = function(*(each[start:end] for each in series), *inputs[len(series) :])
                    for result, values in zip(results, part if outputs > 1 else (part,), strict=True):
                        result[start:end] = values
            return tuple(results) if outputs > 1 else results[0]

        return wrapper

    return decorate
