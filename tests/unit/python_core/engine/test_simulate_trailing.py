"""Trailing stops, worked out by hand. test_simulate.py describes the tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Table = dict[str, dict[str, Any]]

TRAILING: Table = {
    "a trailing stop follows the best price of earlier bars": {
        "bars": [100, (100, 120, 95, 115), (115, 118, 107, 110), 110],
        "orders": "L . . .",
        "rules": {"trailing_stop": 0.1},
        "trades": [("long", 1, 100, 2, 108, "trailing_stop")],
        "equity": [1000, 1015, 1008, 1008],
    },
    "a trailing stop starts at the entry fill": {
        "bars": [100, (100, 104, 89, 95), 95],
        "orders": "L . .",
        "rules": {"trailing_stop": 0.1},
        "trades": [("long", 1, 100, 1, 90, "trailing_stop")],
        "equity": [1000, 990, 990],
    },
    "a trailing stop is a fraction of the price, and slips": {
        "bars": [100, (100, 200, 95, 150), (150, 160, 140, 155), 155],
        "orders": "L . . .",
        "rules": {"trailing_stop": 0.1, "slippage": 0.1},
        "trades": [("long", 1, 110, 1, 99 - 9.9, "trailing_stop")],
        "equity": [1000, 1000 + 89.1 - 110, 1000 + 89.1 - 110, 1000 + 89.1 - 110],
    },
    "a bar's own high doesn't move its trailing stop; an open beyond the stop is the fill": {
        "bars": [100, (100, 200, 95, 150), (150, 160, 140, 155), 155],
        "orders": "L . . .",
        "rules": {"trailing_stop": 0.1},
        "trades": [("long", 1, 100, 2, 150, "trailing_stop")],
        "equity": [1000, 1050, 1050, 1050],
    },
    "a short's trailing stop follows the lowest low": {
        "bars": [100, (100, 105, 80, 85), (85, 89, 84, 88), 88],
        "orders": "S . . .",
        "rules": {"trailing_stop": 0.1},
        "trades": [("short", 1, 100, 2, 88, "trailing_stop")],
        "equity": [1000, 1015, 1012, 1012],
    },
    "a trailing stop never moves away from the price": {
        "bars": [100, (100, 120, 95, 115), (115, 116, 109, 110), (110, 111, 108, 110), 110],
        "orders": "L . . . .",
        "rules": {"trailing_stop": 0.1},
        "trades": [("long", 1, 100, 3, 108, "trailing_stop")],
        "equity": [1000, 1015, 1010, 1008, 1008],
    },
    "the nearer of a fixed and a trailing stop counts: first the fixed one": {
        "bars": [100, (100, 104, 94, 95), 95],
        "orders": "L . .",
        "rules": {"trailing_stop": 0.1, "stop_loss": 0.05},
        "trades": [("long", 1, 100, 1, 95, "stop_loss")],
        "equity": [1000, 995, 995],
    },
    "the nearer of a fixed and a trailing stop counts: later the trailing one": {
        "bars": [100, (100, 120, 96, 115), (115, 118, 94, 110), 110],
        "orders": "L . . .",
        "rules": {"trailing_stop": 0.1, "stop_loss": 0.05},
        "trades": [("long", 1, 100, 2, 108, "trailing_stop")],
        "equity": [1000, 1015, 1008, 1008],
    },
    "at equal levels the reason is the stop-loss": {
        "bars": [100, (100, 104, 74, 95), 95],
        "orders": "L . .",
        "rules": {"trailing_stop": 0.25, "stop_loss": 0.25},
        "trades": [("long", 1, 100, 1, 75, "stop_loss")],
        "equity": [1000, 975, 975],
    },
    "a trailing stop has no effect before its activation": {
        "bars": [100, (100, 124.99, 80, 110), (110, 111, 70, 100), 100],
        "orders": "L . . .",
        "rules": {"trailing_stop": 0.1, "trailing_activation": 0.25},
        "trades": [("long", 1, 100, 3, 100, "end")],
        "equity": [1000, 1010, 1000, 1000],
    },
    "a trailing stop is active from the bar after its activation": {
        "bars": [100, (100, 125, 80, 120), (120, 121, 70, 100), 100],
        "orders": "L . . .",
        "rules": {"trailing_stop": 0.1, "trailing_activation": 0.25},
        "trades": [("long", 1, 100, 2, 112.5, "trailing_stop")],
        "equity": [1000, 1020, 1012.5, 1012.5],
    },
    "a short's activation is below its entry": {
        "bars": [100, (100, 130, 75, 76), (76, 90, 75, 80), 80],
        "orders": "S . . .",
        "rules": {"trailing_stop": 0.1, "trailing_activation": 0.25},
        "trades": [("short", 1, 100, 2, 82.5, "trailing_stop")],
        "equity": [1000, 1024, 1017.5, 1017.5],
    },
    "after a fill at the close the trailing stop starts at that fill": {
        "bars": [(100, 150, 99, 100), (100, 101, 91, 95), (95, 96, 90.5, 95), 95],
        "orders": "L . . .",
        "rules": {"trailing_stop": 0.1, "fill": "close"},
        "trades": [("long", 0, 100, 2, 101 * 0.9, "trailing_stop")],
        "equity": [1000, 995, 990.9, 990.9],
    },
}


@pytest.mark.parametrize("claim", TRAILING)
def test_trailing_stops_fill_as_worked_out_by_hand(claim: str, engine: str, check_by_hand: Callable[..., None]) -> None:
    check_by_hand(engine, **TRAILING[claim])
