"""Bars that reach levels on both sides, worked out by hand. test_simulate.py describes the tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Table = dict[str, dict[str, Any]]

# A long at 100 with its stop at 90 and its target at 120; bar 2 reaches both. The extreme nearer to its open: low, high, neither.
DOWN, UP, TIE = (100, 125, 85, 110), (110, 125, 85, 100), (105, 125, 85, 110)
STOPPED: dict[str, Any] = {"trades": [("long", 1, 100, 2, 90, "stop_loss")], "equity": [1000, 1000, 990, 990]}
SATISFIED: dict[str, Any] = {"trades": [("long", 1, 100, 2, 120, "take_profit")], "equity": [1000, 1000, 1020, 1020]}


def both(intrabar: str, bar: tuple[int, int, int, int], outcome: dict[str, Any]) -> dict[str, Any]:
    rules = {"stop_loss": 0.1, "take_profit": 0.2, "intrabar": intrabar}
    return {"bars": [100, 100, bar, 110], "orders": "L . . .", "rules": rules, "ambiguous": 1, **outcome}


INTRABAR: Table = {
    "pessimistic takes the adverse side first": both("pessimistic", UP, STOPPED),
    "pessimistic ignores which side is nearer": both("pessimistic", DOWN, STOPPED),
    "optimistic takes the favourable side first": both("optimistic", DOWN, SATISFIED),
    "optimistic ignores which side is nearer": both("optimistic", UP, SATISFIED),
    "path goes to the nearer extreme first: down": both("path", DOWN, STOPPED),
    "path goes to the nearer extreme first: up": both("path", UP, SATISFIED),
    "path takes the adverse side where both are equally near": both("path", TIE, STOPPED),
    "path of a short: the target below is nearer": {
        "bars": [100, 100, (95, 125, 75, 100), 100],
        "orders": "S . . .",
        "rules": {"stop_loss": 0.1, "take_profit": 0.2, "intrabar": "path"},
        "trades": [("short", 1, 100, 2, 80, "take_profit")],
        "equity": [1000, 1000, 1020, 1020],
        "ambiguous": 1,
    },
    "path of a short: the stop above is nearer": {
        "bars": [100, 100, (105, 115, 75, 100), 100],
        "orders": "S . . .",
        "rules": {"stop_loss": 0.1, "take_profit": 0.2, "intrabar": "path"},
        "trades": [("short", 1, 100, 2, 110, "stop_loss")],
        "equity": [1000, 1000, 990, 990],
        "ambiguous": 1,
    },
    "the bar of the entry can be ambiguous": {
        "bars": [100, (100, 125, 85, 110), 110],
        "orders": "L . .",
        "rules": {"stop_loss": 0.1, "take_profit": 0.2, "intrabar": "optimistic"},
        "trades": [("long", 1, 100, 1, 120, "take_profit")],
        "equity": [1000, 1020, 1020],
        "ambiguous": 1,
    },
    "an open beyond the stop is not ambiguous": {
        "bars": [100, 100, (85, 125, 80, 110), 110],
        "orders": "L . . .",
        "rules": {"stop_loss": 0.1, "take_profit": 0.2, "intrabar": "optimistic"},
        "trades": [("long", 1, 100, 2, 85, "stop_loss")],
        "equity": [1000, 1000, 985, 985],
    },
    "an open beyond the target is not ambiguous": {
        "bars": [100, 100, (122, 125, 80, 110), 110],
        "orders": "L . . .",
        "rules": {"stop_loss": 0.1, "take_profit": 0.2},
        "trades": [("long", 1, 100, 2, 122, "take_profit")],
        "equity": [1000, 1000, 1022, 1022],
    },
    "a part can be sold at its level and the rest stopped in one bar": {
        "bars": [100, 100, (105, 112, 88, 100), 100],
        "orders": "L . . .",
        "rules": {"size": 2, "stop_loss": 0.1, "partial_exits": ((0.1, 0.5),), "intrabar": "path"},
        "trades": [("long", 1, 100, 2, 110, "partial_exit"), ("long", 1, 100, 2, 90, "stop_loss")],
        "equity": [1000, 1000, 1000 + 10 - 10, 1000],
        "ambiguous": 1,
    },
    "in the same bar, pessimistic, all is stopped": {
        "bars": [100, 100, (105, 112, 88, 100), 100],
        "orders": "L . . .",
        "rules": {"size": 2, "stop_loss": 0.1, "partial_exits": ((0.1, 0.5),)},
        "trades": [("long", 1, 100, 2, 90, "stop_loss", 2)],
        "equity": [1000, 1000, 980, 980],
        "ambiguous": 1,
    },
    "every ambiguous bar is counted": {
        "bars": [100, (100, 125, 85, 110), 100, (100, 125, 85, 110), 110],
        "orders": "L . L . .",
        "rules": {"stop_loss": 0.1, "take_profit": 0.2},
        "trades": [("long", 1, 100, 1, 90, "stop_loss"), ("long", 3, 100, 3, 90, "stop_loss")],
        "equity": [1000, 990, 990, 980, 980],
        "ambiguous": 2,
    },
}


@pytest.mark.parametrize("claim", INTRABAR)
def test_a_bar_is_resolved_as_worked_out_by_hand(claim: str, engine: str, check_by_hand: Callable[..., None]) -> None:
    check_by_hand(engine, **INTRABAR[claim])
