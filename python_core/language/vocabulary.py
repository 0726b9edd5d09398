"""The names of the language: series, functions with their arguments, and reserved names of position state."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Final

from python_core import indicators
from python_core.indicators import Indicator
from python_core.language.plan import CROSSINGS, STREAKS

COLUMNS: Final = ("open", "high", "low", "close", "volume")
# Averages of prices, rounded once, and the columns that they read.
TYPICAL: Final = {"hl2": ("high", "low"), "hlc3": ("high", "low", "close"), "ohlc4": ("open", "high", "low", "close")}
# Of a bar's open time, UTC; weekday 0 is Monday.
TIME_PARTS: Final = ("hour", "weekday", "minute")
SERIES: Final = (*COLUMNS, *TYPICAL, *TIME_PARTS)
# min and max take two or more numbers, the others one.
ELEMENTWISE: Final = ("abs", "log", "exp", "sqrt", "sign", "min", "max")
FUNCTIONS: Final = ("at", *CROSSINGS, *STREAKS, *ELEMENTWISE, *indicators.FUNCTIONS)


def _parameters(row: Indicator) -> dict[str, int | float | None]:
    needed: dict[str, int | float | None] = dict.fromkeys((*row.conditions, *row.series))
    return needed | {argument.name: argument.default for argument in row.arguments}


# The arguments of a call and their defaults; None: required.
PARAMETERS: Final[Mapping[str, Mapping[str, int | float | None]]] = {
    "at": {"tf": None, "value": None},
    **{name: {"a": None, "b": None} for name in CROSSINGS},
    **{name: {"series": None, "length": None} for name in STREAKS},
    **{name: {"x": None} for name in ELEMENTWISE if name not in ("min", "max")},
    **{name: _parameters(indicators.INDICATORS[name]) for name in indicators.FUNCTIONS},
}
# Descriptions of the functions that are not indicators.
DESCRIPTIONS: Final[Mapping[str, str]] = {
    "at": "the value on the last ended bar of a higher timeframe, a number or a condition",
    "crossover": "true on the bar on which a rises above b, after being at or below it on the bar before",
    "crossunder": "true on the bar on which a falls below b, after being at or above it on the bar before",
    "rising": "true if the series rose on each of the last `length` bars (Pine's is looser: above all of them)",
    "falling": "true if the series fell on each of the last `length` bars",
    "abs": "absolute value",
    "log": "natural logarithm; minus infinity at 0, unknown below 0",
    "exp": "exponential function",
    "sqrt": "square root; unknown below 0",
    "sign": "1 above 0, -1 below, 0 at 0",
    "min": "the smallest of two or more numbers",
    "max": "the largest of two or more numbers",
}
# Signals are computed before orders are simulated, so they can't depend on the position.
POSITION_STATE: Final = frozenset(
    "position position_size position_side position_avg_price in_position bars_in_position bars_since_entry entry_price entry_bar"
    " open_profit profit equity".split()
)


def suggest(name: str, known: list[str]) -> str:
    """A hint: the known name most similar to this one, or all of them."""
    close = difflib.get_close_matches(name[:60], known, n=1, cutoff=0.55)
    return f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(known)}"
