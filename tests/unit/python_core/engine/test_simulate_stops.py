"""Inside a bar, worked out by hand: stops, targets, trailing stops and partial exits. test_simulate.py describes the tables."""

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

# A long at 100 with its stop at 90 and its target at 120; in bar 2 both are met. The nearer extreme of the open: down, up, neither.
DOWN, UP, TIE = (100, 125, 85, 110), (110, 125, 85, 100), (105, 125, 85, 110)
STOPPED: dict[str, Any] = {"trades": [("long", 1, 100, 2, 90, "stop_loss")], "equity": [1000, 1000, 990, 990]}
SATISFIED: dict[str, Any] = {"trades": [("long", 1, 100, 2, 120, "take_profit")], "equity": [1000, 1000, 1020, 1020]}


def both(intrabar: str, bar: tuple[int, int, int, int], outcome: dict[str, Any]) -> dict[str, Any]:
    rules = {"stop_loss": 0.1, "take_profit": 0.2, "intrabar": intrabar}
    return {"bars": [100, 100, bar, 110], "orders": "L . . .", "rules": rules, "ambiguous": 1, **outcome}


INTRABAR: Table = {
    "pessimistic takes the adverse side first": both("pessimistic", UP, STOPPED),
    "pessimistic does not ask how near it is": both("pessimistic", DOWN, STOPPED),
    "optimistic takes the favourable side first": both("optimistic", DOWN, SATISFIED),
    "optimistic does not ask how near it is": both("optimistic", UP, SATISFIED),
    "path goes to the nearer extreme first: down": both("path", DOWN, STOPPED),
    "path goes to the nearer extreme first: up": both("path", UP, SATISFIED),
    "path takes the adverse side where both are as near": both("path", TIE, STOPPED),
    "path of a short: the target below is nearer": {
        "bars": [100, 100, (95, 125, 75, 100), 100],
        "orders": "S . . .",
        "rules": {"stop_loss": 0.1, "take_profit": 0.2, "intrabar": "path"},
        "trades": [("short", 1, 100, 2, 80, "take_profit")],
        "equity": [1000, 1000, 1020, 1020],
        "ambiguous": 1,
    },
    "path of a short: the stop above is nearer": {
        "bars": [100, 100, (105, 115, 75, 100), 100],
        "orders": "S . . .",
        "rules": {"stop_loss": 0.1, "take_profit": 0.2, "intrabar": "path"},
        "trades": [("short", 1, 100, 2, 110, "stop_loss")],
        "equity": [1000, 1000, 990, 990],
        "ambiguous": 1,
    },
    "the bar of the entry can be ambiguous": {
        "bars": [100, (100, 125, 85, 110), 110],
        "orders": "L . .",
        "rules": {"stop_loss": 0.1, "take_profit": 0.2, "intrabar": "optimistic"},
        "trades": [("long", 1, 100, 1, 120, "take_profit")],
        "equity": [1000, 1020, 1020],
        "ambiguous": 1,
    },
    "an open beyond the stop is not ambiguous": {
        "bars": [100, 100, (85, 125, 80, 110), 110],
        "orders": "L . . .",
        "rules": {"stop_loss": 0.1, "take_profit": 0.2, "intrabar": "optimistic"},
        "trades": [("long", 1, 100, 2, 85, "stop_loss")],
        "equity": [1000, 1000, 985, 985],
    },
    "an open beyond the target is not ambiguous": {
        "bars": [100, 100, (122, 125, 80, 110), 110],
        "orders": "L . . .",
        "rules": {"stop_loss": 0.1, "take_profit": 0.2},
        "trades": [("long", 1, 100, 2, 122, "take_profit")],
        "equity": [1000, 1000, 1022, 1022],
    },
    "a part can be sold at its level and the rest stopped in one bar": {
        "bars": [100, 100, (105, 112, 88, 100), 100],
        "orders": "L . . .",
        "rules": {"size": 2, "stop_loss": 0.1, "partial_exits": ((0.1, 0.5),), "intrabar": "path"},
        "trades": [("long", 1, 100, 2, 110, "partial_exit"), ("long", 1, 100, 2, 90, "stop_loss")],
        "equity": [1000, 1000, 1000 + 10 - 10, 1000],
        "ambiguous": 1,
    },
    "in the same bar, pessimistic, all is stopped": {
        "bars": [100, 100, (105, 112, 88, 100), 100],
        "orders": "L . . .",
        "rules": {"size": 2, "stop_loss": 0.1, "partial_exits": ((0.1, 0.5),)},
        "trades": [("long", 1, 100, 2, 90, "stop_loss", 2)],
        "equity": [1000, 1000, 980, 980],
        "ambiguous": 1,
    },
    "every ambiguous bar is counted": {
        "bars": [100, (100, 125, 85, 110), 100, (100, 125, 85, 110), 110],
        "orders": "L . L . .",
        "rules": {"stop_loss": 0.1, "take_profit": 0.2},
        "trades": [("long", 1, 100, 1, 90, "stop_loss"), ("long", 3, 100, 3, 90, "stop_loss")],
        "equity": [1000, 990, 990, 980, 980],
        "ambiguous": 2,
    },
}

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
    "a stop on the wrong side of the open fills at once": {
        "bars": [(100, 102, 97, 100), (100, 110, 98, 109), 109],
        "orders": "L . .",
        "rules": {"stop_loss": "high"},
        "trades": [("long", 1, 100, 1, 100, "stop_loss")],
        "equity": [1000, 1000, 1000],
    },
}

LADDER: Table = {
    "each partial exit sells its share of the largest quantity": {
        "bars": [100, (100, 105, 99, 104), (104, 112, 103, 110), (110, 121, 109, 115), 115],
        "orders": "L . . . .",
        "rules": {"size": 4, "partial_exits": ((0.1, 0.5), (0.2, 0.25))},
        "trades": [
            ("long", 1, 100, 2, 110, "partial_exit", 2),
            ("long", 1, 100, 3, 120, "partial_exit", 1),
            ("long", 1, 100, 4, 115, "end", 1),
        ],
        "equity": [1000, 1000 + 4 * 4, 1000 + 20 + 2 * 10, 1000 + 20 + 20 + 15, 1000 + 20 + 20 + 15],
    },
    "a partial exit settles its share of the entry fee": {
        "bars": [100, (100, 111, 99, 110), (110, 121, 109, 115), 115],
        "orders": "L . . .",
        "rules": {"size": 4, "commission": 0.01, "partial_exits": ((0.1, 0.5), (0.2, 0.25))},
        "trades": [
            ("long", 1, 100, 1, 110, "partial_exit", 2, 2 + 2.2),
            ("long", 1, 100, 2, 120, "partial_exit", 1, 1 + 1.2),
            ("long", 1, 100, 3, 115, "end", 1, 1 + 1.15),
        ],
        "equity": [1000, 1000 - 4 + 20 - 2.2 + 20, 1000 - 4 + 20 - 2.2 + 20 - 1.2 + 15, 1000 - 4 + 20 - 2.2 + 20 - 1.2 + 15 - 1.15],
    },
    "one bar may reach several partial exits, of a short as well": {
        "bars": [100, (100, 101, 75, 90), 90],
        "orders": "S . .",
        "rules": {"size": 4, "partial_exits": ((0.1, 0.5), (0.2, 0.25))},
        "trades": [
            ("short", 1, 100, 1, 90, "partial_exit", 2),
            ("short", 1, 100, 1, 80, "partial_exit", 1),
            ("short", 1, 100, 2, 90, "end", 1),
        ],
        "equity": [1000, 1000 + 20 + 20 + 10, 1000 + 20 + 20 + 10],
    },
    "a gap fills the levels that it jumped over at the open, the others at their level": {
        "bars": [100, 100, (115, 121, 114, 116), 116],
        "orders": "L . . .",
        "rules": {"size": 4, "partial_exits": ((0.1, 0.5), (0.2, 0.25))},
        "trades": [
            ("long", 1, 100, 2, 115, "partial_exit", 2),
            ("long", 1, 100, 2, 120, "partial_exit", 1),
            ("long", 1, 100, 3, 116, "end", 1),
        ],
        "equity": [1000, 1000, 1000 + 30 + 20 + 16, 1000 + 30 + 20 + 16],
    },
    "shares are rounded down to steps": {
        "bars": [100, (100, 121, 99, 110), 110],
        "orders": "L . .",
        "rules": {"size": 5, "step": 1, "partial_exits": ((0.1, 0.5), (0.2, 0.3))},
        "trades": [
            ("long", 1, 100, 1, 110, "partial_exit", 2),
            ("long", 1, 100, 1, 120, "partial_exit", 1),
            ("long", 1, 100, 2, 110, "end", 2),
        ],
        "equity": [1000, 1000 + 20 + 20 + 20, 1000 + 20 + 20 + 20],
    },
    "shares that add up to 1 close everything, whatever the step": {
        "bars": [100, (100, 121, 99, 110), 110],
        "orders": "L . .",
        "rules": {"size": 5, "step": 1, "partial_exits": ((0.1, 0.5), (0.2, 0.5))},
        "trades": [("long", 1, 100, 1, 110, "partial_exit", 2), ("long", 1, 100, 1, 120, "partial_exit", 3)],
        "equity": [1000, 1000 + 20 + 60, 1000 + 20 + 60],
    },
    "thirds add up to 1": {
        "bars": [100, (100, 121, 99, 110), 110],
        "orders": "L . .",
        "rules": {"size": 9, "partial_exits": ((0.1, 1 / 3), (0.15, 1 / 3), (0.2, 1 / 3))},
        "trades": [
            ("long", 1, 100, 1, 110, "partial_exit", 3),
            ("long", 1, 100, 1, 115, "partial_exit", 3),
            ("long", 1, 100, 1, 120, "partial_exit", 3),
        ],
        "equity": [1000, 1000 + 30 + 45 + 60, 1000 + 30 + 45 + 60],
    },
    "a share below one step sells nothing, and the next level follows": {
        "bars": [100, (100, 121, 99, 110), 110],
        "orders": "L . .",
        "rules": {"size": 1, "step": 1, "partial_exits": ((0.1, 0.5), (0.2, 0.5))},
        "trades": [("long", 1, 100, 1, 120, "partial_exit", 1)],
        "equity": [1000, 1020, 1020],
    },
    "a target between two levels closes the rest": {
        "bars": [100, (100, 121, 99, 110), 110],
        "orders": "L . .",
        "rules": {"size": 2, "take_profit": 0.15, "partial_exits": ((0.1, 0.5), (0.2, 0.5))},
        "trades": [("long", 1, 100, 1, 110, "partial_exit", 1), ("long", 1, 100, 1, 115, "take_profit", 1)],
        "equity": [1000, 1025, 1025],
    },
    "a partial exit at the price of the target comes first": {
        "bars": [100, (100, 121, 99, 110), 110],
        "orders": "L . .",
        "rules": {"size": 2, "take_profit": 0.25 / 2, "partial_exits": ((0.25 / 2, 0.5),)},
        "trades": [("long", 1, 100, 1, 112.5, "partial_exit", 1), ("long", 1, 100, 1, 112.5, "take_profit", 1)],
        "equity": [1000, 1025, 1025],
    },
    "levels are measured from the average entry, shares from the whole position": {
        "bars": [100, 100, (110, 110, 105, 110), (110, 120, 109, 118), 118],
        "orders": "L L . . .",
        "rules": {"pyramiding": 2, "partial_exits": ((0.1, 0.5),)},
        "trades": [("long", 1, 105, 3, 115.5, "partial_exit", 1), ("long", 1, 105, 4, 118, "end", 1)],
        "equity": [1000, 1000, 1010, 1000 + 10.5 + 13, 1000 + 10.5 + 13],
    },
    "the rest can exit by stop, trailing stop or signal": {
        "bars": [100, (100, 112, 99, 110), (110, 111, 90, 95), 95],
        "orders": "L . . .",
        "rules": {"size": 2, "partial_exits": ((0.1, 0.5),), "break_even_at": 0.1},
        "trades": [("long", 1, 100, 1, 110, "partial_exit", 1), ("long", 1, 100, 2, 100, "break_even", 1)],
        "equity": [1000, 1020, 1010, 1010],
    },
}

TABLES = {
    f"{part}: {claim}": case
    for part, table in (
        ("stop-loss", STOP_LOSS),
        ("take-profit", TAKE_PROFIT),
        ("intrabar", INTRABAR),
        ("trailing", TRAILING),
        ("break-even", BREAK_EVEN),
        ("frozen", FROZEN),
        ("ladder", LADDER),
    )
    for claim, case in table.items()
}


@pytest.mark.parametrize("claim", TABLES)
def test_stops_and_targets_fill_as_worked_out_by_hand(claim: str, engine: str, check_by_hand: Callable[..., None]) -> None:
    check_by_hand(engine, **TABLES[claim])
