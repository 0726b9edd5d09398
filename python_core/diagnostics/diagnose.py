"""Diagnosis of a strategy: its activity and the check of its signals."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from python_core.data.bars import Bars
from python_core.diagnostics.activity import StrategyActivity, activity
from python_core.diagnostics.lookahead import SignalCheck, check
from python_core.diagnostics.values import MAX_BARS, recent_bars
from python_core.execution import DEFAULT, Execution
from python_core.strategy.strategy import Strategy


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """Diagnosis of a strategy on some bars: what keeps it from trading, and whether its signals can be trusted."""

    activity: Annotated[StrategyActivity, Meta(description="How often its conditions were true, and what keeps it from trading.")]
    check: Annotated[SignalCheck, Meta(description="Whether its signals depend on future bars or on where the data begins.")]


def diagnose(bars: Bars, strategy: Strategy, execution: Execution | None = None) -> Diagnosis:
    """`activity` and `check` on the last `MAX_BARS` strategy bars, which takes about a second however long the data.

    Raises:
        StrategyError, EngineError: as `bt.backtest`.
    """
    recent = recent_bars(bars, strategy, len(bars), MAX_BARS)
    fill = DEFAULT.fill if execution is None else execution.fill
    return Diagnosis(activity=activity(recent, strategy, execution), check=check(recent, strategy, fill=fill))
