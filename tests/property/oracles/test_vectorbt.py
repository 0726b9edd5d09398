"""Runs over real prices agree with vectorbt, trade by trade.

vectorbt looks at a bar's stops before the order at its open, ignores stops on the bar of an entry and fills one order a bar. So two bars that stand
still at its open precede each bar: on the first a stop or a target fills that a gap has passed, on the second orders fill, and the bar itself only
meets levels. Where the rules differ, there is no test: slippage moves targets, and a reversal is one order, with one fixed fee and a size of its own
if it takes all cash, so reversals are of a fixed quantity.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import python_core as bt
from tests.property.oracles.environment import run
from tests.property.test_oracles import CAPITAL, FEE, MARKETS, Masks, closed_at_the_end, random_masks

pytestmark = pytest.mark.slow

VECTORBT = "vectorbt==1.2.0"
NAMES = {"entry_long": "entries", "exit_long": "exits", "entry_short": "short_entries", "exit_short": "short_exits"}
THEIRS = {"slippage": "slippage", "order_fee": "fixed_fees", "stop_loss": "sl_stop", "take_profit": "tp_stop", "size": "size"}
RULES: list[dict[str, float]] = [
    {"slippage": 0.002, "order_fee": 1.5},
    {"slippage": 0.001, "stop_loss": 0.02},
    {"stop_loss": 0.03, "take_profit": 0.01},
    {"take_profit": 0.02, "order_fee": 0.5},
]
REVERSING: list[dict[str, float]] = [
    {"size": 2.0, "slippage": 0.002},
    {"size": 3.0, "slippage": 0.001, "stop_loss": 0.02},
    {"size": 2.0, "stop_loss": 0.03, "take_profit": 0.01},
]


class Case(NamedTuple):
    market: str
    sides: tuple[str, ...]
    density: float
    rules: dict[str, float]

    def prices(self) -> np.ndarray:
        """open, high, low, close, float64[4, 3 * n], with two bars at the open of each bar before it."""
        bars = MARKETS[self.market][0][["Open", "High", "Low", "Close"]].to_numpy().T.astype(float)
        still = np.broadcast_to(bars[0], bars.shape)
        return np.stack([still, still, bars], axis=2).reshape(4, -1)

    def signals(self) -> Masks:
        """Those of each bar are on the first that stands still, so that orders fill on the second."""
        masks = closed_at_the_end(random_masks(self.prices()[3, ::3], self.density))
        return {name: np.kron(mask & name.endswith(self.sides), [True, False, False]).astype(np.bool_) for name, mask in masks.items()}

    def job(self) -> dict[str, Any]:
        """The run for vectorbt; a plain size is a quantity there, and none is all cash."""
        return {
            "bars": dict(zip(("open", "high", "low", "close"), self.prices().tolist(), strict=True)),
            "signals": {NAMES[name]: mask.tolist() for name, mask in self.signals().items()},
            "rules": {"init_cash": CAPITAL, "fees": FEE, **{THEIRS[name]: value for name, value in self.rules.items()}},
        }


CASES = [
    Case(market, sides, density, rules)
    for market in MARKETS
    for sides, all_rules in ((("long",), RULES), (("short",), RULES), (("long", "short"), REVERSING))
    for density in (0.05, 0.4)
    for rules in all_rules
]


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    """What vectorbt finds, of all cases at once, because it takes long to start."""
    return dict(zip(map(str, CASES), run(VECTORBT, "vectorbt_trades.py", [case.job() for case in CASES]), strict=True))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.market} {'+'.join(case.sides)} {case.density} {case.rules}")
def test_trades_and_equity_agree_with_vectorbt(case: Case, answers: dict[str, Any]) -> None:
    prices = case.prices()
    n = prices.shape[1]
    bars = bt.Bars(60_000 * np.arange(1, n + 1), *prices, np.ones(n), timeframe="1m")
    sizing: dict[str, Any] = {"sizing": "fixed_quantity"} if "size" in case.rules else {}
    execution = bt.Execution(initial_capital=CAPITAL, commission=FEE, **sizing, **case.rules)
    result = bt.simulate(bars, bt.Signals(**case.signals()), execution)
    answer = answers[str(case)]
    trades, wanted = result.trades.array, {name: np.array(column) for name, column in answer["trades"].items()}
    assert len(trades) == len(wanted["size"]) > 10
    np.testing.assert_array_equal(trades["entry_index"], wanted["entry_idx"])
    np.testing.assert_array_equal(trades["exit_index"], wanted["exit_idx"])
    np.testing.assert_array_equal(trades["side"], 1 - 2 * wanted["direction"])
    np.testing.assert_allclose(trades["entry_price"], wanted["entry_price"], rtol=1e-12)
    np.testing.assert_allclose(trades["exit_price"], wanted["exit_price"], rtol=1e-12)
    np.testing.assert_allclose(trades["quantity"], wanted["size"], rtol=1e-9)
    np.testing.assert_allclose(trades["fees"], wanted["entry_fees"] + wanted["exit_fees"], rtol=1e-9)
    np.testing.assert_allclose(trades["net"], wanted["pnl"], rtol=1e-9, atol=1e-7)
    np.testing.assert_allclose(result.equity, answer["equity"], rtol=1e-10, atol=1e-12 * CAPITAL)
