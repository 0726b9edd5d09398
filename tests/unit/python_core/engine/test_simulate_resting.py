"""Entries that rest as limit and stop orders, worked out by hand. test_simulate.py describes the tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import python_core as bt

Table = dict[str, dict[str, Any]]

LONG = {"entry_expires": 9}
BUY_LIMIT: dict[str, Any] = {"levels": {"entry_limit": 98}, "rules": LONG}
FALL = [100, 100, (100, 101, 97, 99), 99]
# A long is open at bar 3, on which a resting order of the short side may fill.
OPEN_LONG: dict[str, Any] = {"orders": "L S . . .", "rules": LONG}

ORDERS: Table = {
    "a buy limit fills at its level, inside the bar": {
        **BUY_LIMIT,
        "bars": FALL,
        "orders": "L . . .",
        "trades": [("long", 2, 98, 3, 99, "end")],
        "equity": [1000, 1000, 1001, 1001],
    },
    "a sell limit fills above the market": {
        "bars": [100, 100, (100, 104, 99, 101), 101],
        "orders": "S . . .",
        "levels": {"entry_limit": 103},
        "rules": LONG,
        "trades": [("short", 2, 103, 3, 101, "end")],
        "equity": [1000, 1000, 1002, 1002],
    },
    "a buy stop fills above the market": {
        "bars": [100, 100, (100, 103, 99, 101), 101],
        "orders": "L . . .",
        "levels": {"entry_stop": 102},
        "rules": LONG,
        "trades": [("long", 2, 102, 3, 101, "end")],
        "equity": [1000, 1000, 999, 999],
    },
    "a sell stop slips": {
        "bars": FALL,
        "orders": "S . . .",
        "levels": {"entry_stop": 98},
        "rules": {**LONG, "slippage": 0.01},
        "trades": [("short", 2, 97.02, 3, 99.99, "end")],
        "equity": [1000, 1000, 1000 - 1.98, 1000 - 2.97],
    },
    "a fraction is one of the signal's close": {
        "bars": [(100, 110, 100, 110), 110, (110, 110, 107, 108), 108],
        "orders": "L . . .",
        "rules": {**LONG, "entry_limit": 0.02},
        "trades": [("long", 2, 107.8, 3, 108, "end")],
        "equity": [1000, 1000, 1000.2, 1000.2],
    },
    "a stop that the open jumps over fills at the open": {
        "bars": [100, 100, 105, 106],
        "orders": "L . . .",
        "levels": {"entry_stop": 102},
        "rules": LONG,
        "trades": [("long", 2, 105, 3, 106, "end")],
        "equity": [1000, 1000, 1000, 1001],
    },
    "a limit on its first open takes, but no worse than its level": {
        "bars": [100, 97, 97],
        "orders": "L . .",
        "levels": {"entry_limit": 98},
        "rules": {"slippage": 0.02, "commission": 0.01, "maker_fee": 0},
        "trades": [("long", 1, 98, 2, 95.06, "end", 1, 0.98 + 0.9506)],
        "equity": [1000, 1000 - 0.98 - 1, 1000 - 0.98 - 2.94 - 0.9506],
    },
    "a side without a level enters at the market": {
        "bars": [100, 100, 101],
        "orders": "L . .",
        "levels": {"entry_limit": {"short": 105}},
        "trades": [("long", 1, 100, 2, 101, "end")],
        "equity": [1000, 1000, 1001],
    },
    "0 and infinity enter at the market, what is below 0 or not known does not enter": {
        "bars": [100, 100, 101, 102, 103, 103],
        "orders": "L L L L . .",
        "levels": {"entry_limit": [0, np.inf, -5, np.nan, 98, 98]},
        "rules": {"pyramiding": 9},
        "trades": [("long", 1, 100.5, 5, 103, "end", 2)],
        "equity": [1000, 1000, 1001, 1003, 1005, 1005],
    },
    "market entries of both sides cancel, those that rest do not": {
        "bars": [100, 100, (100, 103, 99, 103), (103, 103, 97, 97), 97],
        "orders": "LS . . . .",
        "levels": {"entry_stop": {"long": 102, "short": 98}},
        "rules": LONG,
        # The fill of one removes the other.
        "trades": [("long", 2, 102, 4, 97, "end")],
        "equity": [1000, 1000, 1001, 995, 995],
    },
    "an entry that rests and one at the market cancel": {
        "bars": [100, 100, 97],
        "orders": "LS . .",
        "levels": {"entry_limit": {"long": 98}},
        "trades": [],
        "equity": [1000, 1000, 1000],
    },
    "an entry expires at the open of the next strategy bar": {
        "bars": FALL,
        "orders": "L . . .",
        "levels": {"entry_limit": 98},
        "trades": [],
        "equity": [1000, 1000, 1000, 1000],
        "expired": 1,
    },
    "an exit signal removes the entry of its side": {
        "bars": [100, 100, *FALL[1:]],
        "orders": "L l . . .",
        "levels": {"entry_limit": 98},
        "rules": LONG,
        "trades": [],
        "equity": [1000] * 5,
    },
    "an exit signal of the other side does not": {
        "bars": [100, 100, *FALL[1:]],
        "orders": "L s . . .",
        "levels": {"entry_limit": 98},
        "rules": LONG,
        "trades": [("long", 3, 98, 4, 99, "end")],
        "equity": [1000, 1000, 1000, 1001, 1001],
    },
    "a limit is filled only through its level": {
        "bars": [100, 100, (100, 101, 97.6, 99), (99, 99, 97, 98), 98],
        "orders": "L . . . .",
        "levels": {"entry_limit": 98},
        "rules": {**LONG, "limit_through": 0.005},
        "trades": [("long", 3, 98, 4, 98, "end")],
        "equity": [1000] * 5,
    },
}

BOTH_SIDES: Table = {
    "of two that are touched the nearer to the open fills": {
        "bars": [100, 100, (100, 103, 98, 101), 101],
        "orders": "LS . . .",
        "levels": {"entry_stop": {"long": 102, "short": 99}},
        "rules": LONG,
        "trades": [("short", 2, 99, 3, 101, "end")],
        "equity": [1000, 1000, 998, 998],
        "ambiguous": 1,
    },
    "of two that are as near the long one fills": {
        "bars": [100, 100, (100, 103, 97, 101), 101],
        "orders": "LS . . .",
        "levels": {"entry_stop": {"long": 102, "short": 98}},
        "rules": LONG,
        "trades": [("long", 2, 102, 3, 101, "end")],
        "equity": [1000, 1000, 999, 999],
        "ambiguous": 1,
    },
    "of two that the open touches the nearer fills": {
        "bars": [100, 100, 100, 100],
        "orders": "LS . . .",
        "levels": {"entry_limit": {"long": 103, "short": 99}},
        "rules": LONG,
        "trades": [("short", 1, 100, 3, 100, "end")],
        "equity": [1000, 1000, 1000, 1000],
    },
    "if the nearer is rejected the other fills": {
        "bars": [100, 100, (100, 102, 97, 99), 99],
        "orders": "LS . . .",
        "levels": {"entry_stop": {"long": 101, "short": 98}, "stop_loss": {"long": 105}},
        "rules": LONG,
        "trades": [("short", 2, 98, 3, 99, "end")],
        "equity": [1000, 1000, 999, 999],
        "rejected": 1,
        "ambiguous": 1,
    },
    "an opposite signal that rests does not close": {
        **OPEN_LONG,
        "bars": [100, 100, 100, (100, 101, 98, 99), 99],
        "levels": {"entry_stop": {"short": 97}},
        "trades": [("long", 1, 100, 4, 99, "end")],
        "equity": [1000, 1000, 1000, 999, 999],
    },
    "a stop reverses at its level": {
        **OPEN_LONG,
        "bars": [100, 100, 100, (100, 101, 95, 96), 96],
        "levels": {"entry_stop": {"short": 97}},
        "trades": [("long", 1, 100, 3, 97, "reversal"), ("short", 3, 97, 4, 96, "end")],
        "equity": [1000, 1000, 1000, 998, 998],
    },
    "a limit reverses as maker": {
        **OPEN_LONG,
        "bars": [100, 100, 100, (100, 106, 99, 104), 104],
        "levels": {"entry_limit": {"short": 105}},
        "rules": {**LONG, "commission": 0.01, "maker_fee": 0},
        "trades": [("long", 1, 100, 3, 105, "reversal", 1, 1), ("short", 3, 105, 4, 104, "end", 1, 1.04)],
        "equity": [1000, 999, 999, 1005, 1005 - 1.04],
    },
    "a reversal that is rejected closes all the same": {
        **OPEN_LONG,
        "bars": [100, 100, 100, (100, 101, 95, 96), 96],
        "levels": {"entry_stop": {"short": 97}, "stop_loss": {"short": 90}},
        "trades": [("long", 1, 100, 3, 97, "reversal")],
        "equity": [1000, 1000, 1000, 997, 997],
        "rejected": 1,
    },
    "a reversal at the open is at its price": {
        **OPEN_LONG,
        "bars": [100, 100, 100, 95, 96],
        "levels": {"entry_stop": {"short": 97}},
        "trades": [("long", 1, 100, 3, 95, "reversal"), ("short", 3, 95, 4, 96, "end")],
        "equity": [1000, 1000, 1000, 995, 994],
    },
    "a stop that is nearer closes, and nothing that rests fills after it in that bar": {
        **OPEN_LONG,
        "bars": [100, 100, 100, (100, 101, 94, 97), 97],
        "levels": {"entry_stop": {"short": 95}, "stop_loss": {"long": 96}},
        "trades": [("long", 1, 100, 3, 96, "stop_loss")],
        "equity": [1000, 1000, 1000, 996, 996],
    },
    "an entry that is nearer than the stop reverses first": {
        **OPEN_LONG,
        "bars": [100, 100, 100, (100, 101, 94, 97), 97],
        "levels": {"entry_stop": {"short": 97}, "stop_loss": {"long": 96}},
        "trades": [("long", 1, 100, 3, 97, "reversal"), ("short", 3, 97, 4, 97, "end")],
        "equity": [1000, 1000, 1000, 997, 997],
    },
    "at one price the stop comes before the entry": {
        **OPEN_LONG,
        "bars": [100, 100, 100, (100, 101, 94, 97), 97],
        "levels": {"entry_stop": {"short": 96}, "stop_loss": {"long": 96}},
        "trades": [("long", 1, 100, 3, 96, "stop_loss")],
        "equity": [1000, 1000, 1000, 996, 996],
    },
}

ADDS: Table = {
    "a limit adds to a position that has room": {
        "bars": [100, 100, 100, (100, 101, 97, 99), 99],
        "orders": "L L . . .",
        "levels": {"entry_limit": [0, 98, 0, 0, 0]},
        "rules": {**LONG, "pyramiding": 2},
        "trades": [("long", 1, 99, 4, 99, "end", 2)],
        "equity": [1000, 1000, 1000, 1000, 1000],
    },
    "an entry is not placed while the position has all its entries": {
        "bars": [100, 100, 100, (100, 101, 97, 99), 99],
        "orders": "L L . . .",
        "levels": {"entry_limit": [0, 98, 0, 0, 0]},
        "rules": LONG,
        "trades": [("long", 1, 100, 4, 99, "end")],
        "equity": [1000, 1000, 1000, 999, 999],
    },
    "the levels of an add are those of its signal, from the new average": {
        "bars": [100, 100, 100, (100, 101, 97, 99), (99, 99, 94, 96), 96],
        "orders": "L L . . . .",
        "levels": {"entry_limit": [0, 98, 0, 0, 0, 0]},
        "rules": {**LONG, "pyramiding": 2, "stop_loss": 0.05},
        "trades": [("long", 1, 99, 4, 99 * 0.95, "stop_loss", 2)],
        "equity": [1000, 1000, 1000, 1000, 1000 - 2 * 4.95, 1000 - 2 * 4.95],
    },
    "after an add only exits follow in its bar": {
        "bars": [100, 100, 100, (100, 101, 93, 99), 99],
        "orders": "L L . . .",
        "levels": {"entry_limit": [0, 98, 0, 0, 0]},
        "rules": {**LONG, "pyramiding": 2, "stop_loss": 0.05},
        "trades": [("long", 1, 99, 3, 99 * 0.95, "stop_loss", 2)],
        "equity": [1000, 1000, 1000, 1000 - 2 * 4.95, 1000 - 2 * 4.95],
    },
}

LIMIT: dict[str, Any] = {"orders": "L . . .", "levels": {"entry_limit": 98, "take_profit": 103}, "ambiguous": 1}
STOP: dict[str, Any] = {"orders": "L . . .", "levels": {"entry_stop": 102, "stop_loss": 98}, "ambiguous": 1}
TARGET_NOT_TAKEN: dict[str, Any] = {"trades": [("long", 2, 98, 3, 101, "end")], "equity": [1000, 1000, 1003, 1003]}
TARGET_TAKEN: dict[str, Any] = {"trades": [("long", 2, 98, 2, 103, "take_profit")], "equity": [1000, 1000, 1005, 1005]}
STOPPED: dict[str, Any] = {"trades": [("long", 2, 102, 2, 98, "stop_loss")], "equity": [1000, 1000, 996, 996]}
NOT_STOPPED: dict[str, Any] = {"trades": [("long", 2, 102, 3, 103, "end")], "equity": [1000, 1000, 1001, 1001]}
HIGH_IS_NEARER, LOW_IS_NEARER = (100, 104, 95, 101), (100, 106, 95, 101)

SAME_BAR: Table = {
    "pessimistic: after a limit the best price is the close": {
        **LIMIT,
        **TARGET_NOT_TAKEN,
        "bars": [100, 100, HIGH_IS_NEARER, 101],
        "rules": {**LONG, "intrabar": "pessimistic"},
    },
    "optimistic: after a limit the target is met": {
        **LIMIT,
        **TARGET_TAKEN,
        "bars": [100, 100, HIGH_IS_NEARER, 101],
        "rules": {**LONG, "intrabar": "optimistic"},
    },
    "path: the high came before the limit": {
        **LIMIT,
        **TARGET_NOT_TAKEN,
        "bars": [100, 100, HIGH_IS_NEARER, 101],
        "rules": {**LONG, "intrabar": "path"},
    },
    "path: the high came after the limit": {
        **LIMIT,
        **TARGET_TAKEN,
        "bars": [100, 100, LOW_IS_NEARER, 101],
        "rules": {**LONG, "intrabar": "path"},
    },
    "pessimistic: after a stop entry the worst price is the low": {
        **STOP,
        **STOPPED,
        "bars": [100, 100, (100, 104, 97, 103), 103],
        "rules": {**LONG, "intrabar": "pessimistic"},
    },
    "optimistic: after a stop entry the worst price is the close": {
        **STOP,
        **NOT_STOPPED,
        "bars": [100, 100, (100, 104, 97, 103), 103],
        "rules": {**LONG, "intrabar": "optimistic"},
    },
    "path: the low came before the stop entry": {
        **STOP,
        **NOT_STOPPED,
        "bars": [100, 100, (100, 104, 97, 103), 103],
        "rules": {**LONG, "intrabar": "path"},
    },
    "path: the low came after the stop entry": {
        **STOP,
        **STOPPED,
        "bars": [100, 100, (100, 104, 95, 103), 103],
        "rules": {**LONG, "intrabar": "path"},
    },
    "a stop fills no better than the entry of its bar": {
        # Bought at 100, slipped to 102; the stop at 101 fills at 100, slipped to 98.
        "bars": [99, 99, (99, 103, 98, 103), 103],
        "orders": "L . . .",
        "levels": {"entry_stop": 100, "stop_loss": 101},
        "rules": {**LONG, "slippage": 0.02},
        "trades": [("long", 2, 102, 2, 98, "stop_loss")],
        "equity": [1000, 1000, 996, 996],
        "ambiguous": 1,
    },
    "what surely came after the fill is not ambiguous": {
        "bars": [100, 100, (100, 101, 95, 99), 99],
        "orders": "L . . .",
        "levels": {"entry_limit": 98, "stop_loss": 96},
        "rules": LONG,
        "trades": [("long", 2, 98, 2, 96, "stop_loss")],
        "equity": [1000, 1000, 998, 998],
    },
}

TABLES = {
    f"{part}: {claim}": case
    for part, table in (("orders", ORDERS), ("both sides", BOTH_SIDES), ("adds", ADDS), ("same bar", SAME_BAR))
    for claim, case in table.items()
}


@pytest.mark.parametrize("claim", TABLES)
def test_resting_entries_fill_as_worked_out_by_hand(claim: str, engine: str, check_by_hand: Callable[..., None]) -> None:
    check_by_hand(engine, **TABLES[claim])


@pytest.mark.parametrize(
    ("levels", "signal", "mae", "mfe"),
    [
        ({"entry_limit": 98}, "L", -3 / 98, 6 / 98),
        ({"entry_limit": 102}, "S", -2 / 102, 7 / 102),
        ({"entry_stop": 102}, "L", -3 / 102, 2 / 102),
        ({"entry_stop": 98}, "S", -6 / 98, 3 / 98),
    ],
    ids=str,
)
def test_excursions_of_an_entry_inside_a_bar_begin_after_it(
    levels: dict[str, float],
    signal: str,
    mae: float,
    mfe: float,
    engine: str,
    make_bars: Callable[..., bt.Bars],
    read_signals: Callable[..., bt.Signals],
) -> None:
    # After a limit the low (of a long) and the close, 100, are certain; then the bar 99 to 104. After a stop entry the high and the close.
    second = {"L": (100, 104, 99, 100), "S": (100, 104, 95, 100)}[signal]
    bars = make_bars([100, 100, (100, 103, 95, 100), second])
    (trade,) = bt.simulate(bars, read_signals(f"{signal} . . .", **levels), bt.Execution(entry_expires=9), engine=engine).trades
    assert (trade.mae, trade.mfe) == pytest.approx((mae, mfe))
