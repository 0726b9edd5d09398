"""Orders and fills, worked out by hand: when a signal becomes a trade, and at what price.

A bar is one price or (open, high, low, close). Orders are one word for each bar: L enters long, l exits long, S and s are for short.
Trades are (side, entry bar, entry price, exit bar, exit price, reason, quantity, fees, funding). Capital is 1000, quantity 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import python_core as bt

Table = dict[str, dict[str, Any]]

FILLS: Table = {
    "a signal becomes an order that fills at the next open": {
        "bars": [100, (101, 103, 99, 102), (104, 105, 103, 104), (106, 107, 105, 106)],
        "orders": "L . l .",
        "trades": [("long", 1, 101, 3, 106, "signal")],
        "equity": [1000, 1000 + (102 - 101), 1000 + (104 - 101), 1000 + (106 - 101)],
    },
    "a short earns the fall of the price": {
        "bars": [100, (101, 103, 99, 102), (98, 99, 97, 97), 95],
        "orders": "S . s .",
        "trades": [("short", 1, 101, 3, 95, "signal")],
        "equity": [1000, 1000 - (102 - 101), 1000 - (97 - 101), 1000 + 6],
    },
    "commission is a fraction of each fill's notional": {
        "bars": [100, 100, 110, 110],
        "orders": "L l . .",
        "rules": {"commission": 0.01},
        "trades": [("long", 1, 100, 2, 110, "signal", 1, 1 + 1.1)],
        "equity": [1000, 1000 - 1, 1000 - 1 + 10 - 1.1, 1000 - 1 + 10 - 1.1],
    },
    "market orders of a long slip up on entry and down on exit": {
        "bars": [100, 100, 110, 110],
        "orders": "L l . .",
        "rules": {"slippage": 0.01},
        "trades": [("long", 1, 101, 2, 110 - 1.1, "signal")],
        "equity": [1000, 1000 - 1, 1000 + 108.9 - 101, 1000 + 108.9 - 101],
    },
    "market orders of a short slip down on entry and up on exit": {
        "bars": [100, 100, 90, 90],
        "orders": "S s . .",
        "rules": {"slippage": 0.01},
        "trades": [("short", 1, 99, 2, 90 + 0.9, "signal")],
        "equity": [1000, 1000 - 1, 1000 + 99 - 90.9, 1000 + 99 - 90.9],
    },
    "commission applies to the price after slippage": {
        "bars": [100, 100, 200, 200],
        "orders": "L l . .",
        "rules": {"slippage": 0.1, "commission": 0.1},
        "trades": [("long", 1, 110, 2, 180, "signal", 1, 11 + 18)],
        "equity": [1000, 1000 - 11 - 10, 1000 - 11 + 70 - 18, 1000 - 11 + 70 - 18],
    },
    "without signals nothing happens": {
        "bars": [100, (100, 150, 50, 120), 90],
        "orders": ". . .",
        "trades": [],
        "equity": [1000, 1000, 1000],
    },
    "an order before a gap in time fills at the first bar after it": {
        "bars": [100, 105, 110],
        "times": [0, 7, 8],
        "orders": "L l .",
        "trades": [("long", 1, 105, 2, 110, "signal")],
        "equity": [1000, 1000, 1005],
    },
}

ORDER_OF_THINGS: Table = {
    "an exit and an entry of the side that is open cancel each other": {
        "bars": [100, 100, 110, 115, 115],
        "orders": "L Ll . l .",
        "rules": {"commission": 0.01},
        "trades": [("long", 1, 100, 4, 115, "signal", 1, 1 + 1.15)],
        "equity": [1000, 999, 999 + 10, 999 + 15, 999 + 15 - 1.15],
    },
    "an exit and an entry of a side that is not open are an entry": {
        "bars": [100, 100, 110, 115, 115],
        "orders": "Ll S Ll s .",
        "trades": [("long", 1, 100, 2, 110, "reversal"), ("short", 2, 110, 3, 115, "reversal"), ("long", 3, 115, 4, 115, "end")],
        "equity": [1000, 1000, 1010, 1005, 1005],
    },
    "an opposite entry closes and then opens at the same open": {
        "bars": [100, 100, 110, 105, 105],
        "orders": "L S . s .",
        "trades": [("long", 1, 100, 2, 110, "reversal"), ("short", 2, 110, 4, 105, "signal")],
        "equity": [1000, 1000, 1010, 1010 + 5, 1010 + 5],
    },
    "a reversal slips on both of its orders": {
        "bars": [100, 100, 100, 100],
        "orders": "S L . .",
        "rules": {"slippage": 0.1},
        "trades": [("short", 1, 90, 2, 110, "reversal"), ("long", 2, 110, 3, 90, "end")],
        "equity": [1000, 1000 - 10, 1000 - 20 - 10, 1000 - 20 - 20],
    },
    "an exit and an opposite entry of one bar are an exit by signal, then an entry": {
        "bars": [100, 100, 110, 105, 105],
        "orders": "L Sl . s .",
        "trades": [("long", 1, 100, 2, 110, "signal"), ("short", 2, 110, 4, 105, "signal")],
        "equity": [1000, 1000, 1010, 1015, 1015],
    },
    "an exit of the other side changes nothing": {
        "bars": [100, 100, 110, 120],
        "orders": "L s s .",
        "trades": [("long", 1, 100, 3, 120, "end")],
        "equity": [1000, 1000, 1010, 1020],
    },
    "an entry and an opposite entry cancel each other": {
        "bars": [100, 100, 110],
        "orders": "LS . .",
        "trades": [],
        "equity": [1000, 1000, 1000],
    },
    "entries that cancel each other don't reverse a position": {
        "bars": [100, 100, 110, 120],
        "orders": "L LS . .",
        "trades": [("long", 1, 100, 3, 120, "end")],
        "equity": [1000, 1000, 1010, 1020],
    },
    "an exit is executed even if the entries of its bar cancel each other": {
        "bars": [100, 100, 110, 120],
        "orders": "L LSl . .",
        "trades": [("long", 1, 100, 2, 110, "signal")],
        "equity": [1000, 1000, 1010, 1010],
    },
    "an entry on the side of the open position is ignored": {
        "bars": [100, 100, 110, 120],
        "orders": "L L L .",
        "trades": [("long", 1, 100, 3, 120, "end")],
        "equity": [1000, 1000, 1010, 1020],
    },
}

PYRAMIDING: Table = {
    "entries add up to one position at their average price": {
        "bars": [100, 100, 110, 120, 120],
        "orders": "L L . l .",
        "rules": {"pyramiding": 2, "commission": 0.01},
        "trades": [("long", 1, 105, 4, 120, "signal", 2, 1 + 1.1 + 2.4)],
        "equity": [1000, 999, 999 - 1.1 + 10, 999 - 1.1 + 30, 999 - 1.1 + 30 - 2.4],
    },
    "no more entries than allowed": {
        "bars": [100, 100, 110, 150, 120],
        "orders": "S S S S .",
        "rules": {"pyramiding": 2},
        "trades": [("short", 1, 105, 4, 120, "end", 2)],
        "equity": [1000, 1000, 1000 - 10, 1000 - 50 - 40, 1000 - 20 - 10],
    },
    "the average price is weighted by quantity": {
        "bars": [100, 100, 200, 150, 150],
        "orders": "L L . l .",
        "rules": {"pyramiding": 2, "sizing": "fixed_notional", "size": 400},
        "trades": [("long", 1, (4 * 100 + 2 * 200) / 6, 4, 150, "signal", 6)],
        "equity": [1000, 1000, 1000 + 4 * 100, 1000 + 4 * 50 - 2 * 50, 1000 + 6 * 150 - 4 * 100 - 2 * 200],
    },
    "a reversal closes all entries": {
        "bars": [100, 100, 110, 120, 120],
        "orders": "L L S . .",
        "rules": {"pyramiding": 3},
        "trades": [("long", 1, 105, 3, 120, "reversal", 2), ("short", 3, 120, 4, 120, "end")],
        "equity": [1000, 1000, 1010, 1030, 1030],
    },
}

FILL_AT_CLOSE: Table = {
    "orders fill at the close of their own bar": {
        "bars": [(100, 101, 99, 100), (105, 111, 104, 110), 120],
        "orders": "L l .",
        "rules": {"fill": "close", "commission": 0.01},
        "trades": [("long", 0, 100, 1, 110, "signal", 1, 1 + 1.1)],
        "equity": [999, 999 + 10 - 1.1, 999 + 10 - 1.1],
    },
    "fills at the close slip": {
        "bars": [100, 120, 120],
        "orders": "S s .",
        "rules": {"fill": "close", "slippage": 0.1},
        "trades": [("short", 0, 90, 1, 132, "signal")],
        "equity": [1000 - 10, 1000 + 90 - 132, 1000 + 90 - 132],
    },
    "a stop can't be hit in the bar at whose close the entry fills": {
        "bars": [(100, 150, 50, 100), (100, 101, 99, 100), (100, 101, 89, 95), 95],
        "orders": "L . . .",
        "rules": {"fill": "close", "stop_loss": 0.1},
        "trades": [("long", 0, 100, 2, 90, "stop_loss")],
        "equity": [1000, 1000, 1000 - 10, 1000 - 10],
    },
    "a stop inside a bar leaves room for an entry at its close": {
        "bars": [100, (100, 101, 89, 95), 97, 97],
        "orders": "L L . .",
        "rules": {"fill": "close", "stop_loss": 0.1},
        "trades": [("long", 0, 100, 1, 90, "stop_loss"), ("long", 1, 95, 3, 97, "end")],
        "equity": [1000, 1000 - 10, 1000 - 10 + 2, 1000 - 10 + 2],
    },
    "a reversal closes and opens at one close": {
        "bars": [100, 110, 105, 105],
        "orders": "L S s .",
        "rules": {"fill": "close"},
        "trades": [("long", 0, 100, 1, 110, "reversal"), ("short", 1, 110, 2, 105, "signal")],
        "equity": [1000, 1010, 1015, 1015],
    },
}

END_OF_DATA: Table = {
    "an open position is closed at the last close, with fee and slippage": {
        "bars": [100, 100, (110, 120, 100, 115)],
        "orders": "L . .",
        "rules": {"commission": 0.01, "slippage": 0.1},
        "trades": [("long", 1, 110, 2, 115 - 11.5, "end", 1, 1.1 + 1.035)],
        "equity": [1000, 1000 - 1.1 - 10, 1000 - 1.1 + (103.5 - 110) - 1.035],
    },
    "a signal on the last bar has no fill at the next open": {
        "bars": [100, 110, 120],
        "orders": ". . L",
        "trades": [],
        "equity": [1000, 1000, 1000],
    },
    "a signal on the last bar opens nothing at its close": {
        "bars": [100, 110, 120],
        "orders": "L . lS",
        "rules": {"fill": "close"},
        "trades": [("long", 0, 100, 2, 120, "end")],
        "equity": [1000, 1010, 1020],
    },
    "an order may fill at the last open and its position end at the last close": {
        "bars": [100, 100, (110, 120, 100, 115)],
        "orders": ". L .",
        "trades": [("long", 2, 110, 2, 115, "end")],
        "equity": [1000, 1000, 1005],
    },
    "one bar makes no trade": {
        "bars": [100],
        "orders": "L",
        "trades": [],
        "equity": [1000],
    },
}

TIME_STOP: Table = {
    "a position is closed at the open after max_bars bars": {
        "bars": [100, 101, 102, 103, 104],
        "orders": "L . . . .",
        "rules": {"max_bars": 2, "slippage": 0.1},
        "trades": [("long", 1, 111.1, 3, 92.7, "time")],
        "equity": [1000, 1000 + 101 - 111.1, 1000 + 102 - 111.1, 1000 + 92.7 - 111.1, 1000 + 92.7 - 111.1],
    },
    "a signal at the same open takes precedence as the reason": {
        "bars": [100, 101, 102, 103, 104],
        "orders": "L l . . .",
        "rules": {"max_bars": 1},
        "trades": [("long", 1, 101, 2, 102, "signal")],
        "equity": [1000, 1000, 1001, 1001, 1001],
    },
    "a same-side entry at that open opens a new position": {
        "bars": [100, 101, 102, 103, 104],
        "orders": "L L . . .",
        "rules": {"max_bars": 1},
        "trades": [("long", 1, 101, 2, 102, "time"), ("long", 2, 102, 3, 103, "time")],
        "equity": [1000, 1000, 1001, 1002, 1002],
    },
    "an exit and an entry of its side at that open count neither": {
        "bars": [100, 101, 102, 103, 104],
        "orders": "L Ll . . .",
        "rules": {"max_bars": 1},
        "trades": [("long", 1, 101, 2, 102, "time")],
        "equity": [1000, 1000, 1001, 1001, 1001],
    },
    "after a fill at the close, the bars count from the next open": {
        "bars": [100, 101, 102, 103, 104],
        "orders": "L . . . .",
        "rules": {"max_bars": 1, "fill": "close"},
        "trades": [("long", 0, 100, 2, 102, "time")],
        "equity": [1000, 1001, 1002, 1002, 1002],
    },
    "time counts from the first entry": {
        "bars": [100, 100, 110, 120, 130],
        "orders": "L L . . .",
        "rules": {"max_bars": 2, "pyramiding": 2},
        "trades": [("long", 1, 105, 3, 120, "time", 2)],
        "equity": [1000, 1000, 1010, 1030, 1030],
    },
}

TABLES = {**FILLS, **ORDER_OF_THINGS, **PYRAMIDING, **FILL_AT_CLOSE, **END_OF_DATA, **TIME_STOP}


@pytest.mark.parametrize("claim", TABLES)
def test_orders_fill_as_worked_out_by_hand(claim: str, engine: str, check_by_hand: Callable[..., None]) -> None:
    check_by_hand(engine, **TABLES[claim])


# Rows: bars, orders, rules, and the adverse and favourable excursion of the one trade, as fractions of the entry.
EXCURSIONS: dict[str, tuple[Any, ...]] = {
    "a long: lowest low, highest high": (
        [100, (100, 104, 97, 101), (101, 112, 95, 110), 108],
        "L . l .",
        {},
        (95 - 100) / 100,
        (112 - 100) / 100,
    ),
    "a short: the opposite": (
        [100, (100, 104, 97, 101), (101, 112, 95, 110), 108],
        "S . s .",
        {},
        -(112 - 100) / 100,
        -(95 - 100) / 100,
    ),
    "the entry price is the smallest of both": ([100, (100, 110, 100, 105), 105], "L l .", {}, 0, 0.1),
    "excursions count from the fill price, after slippage": (
        [100, 100, (100, 100, 90, 100), 100],
        "L . l .",
        {"slippage": 0.25},
        (75 - 125) / 125,
        0,
    ),
    "the exit bar counts up to its fill only": (
        [100, (100, 103, 98, 100), (100, 130, 80, 100), 100],
        "L . . .",
        {"stop_loss": 0.1},
        -0.1,
        0.03,
    ),
    "a gap's exit at the open counts": ([100, (100, 103, 98, 100), (70, 130, 60, 100), 100], "L . . .", {"stop_loss": 0.1}, -0.3, 0.03),
    "the last bar counts in full": ([100, (100, 103, 98, 100), (100, 130, 80, 100)], "L . .", {}, -0.2, 0.3),
    "with a fill at the close, its bar does not count": (
        [(100, 200, 50, 100), (100, 103, 98, 101), 101],
        "L l .",
        {"fill": "close"},
        -0.02,
        0.03,
    ),
    "excursions count from the average entry": (
        [100, 100, (200, 240, 60, 200), 200],
        "L L . .",
        {"pyramiding": 2},
        (60 - 150) / 150,
        (240 - 150) / 150,
    ),
}


@pytest.mark.parametrize("claim", EXCURSIONS)
def test_excursions_are_as_worked_out_by_hand(
    claim: str, engine: str, make_bars: Callable[..., bt.Bars], read_signals: Callable[[str], bt.Signals]
) -> None:
    bars, orders, rules, mae, mfe = EXCURSIONS[claim]
    execution = bt.Execution(**{"initial_capital": 1000, "commission": 0, "sizing": "fixed_quantity", "size": 1, **rules})
    (trade,) = bt.simulate(make_bars(bars), read_signals(orders), execution, engine=engine).trades
    assert (trade.mae, trade.mfe) == pytest.approx((mae, mfe), abs=1e-15)


def test_columns_of_trades_are_those_of_their_array(
    engine: str, make_bars: Callable[..., bt.Bars], read_signals: Callable[[str], bt.Signals]
) -> None:
    trades = bt.simulate(make_bars([100, 100, 110, 120, 90, 95]), read_signals("L . l L . ."), engine=engine).trades
    assert len(trades) == 2
    first = {name: trades.column(name).copy() for name in ("net", "mae", "mfe")}
    for name, column in first.items():
        assert column.tolist() == trades.array[name].tolist()
        assert not np.isnan(column).any()
    with pytest.raises(KeyError, match=r"no column 'pnl'.*entry_time.*mfe"):
        trades.column("pnl")


def test_a_trade_has_its_times_and_duration(
    engine: str, make_bars: Callable[..., bt.Bars], read_signals: Callable[[str], bt.Signals]
) -> None:
    bars = make_bars([100, 100, 110, 120], times=[0, 1, 5, 6])
    (trade,) = bt.simulate(bars, read_signals("L . l ."), engine=engine).trades
    assert (trade.entry_time, trade.exit_time) == (bars.time[1], bars.time[3])
    assert trade.bars_held == 2


def test_all_signals_on_every_bar_make_no_trade(engine: str, make_bars: Callable[..., bt.Bars]) -> None:
    bars = make_bars(np.linspace(100, 120, 500).tolist())
    always = np.ones(500, dtype=bool)
    result = bt.simulate(bars, bt.Signals(always, always, always, always), engine=engine)
    assert len(result.trades) == 0
    assert (result.equity == 10_000).all()
