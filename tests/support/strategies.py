"""Strategies that many tests share."""

from __future__ import annotations

from typing import Any

import python_core as bt

FAST = {"type": "int", "default": 10, "min": 5, "max": 20, "step": 5}
SLOW = {"type": "int", "default": 30, "min": 10, "max": 40, "step": 10}


def cross(**fields: Any) -> bt.Strategy:
    """A crossing of two averages with typed params and a constraint; `fields` override its fields."""
    defaults = {
        "entry_long": "crossover(sma(close, fast), sma(close, slow))",
        "exit_long": "crossunder(sma(close, fast), sma(close, slow))",
        "params": {"fast": FAST, "slow": SLOW},
        "constraints": ["fast < slow"],
    }
    return bt.Strategy(**{**defaults, **fields})
