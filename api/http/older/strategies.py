"""Strategies as older clients create them: a type and its settings, which become expressions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

import python_core as bt
from workers.model.names import Name

_Name = Annotated[Name, Meta(description="Unique name of the strategy.")]
_Description = Annotated[str, Meta(max_length=10_000, description="Accepted, but not stored.")]
_IsActive = Annotated[bool, Meta(description="Accepted without effect: a strategy runs when a backtest names it.")]
_Direction = Annotated[Literal["both", "long", "short"], Meta(description="Which positions it opens.")]
_Length = Annotated[int, Meta(ge=1, le=1_000_000)]
_Mark = Annotated[float, Meta(ge=0, le=100)]


class EmaCrossoverConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Long while the fast exponential average of the close is above the slow one, short while it is below."""

    fast_ema: Annotated[_Length, Meta(description="Length of the fast average, in bars.")]
    slow_ema: Annotated[_Length, Meta(description="Length of the slow average, in bars.")]
    direction: _Direction = "both"

    def to_strategy(self) -> bt.Strategy:
        over, under = (f"{cross}(ema(close, fast_ema), ema(close, slow_ema))" for cross in ("crossover", "crossunder"))
        return _two_sided(over, under, self.direction, fast_ema=self.fast_ema, slow_ema=self.slow_ema)


class RsiConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Long when the RSI of the close falls below `oversold`, short when it rises above `overbought`; the one ends the other."""

    rsi_period: Annotated[_Length, Meta(description="Length of the RSI, in bars.")]
    oversold: Annotated[_Mark, Meta(description="RSI below which to be long.")]
    overbought: Annotated[_Mark, Meta(description="RSI above which to be short.")]
    direction: _Direction = "both"

    def to_strategy(self) -> bt.Strategy:
        buy, sell = "crossunder(rsi(close, rsi_period), oversold)", "crossover(rsi(close, rsi_period), overbought)"
        return _two_sided(buy, sell, self.direction, rsi_period=self.rsi_period, oversold=self.oversold, overbought=self.overbought)


class EmaCrossoverRequest(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="strategy_type", tag="ema_crossover"
):
    """A crossing of two averages, in the words of older clients, and the name to store it under."""

    name: _Name
    config: EmaCrossoverConfig
    description: _Description = ""
    is_active: _IsActive = True


class RsiRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="strategy_type", tag="rsi"):
    """A reversion from the extremes of the RSI, in the words of older clients, and the name to store it under."""

    name: _Name
    config: RsiConfig
    description: _Description = ""
    is_active: _IsActive = True


OlderStrategyRequest = EmaCrossoverRequest | RsiRequest


def is_older(body: dict[str, Any]) -> bool:
    """Whether a body says what only older clients do: which type of strategy it is."""
    return "strategy_type" in body


def _two_sided(buy: str, sell: str, direction: str, **params: float) -> bt.Strategy:
    long, short = direction != "short", direction != "long"
    return bt.Strategy(
        entry_long=buy if long else "",
        exit_long=sell if long else "",
        entry_short=sell if short else "",
        exit_short=buy if short else "",
        params={**params},
    )
