"""Filters on higher timeframes in the form of older clients, as expressions of the strategy language."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from python_core.data import timeframes
from python_core.errors import BarstormError
from python_core.strategy.filters import TimeframeFilter

FilterType = Literal["trend_ma", "ema_direction", "rsi_range"]
RSI_PERIOD: Final = 14
# The conditions of each type, with its period in place of the braces.
_CONDITIONS: Final[dict[str, dict[str, str]]] = {
    "trend_ma": {"price_above": "close > sma(close, {})", "price_below": "close < sma(close, {})"},
    "ema_direction": {"rising": "rising(ema(close, {}), 1)", "falling": "falling(ema(close, {}), 1)"},
}
_TYPE_OF: Final = {condition: kind for kind, conditions in _CONDITIONS.items() for condition in conditions}
_FIELDS: Final = {"trend_ma": ("condition", "period"), "ema_direction": ("condition", "period"), "rsi_range": ("period", "min", "max")}


class OlderFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A condition on the bars of a higher timeframe that must be true for every entry, long or short; a bar counts once it has closed.

    `trend_ma`: the close is above or below its simple average (`price_above`, `price_below`). `ema_direction`: the exponential average of the
    close is `rising` or `falling`. `rsi_range`: the RSI is from `min` to `max`. Without a type, `condition` is one of these words or an
    expression of the strategy language.
    """

    timeframe: Annotated[str | int, Meta(description="Timeframe of the bars: a name, a number of minutes, or a code of exchanges.")]
    type: FilterType | None = None
    condition: Annotated[str, Meta(max_length=2_000, description="The condition; not for `rsi_range`.")] = ""
    period: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)] | None,
        Meta(description="Length of the average or of the RSI, in bars of the timeframe; default of the RSI: 14."),
    ] = None
    min: Annotated[float | None, Meta(description="Lowest RSI.")] = None
    max: Annotated[float | None, Meta(description="Highest RSI.")] = None

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "timeframe", parse_timeframe(self.timeframe, "timeframe"))
        self.to_filter()

    def to_filter(self) -> TimeframeFilter:
        """The same condition as a filter of a strategy."""
        return TimeframeFilter(timeframe=str(self.timeframe), condition=self._expression())

    def _expression(self) -> str:
        kind = self.type or _TYPE_OF.get(self.condition)
        if kind is None:
            self._refuse_others(("condition",), "an expression")
            if not self.condition:
                raise ValueError(f"type: missing; use one of {', '.join(_FIELDS)}, or give a condition")
            return self.condition
        self._refuse_others(_FIELDS[kind], kind)
        if kind == "rsi_range":
            return self._rsi_range()
        if self.condition not in _CONDITIONS[kind]:
            raise ValueError(f"condition: {self.condition!r:.40} is not a condition of {kind}; use one of {', '.join(_CONDITIONS[kind])}")
        if self.period is None:
            raise ValueError(f"period: missing, but required by {kind}; give a number of bars, such as 200")
        return _CONDITIONS[kind][self.condition].format(self.period)

    def _rsi_range(self) -> str:
        if self.min is None and self.max is None:
            raise ValueError("min: missing, and max, too; give one or both of them")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min: {self.min:g} is above max {self.max:g}; swap them")
        low = "" if self.min is None else f"{self.min!r} <= "
        high = "" if self.max is None else f" <= {self.max!r}"
        return f"{low}rsi(close, {self.period or RSI_PERIOD}){high}"

    def _refuse_others(self, allowed: tuple[str, ...], kind: str) -> None:
        for name in ("condition", "period", "min", "max"):
            if name not in allowed and getattr(self, name) not in (None, ""):
                raise ValueError(f"{name}: not a field of {kind}; leave it out")


def parse_timeframe(value: str | int, where: str) -> str:
    """The canonical name of a timeframe, which older clients also write in minutes with their unit: `60m` is 1h.

    Raises:
        ValueError: unknown timeframe, at `where`.
    """
    minutes = value[:-1] if isinstance(value, str) and value.endswith("m") and value[:-1].isdigit() else value
    try:
        return timeframes.parse(minutes)
    except BarstormError as error:
        raise ValueError(f"{where}: unknown timeframe {value!r:.40}; {error.hint}") from None
