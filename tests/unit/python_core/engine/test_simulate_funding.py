"""Funding, worked out by hand. test_simulate.py describes the tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Table = dict[str, dict[str, Any]]

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


@pytest.mark.parametrize("claim", FUNDING)
def test_funding_is_paid_as_worked_out_by_hand(claim: str, engine: str, check_by_hand: Callable[..., None]) -> None:
    check_by_hand(engine, **FUNDING[claim])
