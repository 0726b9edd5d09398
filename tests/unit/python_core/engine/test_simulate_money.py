"""Sizes, margin, liquidation, funding and ruin, worked out by hand. test_simulate.py describes the tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Table = dict[str, dict[str, Any]]

# At a commission of 0.25, a notional of 0.8 of the cash and its fee of 0.2 spend it all.
SIZES: Table = {
    "a fraction of 1 invests all of the equity": {
        "bars": [100, 100, 150, 150],
        "orders": "L . . .",
        "rules": {"sizing": "equity_fraction", "size": 1, "commission": 0.25},
        "trades": [("long", 1, 100, 3, 150, "end", 8, 200 + 300)],
        "equity": [1000, 1000 - 200, 1000 - 200 + 400, 1000 - 200 + 400 - 300],
    },
    "a fraction of the equity": {
        "bars": [100, 100, 150, 150],
        "orders": "L . . .",
        "rules": {"sizing": "equity_fraction", "size": 0.5, "commission": 0.25},
        "trades": [("long", 1, 100, 3, 150, "end", 4, 100 + 150)],
        "equity": [1000, 900, 900 + 200, 900 + 200 - 150],
    },
    "the fraction buys more after a profit": {
        "bars": [100, 100, 200, 200, 100],
        "orders": "L l L l .",
        "rules": {"sizing": "equity_fraction", "size": 0.5},
        "trades": [("long", 1, 100, 2, 200, "signal", 5), ("long", 3, 200, 4, 100, "signal", 750 / 200)],
        "equity": [1000, 1000, 1500, 1500, 1500 - 375],
    },
    "the fraction buys at the price after slippage": {
        "bars": [100, 100, 100],
        "orders": "L . .",
        "rules": {"sizing": "equity_fraction", "size": 1, "slippage": 0.25},
        "trades": [("long", 1, 125, 2, 75, "end", 8)],
        "equity": [1000, 1000 - 8 * 25, 1000 - 8 * 50],
    },
    "leverage multiplies the fraction": {
        "bars": [100, 100, 110],
        "orders": "L . .",
        "rules": {"sizing": "equity_fraction", "size": 0.5, "leverage": 4},
        "trades": [("long", 1, 100, 2, 110, "end", 20)],
        "equity": [1000, 1000, 1200],
    },
    "a reversal is sized after the exit": {
        "bars": [100, 100, 150, 150],
        "orders": "L S . .",
        "rules": {"sizing": "equity_fraction", "size": 1},
        "trades": [("long", 1, 100, 2, 150, "reversal", 10), ("short", 2, 150, 3, 150, "end", 10)],
        "equity": [1000, 1000, 1500, 1500],
    },
    "a second entry is sized by equity with the open profit": {
        "bars": [100, 100, 200, 200],
        "orders": "L L . .",
        "rules": {"sizing": "equity_fraction", "size": 0.25, "pyramiding": 2},
        "trades": [("long", 1, (2.5 * 100 + 1.5625 * 200) / 4.0625, 3, 200, "end", 4.0625)],
        "equity": [1000, 1000, 1250, 1250],
    },
    "a fixed notional": {
        "bars": [50, 50, 60],
        "orders": "L . .",
        "rules": {"sizing": "fixed_notional", "size": 500},
        "trades": [("long", 1, 50, 2, 60, "end", 10)],
        "equity": [1000, 1000, 1100],
    },
    "a fixed notional buys at the price after slippage": {
        "bars": [50, 50, 50],
        "orders": "S . .",
        "rules": {"sizing": "fixed_notional", "size": 400, "slippage": 0.2},
        "trades": [("short", 1, 40, 2, 60, "end", 10)],
        "equity": [1000, 900, 800],
    },
    "a fixed quantity": {
        "bars": [50, 50, 60],
        "orders": "L . .",
        "rules": {"size": 7},
        "trades": [("long", 1, 50, 2, 60, "end", 7)],
        "equity": [1000, 1000, 1070],
    },
    "risk: a stop costs the fraction of equity": {
        "bars": [100, 100, (100, 100, 80, 90), 90],
        "orders": "L . . .",
        "rules": {"sizing": "risk", "size": 0.02, "stop_loss": 0.1},
        "trades": [("long", 1, 100, 2, 90, "stop_loss", 2)],
        "equity": [1000, 1000, 1000 - 20, 980],
    },
    "risk counts fees and slippage": {
        # Bought at 125, stopped at 80 and sold at 60: 65, and fees of 12.5 and 6, make 83.5 a piece.
        "bars": [100, 100, (100, 110, 80, 110), 110],
        "orders": "L . . .",
        "rules": {"sizing": "risk", "size": 0.0835, "stop_loss": 0.36, "slippage": 0.25, "commission": 0.1},
        "trades": [("long", 1, 125, 2, 60, "stop_loss", 1, 12.5 + 6)],
        "equity": [1000, 1000 - 12.5 - 25, 1000 - 83.5, 1000 - 83.5],
    },
    "risk of a short": {
        "bars": [100, 100, (100, 130, 80, 90), 90],
        "orders": "S . . .",
        "rules": {"sizing": "risk", "size": 0.05, "stop_loss": 0.25},
        "trades": [("short", 1, 100, 2, 125, "stop_loss", 2)],
        "equity": [1000, 1000 + 2 * 10 - 2 * 10, 1000 - 50, 950],
    },
    "an order with a stop that can't lose is rejected when sized by risk": {
        "bars": [(100, 100, 90, 95), 80, 80],
        "orders": "L . .",
        "rules": {"sizing": "risk", "size": 0.02, "stop_loss": "low"},
        "trades": [],
        "equity": [1000, 1000, 1000],
        "rejected": 1,
    },
}

LIMITS: Table = {
    "a step rounds the quantity down": {
        "bars": [30, 30, 40],
        "orders": "L . .",
        "rules": {"sizing": "fixed_notional", "size": 500, "step": 0.5},
        "trades": [("long", 1, 30, 2, 40, "end", 16.5)],
        "equity": [1000, 1000, 1165],
    },
    "0.3 is three steps of 0.1": {
        "bars": [100, 100, 110],
        "orders": "L . .",
        "rules": {"size": 0.3, "step": 0.1},
        "trades": [("long", 1, 100, 2, 110, "end", 3 * 0.1)],
        "equity": [1000, 1000, 1003],
    },
    "less than one step is rejected": {
        "bars": [100, 100, 110],
        "orders": "L . .",
        "rules": {"size": 0.9, "step": 1},
        "trades": [],
        "equity": [1000, 1000, 1000],
        "rejected": 1,
    },
    "an order below min_notional is rejected": {
        "bars": [100, 100, 110, 110],
        "orders": "L . L .",
        "rules": {"min_notional": 110},
        "trades": [("long", 3, 110, 3, 110, "end")],
        "equity": [1000, 1000, 1000, 1000],
        "rejected": 1,
    },
    "min_notional applies after rounding": {
        "bars": [100, 100, 110],
        "orders": "L . .",
        "rules": {"sizing": "fixed_notional", "size": 190, "step": 1, "min_notional": 150},
        "trades": [],
        "equity": [1000, 1000, 1000],
        "rejected": 1,
    },
    "an order larger than the cash is rejected and counted": {
        "bars": [100, 100, 110, 100, 110],
        "orders": "L L . . .",
        "rules": {"size": 10.01},
        "trades": [],
        "equity": [1000] * 5,
        "rejected": 2,
    },
    "an order that spends all the cash is filled": {
        "bars": [100, 100, 110],
        "orders": "L . .",
        "rules": {"size": 8, "commission": 0.25},
        "trades": [("long", 1, 100, 2, 110, "end", 8, 200 + 220)],
        "equity": [1000, 800, 800 + 80 - 220],
    },
    "the fee counts toward the cash needed": {
        "bars": [100, 100, 110],
        "orders": "L . .",
        "rules": {"size": 8.01, "commission": 0.25},
        "trades": [],
        "equity": [1000, 1000, 1000],
        "rejected": 1,
    },
    "slippage may make an order larger than the cash": {
        "bars": [100, 100, 110],
        "orders": "L . .",
        "rules": {"size": 10, "slippage": 0.01},
        "trades": [],
        "equity": [1000, 1000, 1000],
        "rejected": 1,
    },
    "the cash must cover the quantity after rounding": {
        "bars": [100, 100, 110],
        "orders": "L . .",
        "rules": {"size": 10.9, "step": 1},
        "trades": [("long", 1, 100, 2, 110, "end", 10)],
        "equity": [1000, 1000, 1100],
    },
    "a short is limited in the same way": {
        "bars": [100, 100, 110],
        "orders": "S . .",
        "rules": {"size": 10.01},
        "trades": [],
        "equity": [1000, 1000, 1000],
        "rejected": 1,
    },
    "a second entry has the cash left by the first": {
        "bars": [100, 100, 100, 110],
        "orders": "L L . .",
        "rules": {"size": 6, "pyramiding": 2},
        "trades": [("long", 1, 100, 3, 110, "end", 6)],
        "equity": [1000, 1000, 1000, 1060],
        "rejected": 1,
    },
    "leverage multiplies buying power": {
        "bars": [100, 100, 110],
        "orders": "L . .",
        "rules": {"size": 20, "leverage": 2},
        "trades": [("long", 1, 100, 2, 110, "end", 20)],
        "equity": [1000, 1000, 1200],
    },
    "an order beyond the leverage is rejected": {
        "bars": [100, 100, 110],
        "orders": "L . .",
        "rules": {"size": 20.01, "leverage": 2},
        "trades": [],
        "equity": [1000, 1000, 1000],
        "rejected": 1,
    },
    "a rejected reversal still closes the position": {
        "bars": [100, 100, 50, 50],
        "orders": "L S . .",
        "rules": {"size": 10, "min_notional": 600},
        "trades": [("long", 1, 100, 2, 50, "reversal", 10)],
        "equity": [1000, 1000, 500, 500],
        "rejected": 1,
    },
}

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

FUNDING: Table = {
    "a long pays a positive rate on quantity times open": {
        "bars": [100, 100, (110, 112, 108, 111), 111],
        "funding": [(2, 0.01)],
        "orders": "L . . .",
        "rules": {"size": 3},
        "trades": [("long", 1, 100, 3, 111, "end", 3, 0, 3 * 1.1)],
        "equity": [1000, 1000, 1000 + 3 * 11 - 3.3, 1000 + 3 * 11 - 3.3],
    },
    "a short receives a positive rate": {
        "bars": [100, 100, (110, 112, 108, 111), 111],
        "funding": [(2, 0.01)],
        "orders": "S . . .",
        "trades": [("short", 1, 100, 3, 111, "end", 1, 0, -1.1)],
        "equity": [1000, 1000, 1000 - 11 + 1.1, 1000 - 11 + 1.1],
    },
    "a long receives a negative rate": {
        "bars": [100, 100, 100, 100],
        "funding": [(2, -0.01)],
        "orders": "L . . .",
        "trades": [("long", 1, 100, 3, 100, "end", 1, 0, -1)],
        "equity": [1000, 1000, 1001, 1001],
    },
    "a position opened at the open of the funding pays nothing": {
        "bars": [100, 100, 100],
        "funding": [(1, 0.01)],
        "orders": "L . .",
        "trades": [("long", 1, 100, 2, 100, "end")],
        "equity": [1000, 1000, 1000],
    },
    "a position closed at the open of the funding pays it": {
        "bars": [100, 100, 100, 100],
        "funding": [(2, 0.01)],
        "orders": "L l . .",
        "trades": [("long", 1, 100, 2, 100, "signal", 1, 0, 1)],
        "equity": [1000, 1000, 999, 999],
    },
    "in a reversal the old side pays": {
        "bars": [100, 100, 100, 100],
        "funding": [(2, 0.01)],
        "orders": "L S . .",
        "trades": [("long", 1, 100, 2, 100, "reversal", 1, 0, 1), ("short", 2, 100, 3, 100, "end")],
        "equity": [1000, 1000, 999, 999],
    },
    "funding between two opens is paid at the later one": {
        "bars": [100, 100, 200, 200],
        "funding": [(1.5, 0.01)],
        "orders": "L . . .",
        "trades": [("long", 1, 100, 3, 200, "end", 1, 0, 2)],
        "equity": [1000, 1000, 1100 - 2, 1100 - 2],
    },
    "several fundings between two opens are all paid": {
        "bars": [100, 100, 200, 200],
        "funding": [(0.5, 0.5), (1.25, 0.01), (1.75, 0.02), (2.5, -0.04)],
        "orders": "L . . .",
        "trades": [("long", 1, 100, 3, 200, "end", 1, 0, 2 + 4 - 8)],
        "equity": [1000, 1000, 1100 - 6, 1100 + 2],
    },
    "without a position no funding is paid": {
        "bars": [100, 100, 100],
        "funding": [(0, 0.5), (1, 0.5), (2, 0.5)],
        "orders": ". . .",
        "trades": [],
        "equity": [1000, 1000, 1000],
    },
    "a partial exit settles its share of the funding": {
        "bars": [100, 100, (100, 111, 99, 110), 110],
        "funding": [(2, 0.01)],
        "orders": "L . . .",
        "rules": {"size": 4, "partial_exits": ((0.1, 0.25),)},
        "trades": [("long", 1, 100, 2, 110, "partial_exit", 1, 0, 1), ("long", 1, 100, 3, 110, "end", 3, 0, 3)],
        "equity": [1000, 1000, 1000 - 4 + 10 + 30, 1000 - 4 + 10 + 30],
    },
    "a position filled at the close pays funding at the next open": {
        "bars": [100, 100, 100],
        "funding": [(0, 0.5), (1, 0.01)],
        "orders": "L . .",
        "rules": {"fill": "close"},
        "trades": [("long", 0, 100, 2, 100, "end", 1, 0, 1)],
        "equity": [1000, 999, 999],
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
    "funding larger than the equity ends the run": {
        "bars": [100, 100, 100, (110, 110, 90, 90), 90],
        "funding": [(2, 0.99), (3, 0.01)],
        "orders": "L . . . .",
        "rules": {"capital": 100},
        "trades": [("long", 1, 100, 3, 90, "ruin", 1, 0, 99 + 1.1)],
        "equity": [100, 100, 100 - 99, 100 - 99 - 1.1 - 10, 100 - 99 - 1.1 - 10],
        "ruined": True,
    },
    "equity of 0 ends the run": {
        "bars": [100, 100, 100, 200, 200],
        "funding": [(2, 1.0)],
        "orders": "L . . L .",
        "rules": {"capital": 100},
        "trades": [("long", 1, 100, 2, 100, "ruin", 1, 0, 100)],
        "equity": [100, 100, 0, 0, 0],
        "ruined": True,
    },
    "ruin is checked at the close, not inside the bar": {
        "bars": [100, 100, (100, 101, 99, 101), 101],
        "funding": [(2, 1.0)],
        "orders": "L . . .",
        "rules": {"capital": 100},
        "trades": [("long", 1, 100, 3, 101, "end", 1, 0, 100)],
        "equity": [100, 100, 1, 1],
    },
    "the last close can end the run in ruin": {
        "bars": [100, 100, 100],
        "funding": [(2, 1.0)],
        "orders": "L . .",
        "rules": {"capital": 100},
        "trades": [("long", 1, 100, 2, 100, "ruin", 1, 0, 100)],
        "equity": [100, 100, 0],
        "ruined": True,
    },
}

TABLES = {
    f"{part}: {claim}": case
    for part, table in (("size", SIZES), ("limits", LIMITS), ("liquidation", LIQUIDATION), ("funding", FUNDING), ("ruin", RUIN))
    for claim, case in table.items()
}


@pytest.mark.parametrize("claim", TABLES)
def test_money_is_as_worked_out_by_hand(claim: str, engine: str, check_by_hand: Callable[..., None]) -> None:
    check_by_hand(engine, **TABLES[claim])
