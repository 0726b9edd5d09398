"""Fixed stops, targets and break-even stops, worked out by hand. test_simulate.py describes the tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import python_core as bt

Table = dict[str, dict[str, Any]]

STOP_LOSS: Table = {
    "a long's stop fills at its level": {
        "bars": [100, (100, 101, 99, 100), (100, 101, 88, 95), 95],
        "orders": "L . . .",
        "rules": {"stop_loss": 0.1, "commission": 0.01},
        "trades": [("long", 1, 100, 2, 90, "stop_loss", 1, 1 + 0.9)],
        "equity": [1000, 999, 999 - 10 - 0.9, 999 - 10 - 0.9],
    },
    "a short's stop is above its entry": {
        "bars": [100, (100, 101, 99, 100), (100, 112, 94, 95), 95],
        "orders": "S . . .",
        "rules": {"stop_loss": 0.1},
        "trades": [("short", 1, 100, 2, 110, "stop_loss")],
        "equity": [1000, 1000, 990, 990],
    },
    "a touch fills the stop": {
        "bars": [100, 100, (100, 100, 90, 100), 100],
        "orders": "L . . .",
        "rules": {"stop_loss": 0.1},
        "trades": [("long", 1, 100, 2, 90, "stop_loss")],
        "equity": [1000, 1000, 990, 990],
    },
    "a price short of the level fills nothing": {
        "bars": [100, 100, (100, 100, 90.01, 100), 100],
        "orders": "L . . .",
        "rules": {"stop_loss": 0.1},
        "trades": [("long", 1, 100, 3, 100, "end")],
        "equity": [1000, 1000, 1000, 1000],
    },
    "a stop can fill in the bar of its entry": {
        "bars": [100, (100, 101, 88, 95), 95],
        "orders": "L . .",
        "rules": {"stop_loss": 0.1},
        "trades": [("long", 1, 100, 1, 90, "stop_loss")],
        "equity": [1000, 990, 990],
    },
    "a stop slips, and is a fraction of the fill price": {
        "bars": [100, 100, (100, 100, 90, 100), 100],
        "orders": "L . . .",
        "rules": {"stop_loss": 0.1, "slippage": 0.01},
        "trades": [("long", 1, 101, 2, 90.9 - 0.909, "stop_loss")],
        "equity": [1000, 1000 - 1, 1000 + 89.991 - 101, 1000 + 89.991 - 101],
    },
    "a short's stop slips up": {
        "bars": [100, 100, (100, 110, 100, 100), 100],
        "orders": "S . . .",
        "rules": {"stop_loss": 0.1, "slippage": 0.01},
        "trades": [("short", 1, 99, 2, 108.9 + 1.089, "stop_loss")],
        "equity": [1000, 1000 - 1, 1000 + 99 - 109.989, 1000 + 99 - 109.989],
    },
    "a gap beyond the stop fills at the open": {
        "bars": [100, 100, (80, 95, 70, 90), 90],
        "orders": "L . . .",
        "rules": {"stop_loss": 0.1, "slippage": 0.1},
        "trades": [("long", 1, 110, 2, 72, "stop_loss")],
        "equity": [1000, 990, 1000 + 72 - 110, 1000 + 72 - 110],
    },
    "a short's gap beyond the stop fills at the open": {
        "bars": [100, 100, (120, 130, 95, 100), 100],
        "orders": "S . . .",
        "rules": {"stop_loss": 0.1},
        "trades": [("short", 1, 100, 2, 120, "stop_loss")],
        "equity": [1000, 1000, 980, 980],
    },
    "an exit at the open comes before the stop": {
        "bars": [100, 100, (95, 96, 80, 90), 90],
        "orders": "L l . .",
        "rules": {"stop_loss": 0.1},
        "trades": [("long", 1, 100, 2, 95, "signal")],
        "equity": [1000, 1000, 995, 995],
    },
    "an entry that slips beyond its stop exits at the same open": {
        "bars": [100, 100, 100],
        "orders": "L . .",
        "rules": {"stop_loss": 0.01, "slippage": 0.1},
        "trades": [("long", 1, 110, 1, 90, "stop_loss")],
        "equity": [1000, 980, 980],
    },
    "after a stop the next signal enters again": {
        "bars": [100, (100, 101, 88, 95), 96, 97],
        "orders": "L L . .",
        "rules": {"stop_loss": 0.1},
        "trades": [("long", 1, 100, 1, 90, "stop_loss"), ("long", 2, 96, 3, 97, "end")],
        "equity": [1000, 990, 990, 991],
    },
    "a second entry moves the stop to the average": {
        "bars": [100, 100, (120, 120, 99, 110), 110],
        "orders": "L L . .",
        "rules": {"stop_loss": 0.1, "pyramiding": 2},
        "trades": [("long", 1, 110, 2, 99, "stop_loss", 2)],
        "equity": [1000, 1000, 1000 - 22, 1000 - 22],
    },
}

TAKE_PROFIT: Table = {
    "a target is a resting order: it fills at its level and never slips": {
        "bars": [100, 100, (100, 125, 99, 110), 110],
        "orders": "L . . .",
        "rules": {"take_profit": 0.2, "slippage": 0.01, "commission": 0.01},
        "trades": [("long", 1, 101, 2, 121.2, "take_profit", 1, 1.01 + 1.212)],
        "equity": [1000, 1000 - 1.01 - 1, 1000 - 1.01 + 20.2 - 1.212, 1000 - 1.01 + 20.2 - 1.212],
    },
    "a short's target is below its entry": {
        "bars": [100, (100, 101, 79, 90), 90],
        "orders": "S . .",
        "rules": {"take_profit": 0.2},
        "trades": [("short", 1, 100, 1, 80, "take_profit")],
        "equity": [1000, 1020, 1020],
    },
    "a touch fills the target": {
        "bars": [100, (100, 120, 100, 110), 110],
        "orders": "L . .",
        "rules": {"take_profit": 0.2},
        "trades": [("long", 1, 100, 1, 120, "take_profit")],
        "equity": [1000, 1020, 1020],
    },
    "a gap beyond the target fills at the better open": {
        "bars": [100, 100, (140, 141, 100, 105), 105],
        "orders": "L . . .",
        "rules": {"take_profit": 0.2, "slippage": 0.1},
        "trades": [("long", 1, 110, 2, 140, "take_profit")],
        "equity": [1000, 990, 1030, 1030],
    },
    "a short's gap beyond the target fills at the open": {
        "bars": [100, 100, (70, 100, 60, 95), 95],
        "orders": "S . . .",
        "rules": {"take_profit": 0.2},
        "trades": [("short", 1, 100, 2, 70, "take_profit")],
        "equity": [1000, 1000, 1030, 1030],
    },
}

BREAK_EVEN: Table = {
    "after the profit of break_even_at the stop is at the entry": {
        "bars": [100, (100, 105, 99.5, 104), (104, 105, 99, 101), 101],
        "orders": "L . . .",
        "rules": {"break_even_at": 0.05},
        "trades": [("long", 1, 100, 2, 100, "break_even")],
        "equity": [1000, 1004, 1000, 1000],
    },
    "after a smaller profit the stop is unchanged": {
        "bars": [100, (100, 104.9, 99.5, 104), (104, 105, 99, 101), 101],
        "orders": "L . . .",
        "rules": {"break_even_at": 0.05},
        "trades": [("long", 1, 100, 3, 101, "end")],
        "equity": [1000, 1004, 1001, 1001],
    },
    "a short's break-even stop fills, and slips": {
        "bars": [100, (100, 100.5, 80, 85), (85, 100, 80, 95), 95],
        "orders": "S . . .",
        "rules": {"break_even_at": 0.05, "slippage": 0.1},
        "trades": [("short", 1, 90, 2, 90 + 9, "break_even")],
        "equity": [1000, 1000 + 90 - 85, 1000 - 9, 1000 - 9],
    },
    "a stop nearer than break-even still counts": {
        "bars": [100, (100, 120, 99.5, 119), (119, 120, 99, 101), 101],
        "orders": "L . . .",
        "rules": {"break_even_at": 0.05, "trailing_stop": 0.1},
        "trades": [("long", 1, 100, 2, 108, "trailing_stop")],
        "equity": [1000, 1019, 1008, 1008],
    },
    "break-even replaces a stop that is further away": {
        "bars": [100, (100, 106, 91, 105), (105, 106, 80, 101), 101],
        "orders": "L . . .",
        "rules": {"break_even_at": 0.05, "stop_loss": 0.1},
        "trades": [("long", 1, 100, 2, 100, "break_even")],
        "equity": [1000, 1005, 1000, 1000],
    },
}

# Every bar's true range is 4, so is the average over 2, known from bar 2 on.
CALM = (100, 102, 98, 100)
FROZEN: Table = {
    "an ATR stop lies that far below the fill, frozen at the signal's bar": {
        "bars": [CALM, CALM, CALM, (100, 120, 94, 100), (100, 101, 91, 95), 95],
        "orders": ". . L . . .",
        "rules": {"stop_loss": bt.Atr(multiple=2, period=2), "slippage": 0.01},
        "trades": [("long", 3, 101, 4, 93 - 0.93, "stop_loss")],
        "equity": [1000, 1000, 1000, 1000 - 1, 1000 + 92.07 - 101, 1000 + 92.07 - 101],
    },
    "a short's ATR stop and target": {
        "bars": [CALM, CALM, CALM, (100, 107, 93, 100), (100, 101, 92, 95), 95],
        "orders": ". . S . . .",
        "rules": {"stop_loss": bt.Atr(multiple=2, period=2), "take_profit": bt.Atr(multiple=2, period=2)},
        "trades": [("short", 3, 100, 4, 92, "take_profit")],
        "equity": [1000, 1000, 1000, 1000, 1008, 1008],
    },
    "an ATR trailing stop keeps that distance from the best price": {
        "bars": [CALM, CALM, CALM, (100, 110, 93, 108), (108, 109, 101, 105), 105],
        "orders": ". . L . . .",
        "rules": {"trailing_stop": bt.Atr(multiple=2, period=2)},
        "trades": [("long", 3, 100, 4, 102, "trailing_stop")],
        "equity": [1000, 1000, 1000, 1008, 1002, 1002],
    },
    "an entry whose ATR is not known yet is dropped": {
        "bars": [CALM, CALM, CALM, CALM],
        "orders": "L L . .",
        "rules": {"stop_loss": bt.Atr(multiple=2, period=2)},
        "trades": [],
        "equity": [1000, 1000, 1000, 1000],
    },
    "a stop may be any price of the signal's bar": {
        "bars": [(100, 102, 97, 100), (100, 101, 98, 99), (99, 100, 96.5, 98), 98],
        "orders": "L . . .",
        "rules": {"stop_loss": "low"},
        "trades": [("long", 1, 100, 2, 97, "stop_loss")],
        "equity": [1000, 999, 997, 997],
    },
    "a target may be any price of the signal's bar": {
        "bars": [(100, 102, 97, 100), (100, 110, 98, 99), (99, 112, 96.5, 98), 98],
        "orders": "L . . .",
        "rules": {"take_profit": "high + 10"},
        "trades": [("long", 1, 100, 2, 112, "take_profit")],
        "equity": [1000, 999, 1012, 1012],
    },
    "a trailing stop's expression is a distance": {
        "bars": [(100, 102, 97, 100), (100, 110, 98, 109), (109, 110, 104, 106), 106],
        "orders": "L . . .",
        "rules": {"trailing_stop": "high - low"},
        "trades": [("long", 1, 100, 2, 105, "trailing_stop")],
        "equity": [1000, 1009, 1005, 1005],
    },
    "an entry with a distance below 0 is dropped": {
        "bars": [(100, 102, 97, 100), (100, 110, 98, 109), 109],
        "orders": "L . .",
        "rules": {"trailing_stop": "low - high"},
        "trades": [],
        "equity": [1000, 1000, 1000],
    },
    "an entry whose stop is on the wrong side of the fill is rejected": {
        "bars": [(100, 102, 97, 100), (100, 110, 98, 109), 109],
        "orders": "L . .",
        "rules": {"stop_loss": "high"},
        "trades": [],
        "equity": [1000, 1000, 1000],
        "rejected": 1,
    },
    "a stop at the fill is on the wrong side": {
        "bars": [100, 100, 109],
        "orders": "L . .",
        "rules": {"stop_loss": "close"},
        "trades": [],
        "equity": [1000, 1000, 1000],
        "rejected": 1,
    },
    "an entry whose target is on the wrong side of the fill is rejected": {
        "bars": [(100, 102, 97, 100), 103, 109],
        "orders": "L . .",
        "rules": {"take_profit": "high"},
        "trades": [],
        "equity": [1000, 1000, 1000],
        "rejected": 1,
    },
    "a reversal that is rejected closes all the same": {
        "bars": [100, 100, 110, 109],
        "orders": "L S . .",
        "rules": {"stop_loss": {"short": "low * 0.5"}},
        "trades": [("long", 1, 100, 2, 110, "reversal")],
        "equity": [1000, 1000, 1010, 1010],
        "rejected": 1,
    },
}

TABLES = {
    f"{part}: {claim}": case
    for part, table in (("stop-loss", STOP_LOSS), ("take-profit", TAKE_PROFIT), ("break-even", BREAK_EVEN), ("frozen", FROZEN))
    for claim, case in table.items()
}


@pytest.mark.parametrize("claim", TABLES)
def test_stops_and_targets_fill_as_worked_out_by_hand(claim: str, engine: str, check_by_hand: Callable[..., None]) -> None:
    check_by_hand(engine, **TABLES[claim])
