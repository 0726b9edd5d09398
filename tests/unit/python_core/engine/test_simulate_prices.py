"""Fees, ticks and sizes at the limit of the account, worked out by hand. test_simulate.py describes the tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

Table = dict[str, dict[str, Any]]

FEES: Table = {
    "an order fee is charged for every fill": {
        "bars": [100, 100, 110, 110],
        "orders": "L l . .",
        "rules": {"order_fee": 2, "commission": 0.01},
        "trades": [("long", 1, 100, 2, 110, "signal", 1, 2 + 1 + 2 + 1.1)],
        "equity": [1000, 997, 1010 - 6.1, 1010 - 6.1],
    },
    "the whole equity leaves room for the order fee": {
        "bars": [100, 100, 100, 100],
        "orders": "L l . .",
        "rules": {"order_fee": 10, "sizing": "equity_fraction"},
        "trades": [("long", 1, 100, 2, 100, "signal", 9.9, 20)],
        "equity": [1000, 990, 980, 980],
    },
    "a target pays the maker fee, a stop does not": {
        "bars": [100, 100, (100, 110, 100, 105), 105, (105, 105, 90, 90), 90],
        "orders": "L . L . . .",
        "rules": {"commission": 0.01, "maker_fee": 0.001, "take_profit": 0.1, "stop_loss": 0.1},
        "trades": [
            ("long", 1, 100, 2, 110, "take_profit", 1, 1 + 0.11),
            ("long", 3, 105, 4, 94.5, "stop_loss", 1, 1.05 + 0.945),
        ],
        "equity": [1000, 999, 1010 - 1.11, 1010 - 1.11 - 1.05, 1010 - 1.11 - 1.05 - 10.5 - 0.945, 1010 - 1.11 - 1.05 - 10.5 - 0.945],
    },
    "the fee of an exit is at most what is left of the margin": {
        # Margin 10; sold at 91 it has 1 left, less than the fee of 9.1.
        "bars": [100, 100, 91, 91],
        "orders": "L l . .",
        "rules": {"leverage": 10, "maintenance_margin": 0, "commission": 0.1},
        "trades": [("long", 1, 100, 2, 91, "signal", 1, 10 + 1)],
        "equity": [1000, 990, 980, 980],
    },
    "a slipped exit is no worse than the bankruptcy price": {
        # Bought at 105, bankrupt at 94.5; 95 less 5 % would be 90.25.
        "bars": [100, 100, 95, 95],
        "orders": "L l . .",
        "rules": {"leverage": 10, "maintenance_margin": 0, "slippage": 0.05},
        "trades": [("long", 1, 105, 2, 94.5, "signal")],
        "equity": [1000, 995, 989.5, 989.5],
    },
}

TICKS: Table = {
    "market orders are rounded against the trader": {
        "bars": [100, 100.3, 100.3, 100.3],
        "orders": "L l . .",
        "rules": {"tick": 0.5},
        "trades": [("long", 1, 100.5, 2, 100, "signal")],
        "equity": [1000, 999.8, 999.5, 999.5],
    },
    "a price in whole ticks stays": {
        "bars": [100.3, 100.3, 100.3, 100.3],
        "orders": "S s . .",
        "rules": {"tick": 0.1},
        "trades": [("short", 1, 100.3, 2, 100.3, "signal")],
        "equity": [1000] * 4,
    },
    "the stop of a long is rounded down": {
        # 101 * 0.985 = 99.485
        "bars": [101, 101, (101, 101, 99.45, 100), (100, 100, 99.4, 99.4), 99.4],
        "orders": "L . . . .",
        "rules": {"tick": 0.1, "stop_loss": 0.015},
        "trades": [("long", 1, 101, 3, 99.4, "stop_loss")],
        "equity": [1000, 1000, 999, 998.4, 998.4],
    },
    "the target of a long is rounded up": {
        # 101 * 1.015 = 102.515
        "bars": [101, 101, (101, 102.55, 101, 101), (101, 102.6, 101, 101), 101],
        "orders": "L . . . .",
        "rules": {"tick": 0.1, "take_profit": 0.015},
        "trades": [("long", 1, 101, 3, 102.6, "take_profit")],
        "equity": [1000, 1000, 1000, 1001.6, 1001.6],
    },
    "the stop of a short is rounded up": {
        "bars": [101, 101, (101, 102.55, 101, 101), (101, 102.6, 101, 101), 101],
        "orders": "S . . . .",
        "rules": {"tick": 0.1, "stop_loss": 0.015},
        "trades": [("short", 1, 101, 3, 102.6, "stop_loss")],
        "equity": [1000, 1000, 1000, 998.4, 998.4],
    },
    "a buy limit is rounded down": {
        "bars": [100, 100, (100, 100, 98.75, 99), (99, 99, 98.7, 98.7), 98.7],
        "orders": "L . . . .",
        "rules": {"tick": 0.1, "entry_limit": 0.0123, "entry_expires": 9},
        "trades": [("long", 3, 98.7, 4, 98.7, "end")],
        "equity": [1000] * 5,
    },
    "a buy stop is rounded up": {
        "bars": [100, 100, (100, 101.25, 100, 100), (100, 101.3, 100, 101.3), 101.3],
        "orders": "L . . . .",
        "rules": {"tick": 0.1, "entry_stop": 0.0123, "entry_expires": 9},
        "trades": [("long", 3, 101.3, 4, 101.3, "end")],
        "equity": [1000] * 5,
    },
    "a tick that is no whole part of 1": {
        "bars": [100, 100, 100, 100],
        "orders": "L l . .",
        "rules": {"tick": 0.3},
        "trades": [("long", 1, 334 * 0.3, 2, 333 * 0.3, "signal")],
        "equity": [1000, 999.8, 999.7, 999.7],
    },
}

LIMITS: Table = {
    "a risk above the account is clipped": {
        "bars": [100, 100, 100],
        "orders": "L . .",
        "rules": {"sizing": "risk", "size": 0.5, "stop_loss": 0.01},
        "trades": [("long", 1, 100, 2, 100, "end", 10)],
        "equity": [1000] * 3,
        "clipped": 1,
    },
    "an add finds no free cash": {
        "bars": [100, 100, 100],
        "orders": "L L .",
        "rules": {"sizing": "equity_fraction", "pyramiding": 2},
        "trades": [("long", 1, 100, 2, 100, "end", 10)],
        "equity": [1000] * 3,
        "rejected": 1,
    },
    "a fixed size above the account is rejected": {
        "bars": [100, 100, 100],
        "orders": "L . .",
        "rules": {"size": 10.5},
        "trades": [],
        "equity": [1000] * 3,
        "rejected": 1,
    },
    "a risk without a stop on its bar is rejected": {
        "bars": [100, 100, 100],
        "orders": "L . .",
        "levels": {"stop_loss": 0},
        "rules": {"sizing": "risk"},
        "trades": [],
        "equity": [1000] * 3,
        "rejected": 1,
    },
    "margin and fee are the whole balance at any leverage": {
        "bars": [100, 100, 100],
        "orders": "L . .",
        "rules": {"sizing": "equity_fraction", "leverage": 20, "commission": 0.005},
        "trades": [("long", 1, 100, 2, 100, "end", 20_000 / 1.1 / 100, 1000 / 11 * 2)],
        "equity": [1000, 1000 - 1000 / 11, 1000 - 2000 / 11],
    },
}

LEVELS: Table = {
    "each side has its own stop": {
        "bars": [100, 100, 100, 100, (100, 100, 97, 98), 98],
        "orders": "L . S . . .",
        "rules": {"stop_loss": {"long": 0.01, "short": 0.02}},
        "trades": [("long", 1, 100, 3, 100, "reversal"), ("short", 3, 100, 5, 98, "end")],
        "equity": [1000, 1000, 1000, 1000, 1002, 1002],
    },
    "a side without a stop has none": {
        "bars": [100, 100, (100, 100, 90, 95), 95],
        "orders": "L . . .",
        "rules": {"stop_loss": {"short": 0.01}},
        "trades": [("long", 1, 100, 3, 95, "end")],
        "equity": [1000, 1000, 995, 995],
    },
    "levels of signals are those of the signal's bar": {
        "bars": [100, 100, (100, 100, 96, 97), 97],
        "orders": "L . . .",
        "levels": {"stop_loss": [97, 50, 50, 50]},
        "trades": [("long", 1, 100, 2, 97, "stop_loss")],
        "equity": [1000, 1000, 997, 997],
    },
    "a level that is not known is no entry": {
        "bars": [100, 100, 101, 102],
        "orders": "L L . .",
        "levels": {"take_profit": [np.nan, 200, 200, 200]},
        "trades": [("long", 2, 101, 3, 102, "end")],
        "equity": [1000, 1000, 1000, 1001],
    },
    "the levels of the other side may be unknown": {
        "bars": [100, 100, 101],
        "orders": "L . .",
        "levels": {"stop_loss": {"long": 50, "short": np.nan}},
        "trades": [("long", 1, 100, 2, 101, "end")],
        "equity": [1000, 1000, 1001],
    },
    "0 and infinity are no level": {
        "bars": [100, 100, (100, 150, 50, 100), 101],
        "orders": "L . . .",
        "levels": {"stop_loss": np.inf, "take_profit": 0, "trailing_stop": 0},
        "trades": [("long", 1, 100, 3, 101, "end")],
        "equity": [1000, 1000, 1000, 1001],
    },
    "minus infinity of an expression is a negative trailing distance": {
        "bars": [100, 100, 90, 90],
        "orders": "L . . .",
        "rules": {"trailing_stop": "log(0 * close)"},
        "trades": [],
        "equity": [1000] * 4,
    },
    "minus infinity is no level, as a trailing distance, too": {
        "bars": [100, 100, (100, 150, 50, 100), 101],
        "orders": "L . . .",
        "levels": {"stop_loss": -np.inf, "take_profit": -np.inf, "trailing_stop": -np.inf},
        "trades": [("long", 1, 100, 3, 101, "end")],
        "equity": [1000, 1000, 1000, 1001],
    },
    "a trailing distance below 0 is no entry": {
        "bars": [100, 100, 101],
        "orders": "L . .",
        "levels": {"trailing_stop": -1},
        "trades": [],
        "equity": [1000] * 3,
    },
    "a trailing distance of the signals": {
        "bars": [100, 100, (100, 105, 100, 105), (105, 105, 102, 102), 102],
        "orders": "L . . . .",
        "levels": {"trailing_stop": 2},
        "trades": [("long", 1, 100, 3, 103, "trailing_stop")],
        "equity": [1000, 1000, 1005, 1003, 1003],
    },
    "a size for each bar": {
        "bars": [100, 100, 100, 101, 101],
        "orders": "L L L . .",
        "levels": {"size": [2, np.nan, 3, 1, 1]},
        "rules": {"pyramiding": 3},
        "trades": [("long", 1, 100.6, 4, 101, "end", 5)],
        "equity": [1000, 1000, 1000, 1002, 1002],
    },
    "a level within a rounding error is touched and fills at the extreme": {
        "bars": [100, 100, (100, 110, 100, 105), 105],
        "orders": "L . . .",
        "rules": {"take_profit": 0.1},
        "trades": [("long", 1, 100, 2, 110, "take_profit")],
        "equity": [1000, 1000, 1010, 1010],
    },
    "a target is filled only through its level": {
        "bars": [100, 100, (100, 110.5, 100, 105), (105, 112, 105, 108), 108],
        "orders": "L . . . .",
        "rules": {"take_profit": 0.1, "limit_through": 0.01},
        "trades": [("long", 1, 100, 3, 110, "take_profit")],
        "equity": [1000, 1000, 1005, 1010, 1010],
    },
}

TABLES = {
    f"{part}: {claim}": case
    for part, table in (("fees", FEES), ("ticks", TICKS), ("limits", LIMITS), ("levels", LEVELS))
    for claim, case in table.items()
}


@pytest.mark.parametrize("claim", TABLES)
def test_prices_and_sizes_are_as_worked_out_by_hand(claim: str, engine: str, check_by_hand: Callable[..., None]) -> None:
    check_by_hand(engine, **TABLES[claim])
