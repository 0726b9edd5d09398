"""The words of the language: series, functions with their arguments, and names that people look for and can't have."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Final

from python_core import indicators
from python_core.indicators import Indicator
from python_core.language.plan import CROSSINGS, STREAKS

COLUMNS: Final = ("open", "high", "low", "close", "volume")
# Averages of prices, written out as plan operations.
TYPICAL: Final = {
    "hl2": (("high", "low"), 2.0),
    "hlc3": (("high", "low", "close"), 3.0),
    "ohlc4": (("open", "high", "low", "close"), 4.0),
}
# Of a bar's open time, UTC; weekday 0 is Monday.
TIME_PARTS: Final = ("hour", "weekday", "minute")
SERIES: Final = (*COLUMNS, *TYPICAL, *TIME_PARTS)
# The first five take one number, the others two or more.
ELEMENTWISE: Final = ("abs", "log", "exp", "sqrt", "sign", "min", "max")
FUNCTIONS: Final = ("at", *CROSSINGS, *STREAKS, *ELEMENTWISE, *indicators.FUNCTIONS)


def _parameters(row: Indicator) -> dict[str, int | float | None]:
    needed: dict[str, int | float | None] = dict.fromkeys((*row.conditions, *row.series))
    return needed | {argument.name: argument.default for argument in row.arguments}


# What a call may name, and the defaults; None: it must be given.
PARAMETERS: Final[Mapping[str, Mapping[str, int | float | None]]] = {
    "at": {"tf": None, "value": None},
    **{name: {"a": None, "b": None} for name in CROSSINGS},
    **{name: {"series": None, "length": None} for name in STREAKS},
    **{name: {"x": None} for name in ELEMENTWISE if name not in ("min", "max")},
    **{name: _parameters(indicators.INDICATORS[name]) for name in indicators.FUNCTIONS},
}
# The functions that are no indicators, in words.
DESCRIPTIONS: Final[Mapping[str, str]] = {
    "at": "what the last closed bar of a higher timeframe says: a number, or true or false",
    "crossover": "true on the bar on which a comes above b, having been at or below it on the bar before",
    "crossunder": "true on the bar on which a comes below b, having been at or above it on the bar before",
    "rising": "true while the series was above the bar before on each of the last `length` bars (Pine's is looser: above all of them)",
    "falling": "true while the series was below the bar before on each of the last `length` bars",
    "abs": "x without its sign",
    "log": "natural logarithm; minus infinity at 0, not known below",
    "exp": "exponential",
    "sqrt": "square root; not known below 0",
    "sign": "1 above 0, -1 below, 0 at 0",
    "min": "the least of two or more numbers",
    "max": "the greatest of two or more numbers",
}
# A run's orders are not known when its signals are computed.
POSITION_STATE: Final = frozenset(
    "position position_size position_side position_avg_price in_position bars_in_position bars_since_entry entry_price entry_bar"
    " open_profit profit equity".split()
)


def nearest(name: str, known: list[str]) -> str:
    """A hint: the known name that is most like this one, or all of them."""
    close = difflib.get_close_matches(name[:60], known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
