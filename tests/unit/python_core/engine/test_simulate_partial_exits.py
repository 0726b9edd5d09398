"""Partial exits, worked out by hand. test_simulate.py describes the tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Table = dict[str, dict[str, Any]]

PARTIAL_EXITS: Table = {
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


@pytest.mark.parametrize("claim", PARTIAL_EXITS)
def test_partial_exits_fill_as_worked_out_by_hand(claim: str, engine: str, check_by_hand: Callable[..., None]) -> None:
    check_by_hand(engine, **PARTIAL_EXITS[claim])
