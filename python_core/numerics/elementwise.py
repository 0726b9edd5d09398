"""Elementwise operations on numbers and arrays. The twin is `core_rs/src/numerics/elementwise.rs`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from python_core.numerics import elementary
from python_core.numerics.exact_sum import mean

Operation = Callable[..., Any]


def _elementwise(function: Callable[[float], float]) -> Operation:
    return lambda x: np.array([function(value) for value in np.ravel(x).tolist()]).reshape(np.shape(x))


def sign(x: Any) -> Any:
    """1 above 0, -1 below; 0 and NaN stay as they are."""
    return np.where(x > 0, 1.0, np.where(x < 0, -1.0, x))


def minimum(a: Any, b: Any) -> Any:
    """The smaller of two, the first if they are equal, NaN if either is NaN."""
    return np.where((b < a) | np.isnan(b), b, a)


def maximum(a: Any, b: Any) -> Any:
    """The larger of two, the first if they are equal, NaN if either is NaN."""
    return np.where((b > a) | np.isnan(b), b, a)


UNARY: Final[dict[str, Operation]] = {
    "neg": np.negative,
    "abs": np.abs,
    "log": _elementwise(elementary.log),
    "exp": _elementwise(elementary.exp),
    "sqrt": np.sqrt,
    "sign": sign,
}
BINARY: Final[dict[str, Operation]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "min": minimum,
    "max": maximum,
}
MEANS: Final[dict[str, Operation]] = {"hlc3": mean, "ohlc4": mean}
COMPARISONS: Final[dict[str, Operation]] = {
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
}
