"""Rules that an execution must meet together with a strategy or signals, which may bring levels and sizes of their own."""

from __future__ import annotations

from typing import Final

import numpy as np

from python_core.errors import ExecutionError, StrategyError
from python_core.execution import LEVELS, Execution
from python_core.levels import SIDES, Side
from python_core.strategy.signals import Signals
from python_core.strategy.strategy import Strategy

_RESTING: Final = ("entry_limit", "entry_stop")


def check_rules(execution: Execution, program: Strategy | Signals) -> None:
    """Check that the settings don't contradict each other or what the signals bring.

    Raises:
        ExecutionError: names the field, its value and what would be right.
        StrategyError: sizes of signals above the whole equity.
    """
    signals = program if isinstance(program, Signals) else None
    if signals is not None:
        _check_signals(execution, signals)
    set_levels = {name for name in LEVELS if getattr(execution, name) is not None or (signals is not None and signals.has_level(name))}
    _check_resting(execution, set_levels)
    if execution.limit_through and not execution.partial_exits and not set_levels & {"entry_limit", "take_profit"}:
        raise ExecutionError(
            f"there is no limit to go through by {execution.limit_through}",
            where="limit_through",
            hint="set entry_limit, take_profit or partial_exits",
        )
    if execution.trailing_activation is not None and "trailing_stop" not in set_levels:
        raise ExecutionError("there is no trailing stop to activate", where="trailing_activation", hint="set trailing_stop")
    if execution.sizing == "risk":
        for i, side in enumerate(SIDES):
            has_stop = execution.level("stop_loss", side) is not None or (signals is not None and signals.levels[i] is not None)
            if _can_enter(program, side) and not has_stop:
                raise ExecutionError(f"risk sizing needs a stop loss for {side} entries", where="sizing", hint="set stop_loss")


def _check_signals(execution: Execution, signals: Signals) -> None:
    for name in LEVELS:
        if getattr(execution, name) is not None and signals.has_level(name):
            raise ExecutionError("the signals have it, too", where=name, hint="give it either in the execution or in the signals")
    if signals.size is None:
        return
    if execution.size != 1:
        raise ExecutionError(
            f"the signals have sizes, too, besides {execution.size}", where="size", hint="give it either in the execution or in the signals"
        )
    if execution.sizing in ("equity_fraction", "risk") and (signals.size > 1).any():
        i = int(np.argmax(signals.size > 1))
        raise StrategyError(
            f"bar {i} has {signals.size[i]!s}, more than the whole equity",
            where="size",
            hint="use fractions up to 1; to trade more, set leverage",
        )


def _check_resting(execution: Execution, set_levels: set[str]) -> None:
    resting = [name for name in _RESTING if name in set_levels]
    if len(resting) > 1:
        raise ExecutionError("entry_limit is set, too", where="entry_stop", hint="use one of the two")
    if resting and execution.fill == "close":
        raise ExecutionError("entries that rest don't fill at a close", where=resting[0], hint='use fill="next_open"')
    if not resting and execution.entry_expires != 1:
        raise ExecutionError(
            f"there is no resting entry that expires after {execution.entry_expires} bars",
            where="entry_expires",
            hint="set entry_limit or entry_stop",
        )


def _can_enter(program: Strategy | Signals, side: Side) -> bool:
    if isinstance(program, Signals):
        return program.masks[0 if side == "long" else 2] is not None
    return bool((program.entry_long if side == "long" else program.entry_short).strip())
