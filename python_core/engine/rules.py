"""Rules that an execution must meet together with a strategy or signals, which may bring levels and sizes of their own."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from python_core.errors import ExecutionError, StrategyError
from python_core.execution import LEVELS, RESTING, Execution, check_resting
from python_core.levels import SIDES
from python_core.strategy.signals import Shape, Signals
from python_core.strategy.strategy import Strategy


def check_rules(execution: Execution, program: Strategy | Signals) -> None:
    """Check that the settings don't contradict each other or what the signals bring.

    Raises:
        ExecutionError: names the field, its value and what would be right.
        StrategyError: sizes of signals above the whole equity.
    """
    if isinstance(program, Signals):
        _check_settings(execution, program.shape)
        if program.size is not None:
            _check_sizes(execution, program.size)
    else:
        _check_settings(execution, Shape((), False, (bool(program.entry_long.strip()), bool(program.entry_short.strip())), (False, False)))


# A check that has passed is not repeated: a run over 1,000 bars takes no longer than the check.
@lru_cache(maxsize=256)
def _check_settings(execution: Execution, shape: Shape) -> None:
    for name in shape.levels:
        if getattr(execution, name) is not None:
            raise ExecutionError("the signals have it, too", where=name, hint="give it either in the execution or in the signals")
    if shape.has_sizes and execution.size != 1:
        raise ExecutionError(
            f"the signals have sizes, too, besides {execution.size}", where="size", hint="give it either in the execution or in the signals"
        )
    set_levels = {name for name in LEVELS if getattr(execution, name) is not None} | set(shape.levels)
    check_resting(set_levels, execution.fill)
    if execution.entry_expires != 1 and set_levels.isdisjoint(RESTING):
        raise ExecutionError(
            f"there is no resting entry that expires after {execution.entry_expires} bars",
            where="entry_expires",
            hint="set entry_limit or entry_stop",
        )
    if execution.limit_through and not execution.partial_exits and not set_levels & {"entry_limit", "take_profit"}:
        raise ExecutionError(
            f"there is no limit to go through by {execution.limit_through}",
            where="limit_through",
            hint="set entry_limit, take_profit or partial_exits",
        )
    if execution.trailing_activation is not None and "trailing_stop" not in set_levels:
        raise ExecutionError("there is no trailing stop to activate", where="trailing_activation", hint="set trailing_stop")
    if execution.sizing == "risk":
        for side, can_enter, has_stop in zip(SIDES, shape.can_enter, shape.has_stop, strict=True):
            if can_enter and not has_stop and execution.level("stop_loss", side) is None:
                raise ExecutionError(f"risk sizing needs a stop loss for {side} entries", where="sizing", hint="set stop_loss")


def _check_sizes(execution: Execution, sizes: npt.NDArray[np.float64]) -> None:
    if execution.sizing in ("equity_fraction", "risk") and (sizes > 1).any():
        i = int(np.argmax(sizes > 1))
        raise StrategyError(
            f"bar {i} has {sizes[i]!s}, more than the whole equity", where="size", hint="use fractions up to 1; to trade more, set leverage"
        )
