"""A strategy on longer bars than the data, worked out by hand. test_simulate.py describes the tables.

The bars are minutes from 00:00, or days from Monday 2024-01-01 where the row says so; the strategies run on 5m, 3d, 1w and 1M.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import python_core as bt

Table = dict[str, dict[str, Any]]

MINUTE, DAY = 60_000, 86_400_000
MONDAY = 1_704_067_200_000


def strategy(timeframe: str, **texts: str) -> bt.Strategy:
    return bt.Strategy(**texts, timeframe=timeframe)


FIVE_MINUTES: Table = {
    "an order fills at the first minute after its bar": {
        # The first five minutes close above their open, the second five below.
        "bars": [100, 100, 100, 100, 103, 104, 105, 99, 99, 100, 101, 102],
        "strategy": strategy("5m", entry_long="close > open", exit_long="close < open"),
        "trades": [("long", 5, 104, 10, 101, "signal")],
        "equity": [1000] * 6 + [1001, 995, 995, 996, 997, 997],
    },
    "a stop fills in its minute, at its level": {
        "bars": [100, 100, 100, 100, 103, 100, 100, (100, 101, 88, 99), 120, 120, 120],
        "strategy": strategy("5m", entry_long="close > open"),
        "rules": {"stop_loss": 0.1},
        "trades": [("long", 5, 100, 7, 90, "stop_loss"), ("long", 10, 120, 10, 120, "end")],
        "equity": [1000] * 7 + [990] * 4,
    },
    "a 5m bar has the open, high, low, close and volume of its minutes": {
        "bars": [(100, 104, 100, 101), (101, 107, 99, 100), (100, 101, 95, 99), 100, 103, 100, 100],
        "volume": [1, 2, 4, 8, 16, 32, 64],
        "strategy": strategy("5m", entry_long="open == 100 and high == 107 and low == 95 and close == 103 and volume == 31"),
        "trades": [("long", 5, 100, 6, 100, "end")],
        "equity": [1000] * 7,
    },
    "an incomplete last bar gives no signal": {
        "bars": [100, 100, 100, 100, 100, 100, 101, 102, 103],
        "strategy": strategy("5m", entry_long="close > open"),
        "trades": [],
        "equity": [1000] * 9,
    },
    "a signal on the last complete bar fills nothing": {
        "bars": [100, 100, 100, 100, 103],
        "strategy": strategy("5m", entry_long="close > open"),
        "rules": {"fill": "close"},
        "trades": [],
        "equity": [1000] * 5,
    },
    "a bar whose last minutes are missing closes before the next existing minute": {
        "times": [0, 1, 2, 12, 13],
        "bars": [100, 101, 102, 110, 111],
        "strategy": strategy("5m", entry_long="close > open"),
        "trades": [("long", 3, 110, 4, 111, "end")],
        "equity": [1000, 1000, 1000, 1000, 1001],
    },
    "a first bar without its early minutes is made of the others": {
        "times": [3, 4, 5, 6],
        "bars": [100, 101, 102, 110],
        "strategy": strategy("5m", entry_long="close > open"),
        "trades": [("long", 2, 102, 3, 110, "end")],
        "equity": [1000, 1000, 1000, 1008],
    },
    "bars are aligned to the clock, not to the first minute": {
        "start": MONDAY + 2 * MINUTE,
        "bars": [100, 101, 102, 110, 100, 100, 100, 90, 120],
        "strategy": strategy("5m", entry_long="close > open", exit_long="close < open"),
        "trades": [("long", 3, 110, 8, 120, "signal")],
        "equity": [1000] * 4 + [990, 990, 990, 980, 1010],
    },
    "five minutes without data make no bar": {
        # 00:00 and 00:10 closed at 100 and 101; close[1] is the bar before, not the five minutes before.
        "times": [0, 4, 10, 14, 15, 16],
        "bars": [99, 100, 100, 101, 102, 103],
        "strategy": strategy("5m", entry_long="close == 101 and close[1] == 100"),
        "trades": [("long", 4, 102, 5, 103, "end")],
        "equity": [1000, 1000, 1000, 1000, 1000, 1001],
    },
    "a fill at the close is at the close of the last minute": {
        "bars": [100, 100, 100, 100, 103, 104, 105],
        "strategy": strategy("5m", entry_long="close > open"),
        "rules": {"fill": "close"},
        "trades": [("long", 4, 103, 6, 105, "end")],
        "equity": [1000, 1000, 1000, 1000, 1000, 1001, 1002],
    },
    "a fill at the close is at the close of the last minute that exists": {
        "times": [0, 1, 2, 3, 5, 6],
        "bars": [100, 100, 100, 103, 104, 105],
        "strategy": strategy("5m", entry_long="close > open"),
        "rules": {"fill": "close"},
        "trades": [("long", 3, 103, 5, 105, "end")],
        "equity": [1000, 1000, 1000, 1000, 1001, 1002],
    },
    "many bars without their last minute fill at the close of the last one, too": {
        "times": [5 * k + minute for k in range(400) for minute in (0, 1)],
        "bars": [price for _ in range(200) for price in (100, 101, 101, 100)],
        "strategy": strategy("5m", entry_long="close > open", exit_long="close < open"),
        "rules": {"fill": "close"},
        "trades": [("long", 4 * k + 1, 101, 4 * k + 3, 100, "signal") for k in range(199)] + [("long", 797, 101, 799, 100, "end")],
        "equity": [1000 - k + lost for k in range(200) for lost in (0, 0, 0, -1)],
    },
    "a time stop counts the strategy's bars": {
        "bars": [100, 100, 100, 100, 103, 100, 100, 100, 100, 100, 105, 106],
        "strategy": strategy("5m", entry_long="close > open"),
        "rules": {"max_bars": 1},
        "trades": [("long", 5, 100, 10, 105, "time")],
        "equity": [1000] * 10 + [1005, 1005],
    },
    "an ATR is of the strategy's bars": {
        # True ranges of the bars at 00:05 and 00:10: 4 and 8.
        "bars": [100] * 5 + [(100, 102, 98, 100)] * 5 + [(100, 104, 96, 100)] * 4 + [102] + [100, (100, 101, 87, 90), 90],
        "strategy": strategy("5m", entry_long="close > open"),
        "rules": {"stop_loss": bt.Atr(multiple=2, period=2)},
        "trades": [("long", 15, 100, 16, 100 - 2 * 6, "stop_loss")],
        "equity": [1000] * 16 + [988, 988],
    },
    "a level frozen at entry is of the strategy bar": {
        "bars": [100, (100, 100, 95, 100), 100, 100, 103, 100, (100, 100, 94, 98), 98],
        "strategy": strategy("5m", entry_long="close > open"),
        "rules": {"stop_loss": "low"},
        "trades": [("long", 5, 100, 6, 95, "stop_loss")],
        "equity": [1000] * 6 + [995, 995],
    },
    "a trailing stop follows minutes": {
        "bars": [100, 100, 100, 100, 103, 100, (100, 120, 99, 119), (119, 119, 107, 110), 110],
        "strategy": strategy("5m", entry_long="close > open"),
        "rules": {"trailing_stop": 0.1},
        "trades": [("long", 5, 100, 7, 108, "trailing_stop")],
        "equity": [1000] * 6 + [1019, 1008, 1008],
    },
}

WEEKS: Table = {
    "a week runs from Monday to Sunday": {
        # 2024-01-03 is a Wednesday: Sunday is bar 4, Monday bar 5.
        "start": MONDAY + 2 * DAY,
        "bars": [100, 100, 100, 100, 103, 104, 105, 106],
        "strategy": strategy("1w", entry_long="close > open"),
        "trades": [("long", 5, 104, 7, 106, "end")],
        "equity": [1000] * 6 + [1001, 1002],
    },
    "a week ends with its Sunday": {
        "bars": [100, 100, 100, 100, 100, 100, 103, 104, 105],
        "strategy": strategy("1w", entry_long="close > open"),
        "rules": {"fill": "close"},
        "trades": [("long", 6, 103, 8, 105, "end")],
        "equity": [1000] * 7 + [1001, 1002],
    },
    "six days don't make a week": {
        "bars": [100, 100, 100, 100, 100, 103],
        "strategy": strategy("1w", entry_long="close > open"),
        "trades": [],
        "equity": [1000] * 6,
    },
}

MONTHS: Table = {
    "a month runs from its first day to its last, in a leap year too": {
        # From 2024-02-27 on: February ends with bar 2.
        "start": MONDAY + 57 * DAY,
        "bars": [100, 100, 103, 104, 105],
        "strategy": strategy("1M", entry_long="close > open"),
        "trades": [("long", 3, 104, 4, 105, "end")],
        "equity": [1000, 1000, 1000, 1000, 1001],
    },
    "28 days of February don't make a month in a leap year": {
        "start": MONDAY + 31 * DAY,
        "bars": [100] * 27 + [103],
        "strategy": strategy("1M", entry_long="close > open"),
        "trades": [],
        "equity": [1000] * 28,
    },
    "a month without its last days ends before the next existing day": {
        "start": MONDAY + 29 * DAY,
        "times": [0, 5, 6],
        "bars": [(100, 103, 100, 103), 110, 111],
        "strategy": strategy("1M", entry_long="close > open"),
        "trades": [("long", 1, 110, 2, 111, "end")],
        "equity": [1000, 1000, 1001],
    },
    "an order on months may fill at the close of the last day": {
        "start": MONDAY + 29 * DAY,
        "bars": [100, 103, 104, 105],
        "strategy": strategy("1M", entry_long="close > open"),
        "rules": {"fill": "close"},
        "trades": [("long", 1, 103, 3, 105, "end")],
        "equity": [1000, 1000, 1001, 1002],
    },
    "three days are aligned to 1970-01-01": {
        # 2024-01-01 is day 19723 = 3 * 6574 + 1, so that bar 1 is the last of its three days.
        "bars": [100, 103, 104, 105, 105],
        "strategy": strategy("3d", entry_long="close > open"),
        "trades": [("long", 2, 104, 4, 105, "end")],
        "equity": [1000, 1000, 1000, 1001, 1001],
    },
}

TABLES = {
    **{claim: {"step": MINUTE, **case} for claim, case in FIVE_MINUTES.items()},
    **{claim: {"step": DAY, **case} for claim, case in (WEEKS | MONTHS).items()},
}


@pytest.mark.parametrize("claim", TABLES)
def test_a_strategy_on_longer_bars_trades_as_worked_out_by_hand(claim: str, engine: str, check_by_hand: Callable[..., None]) -> None:
    check_by_hand(engine, **TABLES[claim])


@pytest.mark.parametrize(
    ("base", "timeframe"), [("5m", "3m"), ("3m", "5m"), ("4h", "6h"), ("1d", "12h"), ("45m", "1h"), ("3d", "1w"), ("1w", "1M")]
)
def test_a_timeframe_that_the_bars_do_not_fit_into_is_rejected(
    base: str, timeframe: str, engine: str, make_bars: Callable[..., bt.Bars]
) -> None:
    bars = make_bars([100, 101, 102], step=7 * DAY, timeframe=base)
    with pytest.raises(
        bt.StrategyError, match=f"^timeframe: {timeframe} bars can't be built from {base} bars; {base} bars fit into {base}"
    ):
        bt.backtest(bars, strategy(timeframe, entry_long="close > open"), engine=engine)
