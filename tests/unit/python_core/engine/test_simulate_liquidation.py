"""Liquidation and ruin, worked out by hand. test_simulate.py describes the tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Table = dict[str, dict[str, Any]]

# At leverage 10 and a maintenance margin of 0.02, a position from 100 is liquidated 8 % away and settled 10 % away.
TENFOLD = {"leverage": 10, "maintenance_margin": 0.02}
LIQUIDATION: Table = {
    "a liquidated long loses its margin and pays no exit fee": {
        "bars": [100, 100, (100, 101, 92, 99), 99],
        "orders": "L . . .",
        "rules": {**TENFOLD, "commission": 0.01},
        "trades": [("long", 1, 100, 2, 90, "liquidation", 1, 1)],
        "equity": [1000, 999, 999 - 10, 999 - 10],
    },
    "a short is liquidated above its entry": {
        "bars": [100, 100, (100, 108, 92, 99), 99],
        "orders": "S . . .",
        "rules": TENFOLD,
        "trades": [("short", 1, 100, 2, 110, "liquidation")],
        "equity": [1000, 1000, 990, 990],
    },
    "a liquidation has no slippage": {
        "bars": [100, 100, (100, 101, 80, 99), 99],
        "orders": "L . . .",
        "rules": {**TENFOLD, "slippage": 0.01},
        "trades": [("long", 1, 101, 2, 90.9, "liquidation")],
        "equity": [1000, 999, 1000 - 10.1, 1000 - 10.1],
    },
    "no liquidation before its level": {
        "bars": [100, 100, (100, 107.99, 92.01, 99), 99],
        "orders": "L . . .",
        "rules": TENFOLD,
        "trades": [("long", 1, 100, 3, 99, "end")],
        "equity": [1000, 1000, 999, 999],
    },
    "a liquidation can happen in the bar of the entry": {
        "bars": [100, (100, 101, 91, 99), 99],
        "orders": "L . .",
        "rules": TENFOLD,
        "trades": [("long", 1, 100, 1, 90, "liquidation")],
        "equity": [1000, 990, 990],
    },
    "a gap costs no more than the margin, however large": {
        "bars": [100, 100, (40, 45, 30, 42), 42],
        "orders": "L . . .",
        "rules": TENFOLD,
        "trades": [("long", 1, 100, 2, 90, "liquidation")],
        "equity": [1000, 1000, 990, 990],
    },
    "a gap costs no less than the margin, even if it ends before the bankruptcy price": {
        "bars": [100, 100, (91, 95, 90.5, 94), 94],
        "orders": "L . . .",
        "rules": TENFOLD,
        "trades": [("long", 1, 100, 2, 90, "liquidation")],
        "equity": [1000, 1000, 990, 990],
    },
    "a nearer stop comes before the liquidation": {
        "bars": [100, 100, (100, 101, 80, 99), 99],
        "orders": "L . . .",
        "rules": {**TENFOLD, "stop_loss": 0.05},
        "trades": [("long", 1, 100, 2, 95, "stop_loss")],
        "equity": [1000, 1000, 995, 995],
    },
    "a nearer stop that the open jumped over fills at the open": {
        "bars": [100, 100, (94, 101, 80, 99), 99],
        "orders": "L . . .",
        "rules": {**TENFOLD, "stop_loss": 0.05},
        "trades": [("long", 1, 100, 2, 94, "stop_loss")],
        "equity": [1000, 1000, 994, 994],
    },
    "an open beyond the liquidation price liquidates, with or without a stop": {
        "bars": [100, 100, (85, 101, 80, 99), 99],
        "orders": "L . . .",
        "rules": {**TENFOLD, "stop_loss": 0.05},
        "trades": [("long", 1, 100, 2, 90, "liquidation")],
        "equity": [1000, 1000, 990, 990],
    },
    "a stop beyond the liquidation price has no effect": {
        "bars": [100, 100, (100, 101, 80, 99), 99],
        "orders": "L . . .",
        "rules": {**TENFOLD, "stop_loss": 0.09},
        "trades": [("long", 1, 100, 2, 90, "liquidation")],
        "equity": [1000, 1000, 990, 990],
    },
    "a short's nearer stop comes before its liquidation": {
        "bars": [100, 100, (100, 120, 99, 99), 99],
        "orders": "S . . .",
        "rules": {**TENFOLD, "stop_loss": 0.05},
        "trades": [("short", 1, 100, 2, 105, "stop_loss")],
        "equity": [1000, 1000, 995, 995],
    },
    "an exit at the open comes before a liquidation": {
        "bars": [100, 100, (95, 101, 80, 99), 99],
        "orders": "L l . .",
        "rules": TENFOLD,
        "trades": [("long", 1, 100, 2, 95, "signal")],
        "equity": [1000, 1000, 995, 995],
    },
    "a liquidation and a target in one bar, pessimistic": {
        "bars": [100, 100, (100, 106, 80, 99), 99],
        "orders": "L . . .",
        "rules": {**TENFOLD, "take_profit": 0.05},
        "trades": [("long", 1, 100, 2, 90, "liquidation")],
        "equity": [1000, 1000, 990, 990],
        "ambiguous": 1,
    },
    "a liquidation and a target in one bar, along the path": {
        "bars": [100, 100, (100, 106, 80, 99), 99],
        "orders": "L . . .",
        "rules": {**TENFOLD, "take_profit": 0.05, "intrabar": "path"},
        "trades": [("long", 1, 100, 2, 105, "take_profit")],
        "equity": [1000, 1000, 1005, 1005],
        "ambiguous": 1,
    },
    "a liquidation is measured from the average entry and closes all entries": {
        "bars": [100, 100, (120, 120, 111, 111), (111, 111, 101.2, 105), 105],
        "orders": "L L . . .",
        "rules": {**TENFOLD, "pyramiding": 2},
        "trades": [("long", 1, 110, 3, 99, "liquidation", 2)],
        "equity": [1000, 1000, 1000 + 11 - 9, 1000 - 2 * 11, 1000 - 2 * 11],
    },
    "at leverage 1 a long can't be liquidated": {
        "bars": [100, 100, (50, 60, 0.01, 1), 1],
        "orders": "L . . .",
        "rules": {"maintenance_margin": 0.5},
        "trades": [("long", 1, 100, 3, 1, "end")],
        "equity": [1000, 1000, 901, 901],
    },
    "at leverage 1 a short is liquidated before the price has doubled": {
        "bars": [100, 100, (150, 198, 140, 160), 160],
        "orders": "S . . .",
        "rules": {"maintenance_margin": 0.02},
        "trades": [("short", 1, 100, 2, 200, "liquidation")],
        "equity": [1000, 1000, 900, 900],
    },
    "with mark prices, the bar's own low doesn't liquidate": {
        "bars": [100, 100, (100, 101, 80, 99), 99],
        "mark": [(100, 100), (100, 100), (93, 101), (99, 99)],
        "orders": "L . . .",
        "rules": TENFOLD,
        "trades": [("long", 1, 100, 3, 99, "end")],
        "equity": [1000, 1000, 999, 999],
    },
    "the mark's low liquidates a long": {
        "bars": [100, 100, (100, 101, 99, 99), 99],
        "mark": [(100, 100), (100, 100), (92, 101), (99, 99)],
        "orders": "L . . .",
        "rules": TENFOLD,
        "trades": [("long", 1, 100, 2, 90, "liquidation")],
        "equity": [1000, 1000, 990, 990],
    },
    "the mark's high liquidates a short": {
        "bars": [100, 100, (100, 101, 99, 99), 99],
        "mark": [(100, 100), (100, 100), (92, 108), (99, 99)],
        "orders": "S . . .",
        "rules": TENFOLD,
        "trades": [("short", 1, 100, 2, 110, "liquidation")],
        "equity": [1000, 1000, 990, 990],
    },
    "with mark prices, stops still use the bar's own prices": {
        "bars": [100, 100, (100, 101, 94, 99), 99],
        "mark": [(100, 100), (100, 100), (99, 101), (99, 99)],
        "orders": "L . . .",
        "rules": {**TENFOLD, "stop_loss": 0.05},
        "trades": [("long", 1, 100, 2, 95, "stop_loss")],
        "equity": [1000, 1000, 995, 995],
    },
}

RUIN: Table = {
    "a liquidation that takes all the equity ends the run": {
        "bars": [100, 100, (100, 100, 50, 99), 99, 99],
        "orders": "L . L L .",
        "rules": {"sizing": "equity_fraction", "leverage": 4},
        "trades": [("long", 1, 100, 2, 75, "liquidation", 40)],
        "equity": [1000, 1000, 0, 0, 0],
        "ruined": True,
    },
    "after it nothing expires": {
        "bars": [100, 100, (100, 100, 50, 99), 99, 99],
        "orders": "L S . . .",
        "levels": {"entry_stop": {"short": 1}},
        "rules": {"sizing": "equity_fraction", "leverage": 4},
        "trades": [("long", 1, 100, 2, 75, "liquidation", 40)],
        "equity": [1000, 1000, 0, 0, 0],
        "ruined": True,
    },
    "funding that takes all the equity moves the liquidation to the open": {
        # Free cash is 0, so the deficit is 99.6: the level is 0.5 + 99.6, above the open.
        "bars": [100, 100, 100, 200, 200],
        "funding": [(2, 0.996)],
        "orders": "L . . . .",
        "rules": {"initial_capital": 100},
        "trades": [("long", 1, 100, 2, 99.6, "liquidation", 1, 0, 99.6)],
        "equity": [100, 100, 0, 0, 0],
        "ruined": True,
    },
    "funding above the margin is settled beyond the entry, so that nothing is left": {
        "bars": [100, 100, 100, 200, 200],
        "funding": [(2, 1.5)],
        "orders": "L . . L .",
        "rules": {"initial_capital": 100},
        "trades": [("long", 1, 100, 2, 150, "liquidation", 1, 0, 150)],
        "equity": [100, 100, 0, 0, 0],
        "ruined": True,
    },
    "funding that free cash can pay moves no level": {
        "bars": [100, 100, (100, 101, 60, 99), 99],
        "funding": [(2, 0.5)],
        "orders": "L . . .",
        "rules": {"initial_capital": 150},
        "trades": [("long", 1, 100, 3, 99, "end", 1, 0, 50)],
        "equity": [150, 150, 99, 99],
    },
    "a close at which nothing is left ends the run, if no mark price has liquidated": {
        "bars": [100, 100, (100, 201, 100, 200), 150, 100],
        "mark": [(100, 100)] * 5,
        "orders": "S . . S .",
        "rules": {"initial_capital": 100},
        "trades": [("short", 1, 100, 2, 200, "ruin")],
        "equity": [100, 100, 0, 0, 0],
        "ruined": True,
    },
    "a market order of ruin loses no more than the margin, and what is not margin stays": {
        "bars": [100, 100, (100, 251, 100, 250), 150],
        "mark": [(100, 100)] * 4,
        "orders": "S . . .",
        "rules": {"initial_capital": 110, "commission": 0.05},
        "trades": [("short", 1, 100, 2, 200, "ruin", 1, 5)],
        "equity": [110, 105, 5, 5],
    },
    "a ruin at a close starts the cooldown of the bar that it is in": {
        "bars": [100, 100, (100, 251, 100, 250), 1, 1, 1],
        "mark": [(100, 100)] * 3 + [(1, 1)] * 3,
        "orders": "S . S S . .",
        "rules": {"initial_capital": 110, "commission": 0.05, "cooldown": 1},
        "trades": [("short", 1, 100, 2, 200, "ruin", 1, 5), ("short", 4, 1, 5, 1, "end", 1, 0.1)],
        "equity": [110, 105, 5, 5, 4.95, 4.9],
        "filtered": 1,
    },
    "what is left below a billionth of the capital is nothing": {
        "bars": [100, 100, (100, 100, 60, 60), 60, 60],
        "orders": "L . L L .",
        "rules": {"sizing": "equity_fraction", "leverage": 3},
        "trades": [("long", 1, 100, 2, 200 / 3, "liquidation", 30)],
        "equity": [1000, 1000, 0, 0, 0],
        "ruined": True,
    },
    "the last exit can end the run": {
        "bars": [100, 100, 100],
        "orders": "L . .",
        "rules": {"initial_capital": 100, "order_fee": 50, "size": 0.4},
        "trades": [("long", 1, 100, 2, 100, "end", 0.4, 50 + 40)],
        "equity": [100, 50, 10],
    },
}

TABLES = {f"{part}: {claim}": case for part, table in (("liquidation", LIQUIDATION), ("ruin", RUIN)) for claim, case in table.items()}


@pytest.mark.parametrize("claim", TABLES)
def test_liquidation_and_ruin_are_as_worked_out_by_hand(claim: str, engine: str, check_by_hand: Callable[..., None]) -> None:
    check_by_hand(engine, **TABLES[claim])
