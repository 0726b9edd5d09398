"""Hours, days, entries per day and cooldown, worked out by hand. Bars are those of Monday from 00:00 on. test_simulate.py describes the tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Table = dict[str, dict[str, Any]]

HOURS: Table = {
    "an entry outside the hours is void": {
        "times": range(6),
        "bars": [100, 100, 100, 100, 101, 102],
        "orders": "L L . . l .",
        "rules": {"trading_hours": [("02:00", "04:00")]},
        "trades": [("long", 2, 100, 5, 102, "signal")],
        "equity": [1000, 1000, 1000, 1000, 1001, 1002],
        "filtered": 1,
    },
    "hours run over midnight, and their end is outside": {
        "times": range(5),
        "bars": [100] * 5,
        "orders": "L l L . .",
        "rules": {"trading_hours": [("23:00", "03:00")]},
        "trades": [("long", 1, 100, 2, 100, "signal")],
        "equity": [1000] * 5,
        "filtered": 1,
    },
    "an entry on another day is void": {
        "times": [0, 23, 24, 25],
        "bars": [100] * 4,
        "orders": "L L . .",
        "rules": {"trading_days": [1]},
        "trades": [("long", 2, 100, 3, 100, "end")],
        "equity": [1000] * 4,
        "filtered": 1,
    },
    "a void reversal closes all the same": {
        "times": range(4),
        "bars": [100, 100, 105, 105],
        "orders": "L S . .",
        "rules": {"trading_hours": [("00:00", "02:00")]},
        "trades": [("long", 1, 100, 2, 105, "reversal")],
        "equity": [1000, 1000, 1005, 1005],
        "filtered": 1,
    },
    "a position stays open outside the hours": {
        "times": range(4),
        "bars": [100, 100, 101, 102],
        "orders": "L . . .",
        "rules": {"trading_hours": [("00:00", "02:00")]},
        "trades": [("long", 1, 100, 3, 102, "end")],
        "equity": [1000, 1000, 1001, 1002],
    },
    "flat_outside closes it at the first open outside": {
        "times": range(4),
        "bars": [100, 100, (101, 103, 101, 103), 102],
        "orders": "L . . .",
        "rules": {"trading_hours": [("00:00", "02:00")], "flat_outside": True},
        "trades": [("long", 1, 100, 2, 101, "time")],
        "equity": [1000, 1000, 1001, 1001],
    },
    "flat_outside closes at opens if orders fill at closes": {
        "times": range(4),
        "bars": [100, 101, (102, 105, 102, 105), 103],
        "orders": "L . . .",
        "rules": {"trading_hours": [("00:00", "02:00")], "flat_outside": True, "fill": "close"},
        "trades": [("long", 0, 100, 2, 102, "time")],
        "equity": [1000, 1001, 1002, 1002],
    },
    "a fill at the close counts as at the open of its bar": {
        "times": range(4),
        "bars": [100, 101, 102, 103],
        "orders": ". L L .",
        "rules": {"trading_hours": [("02:00", "03:00")], "fill": "close"},
        "trades": [("long", 2, 102, 3, 103, "end")],
        "equity": [1000, 1000, 1000, 1001],
        "filtered": 1,
    },
    "a resting entry waits for the hours": {
        "times": range(5),
        "bars": [100, 100, (100, 100, 96, 97), (97, 97, 97, 97), 97],
        "orders": "L . . . .",
        "levels": {"entry_limit": 98},
        "rules": {"trading_hours": [("03:00", "05:00")], "entry_expires": 9},
        "trades": [("long", 3, 97, 4, 97, "end")],
        "equity": [1000] * 5,
    },
}

PER_DAY: Table = {
    "entries above the number of a day are void": {
        "times": [0, 1, 2, 3, 24, 25],
        "bars": [100] * 6,
        "orders": "L l L L . .",
        "rules": {"max_entries_per_day": 1},
        "trades": [("long", 1, 100, 2, 100, "signal"), ("long", 4, 100, 5, 100, "end")],
        "equity": [1000] * 6,
        "filtered": 1,
    },
    "adds count, too": {
        "times": range(5),
        "bars": [100] * 5,
        "orders": "L L L . .",
        "rules": {"max_entries_per_day": 2, "pyramiding": 3},
        "trades": [("long", 1, 100, 4, 100, "end", 2)],
        "equity": [1000] * 5,
        "filtered": 1,
    },
    "what a position has no room for is ignored, not void": {
        "times": range(4),
        "bars": [100] * 4,
        "orders": "L L . .",
        "rules": {"max_entries_per_day": 1},
        "trades": [("long", 1, 100, 3, 100, "end")],
        "equity": [1000] * 4,
    },
    "a resting entry waits for the next day": {
        "times": [0, 1, 2, 3, 24, 25],
        "bars": [100, 100, 100, (100, 100, 97, 98), (98, 98, 97, 98), 98],
        "orders": "L l . . . .",
        "levels": {"entry_limit": [0, 0, 98, 98, 98, 98]},
        "rules": {"max_entries_per_day": 1, "entry_expires": 9},
        "trades": [("long", 1, 100, 2, 100, "signal")],
        "equity": [1000] * 6,
    },
}

COOLDOWN: Table = {
    "after a loss the entries of the next strategy bars are void": {
        "bars": [100, 100, 99, 99, 99, 99],
        "orders": "L l L L L .",
        "rules": {"cooldown": 2},
        "trades": [("long", 1, 100, 2, 99, "signal"), ("long", 5, 99, 5, 99, "end")],
        "equity": [1000, 1000, 999, 999, 999, 999],
        "filtered": 2,
    },
    "after a profit they are not": {
        "bars": [100, 100, 101, 101, 101],
        "orders": "L l L . .",
        "rules": {"cooldown": 5},
        "trades": [("long", 1, 100, 2, 101, "signal"), ("long", 3, 101, 4, 101, "end")],
        "equity": [1000, 1000, 1001, 1001, 1001],
    },
    "a profit below its fees is a loss": {
        "bars": [100, 100, 101, 101, 101],
        "orders": "L l L . .",
        "rules": {"cooldown": 5, "order_fee": 1},
        "trades": [("long", 1, 100, 2, 101, "signal", 1, 2)],
        "equity": [1000, 999, 999, 999, 999],
        "filtered": 1,
    },
    "the last exit of a winning position may lose": {
        "bars": [100, 100, (100, 110, 100, 108), 99, 99, 99],
        "orders": "L . l L . .",
        "rules": {"cooldown": 5, "partial_exits": [(0.1, 0.5)]},
        "trades": [
            ("long", 1, 100, 2, 110, "partial_exit", 0.5),
            ("long", 1, 100, 3, 99, "signal", 0.5),
            ("long", 4, 99, 5, 99, "end"),
        ],
        "equity": [1000, 1000, 1009, 1004.5, 1004.5, 1004.5],
    },
    "a loss at a close counts from the strategy bar of that close": {
        "bars": [100, 99, 99, 99, 99],
        "orders": "L l L L .",
        "rules": {"cooldown": 1, "fill": "close"},
        "trades": [("long", 0, 100, 1, 99, "signal"), ("long", 3, 99, 4, 99, "end")],
        "equity": [1000, 999, 999, 999, 999],
        "filtered": 1,
    },
    "a liquidation at the open counts from the strategy bar that is due there": {
        "bars": [100, 100, 80, 80, 80, 80],
        "orders": "L . L L . .",
        "rules": {"cooldown": 1, "leverage": 10},
        "trades": [("long", 1, 100, 2, 90, "liquidation"), ("long", 4, 80, 5, 80, "end")],
        "equity": [1000, 1000, 990, 990, 990, 990],
        "filtered": 1,
    },
    "a losing reversal closes and opens nothing": {
        "bars": [100, 100, 98, 98],
        "orders": "L S . .",
        "rules": {"cooldown": 1},
        "trades": [("long", 1, 100, 2, 98, "reversal")],
        "equity": [1000, 1000, 998, 998],
        "filtered": 1,
    },
    "a losing exit removes what rests": {
        "bars": [100, 100, 100, (100, 101, 95, 97), (97, 97, 88, 89), 89],
        "orders": "L S . . . .",
        "levels": {"entry_stop": {"short": 90}, "stop_loss": {"long": 96}},
        "rules": {"cooldown": 1, "entry_expires": 9},
        "trades": [("long", 1, 100, 3, 96, "stop_loss")],
        "equity": [1000, 1000, 1000, 996, 996, 996],
    },
    "without a cooldown what rests stays": {
        "bars": [100, 100, 100, (100, 101, 95, 97), (97, 97, 88, 89), 89],
        "orders": "L S . . . .",
        "levels": {"entry_stop": {"short": 90}, "stop_loss": {"long": 96}},
        "rules": {"entry_expires": 9},
        "trades": [("long", 1, 100, 3, 96, "stop_loss"), ("short", 4, 90, 5, 89, "end")],
        "equity": [1000, 1000, 1000, 996, 997, 997],
    },
    "a losing reversal of a resting entry closes and opens nothing": {
        "bars": [100, 100, 100, (100, 101, 95, 96), 96],
        "orders": "L S . . .",
        "levels": {"entry_stop": {"short": 97}},
        "rules": {"cooldown": 1, "entry_expires": 9},
        "trades": [("long", 1, 100, 3, 97, "reversal")],
        "equity": [1000, 1000, 1000, 997, 997],
        "filtered": 1,
    },
    "an entry that would rest is void, too": {
        "bars": [100, 100, 99, (99, 99, 97, 98), 98],
        "orders": "L l L . .",
        "levels": {"entry_limit": [0, 0, 98, 98, 98]},
        "rules": {"cooldown": 1, "entry_expires": 9},
        "trades": [("long", 1, 100, 2, 99, "signal")],
        "equity": [1000, 1000, 999, 999, 999],
        "filtered": 1,
    },
}

TABLES = {
    f"{part}: {claim}": case
    for part, table in (("hours", HOURS), ("per day", PER_DAY), ("cooldown", COOLDOWN))
    for claim, case in table.items()
}


@pytest.mark.parametrize("claim", TABLES)
def test_entries_fill_when_they_may_as_worked_out_by_hand(claim: str, engine: str, check_by_hand: Callable[..., None]) -> None:
    check_by_hand(engine, **TABLES[claim])
