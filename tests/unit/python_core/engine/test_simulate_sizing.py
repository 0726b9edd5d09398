"""Sizes of positions and their limits, worked out by hand. test_simulate.py describes the tables."""

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
        # Bought at 125, stopped at 80 and sold at 60: 65, and fees of 12.5 and 6, make 83.5 per unit.
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

TABLES = {f"{part}: {claim}": case for part, table in (("size", SIZES), ("limits", LIMITS)) for claim, case in table.items()}


@pytest.mark.parametrize("claim", TABLES)
def test_sizes_are_as_worked_out_by_hand(claim: str, engine: str, check_by_hand: Callable[..., None]) -> None:
    check_by_hand(engine, **TABLES[claim])
