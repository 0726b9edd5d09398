"""Limit and stop entries over real prices agree with nautilus_trader's backtest engine, fill by fill.

Compared are bar, side, price, quantity and fee, maker or taker, of entries that wait, expire, are replaced, gap and reverse, and of market exits.
nautilus_trader fills a bar's prices in the order open, nearer extreme, other extreme, close, with what a strategy orders on a bar from its close on.
Three things can't be made to agree. An order that a gap has passed fills at its level there, which no market paid, and at the open here, so the open
is expected. An order starts to rest at the close of the bar on which it was given there, at the next open here; so a limit that this
open touches is a maker there, a taker here. A market order, too, fills at that close, so exits are given only where the next bar opens at it.
Prices are whole ticks, as nautilus_trader has no others, and each bar moves one way, as it takes the nearer extreme first, where ours are pessimistic.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import python_core as bt
from python_core.trades import REVERSAL
from tests.property.oracles.environment import run
from tests.property.oracles.one_way import one_way_bars
from tests.property.test_oracles import DISTANCE, EURUSD, GOOG, SHAPES, STEP

pytestmark = pytest.mark.slow

NAUTILUS = "nautilus_trader==1.221.0"
MAKER, TAKER, CAPITAL, QUANTITY = 0.0002, 0.0006, 10_000_000.0, 3_000.0
MARKETS = {"GOOG": (GOOG, 2, 1.0), "EURUSD": (EURUSD, 5, 0.1)}  # with the digits of prices, and the share of distances and lengths of bars


class Case(NamedTuple):
    market: str
    shape: str
    expires: int
    sides: tuple[int, ...]

    def bars(self) -> bt.Bars:
        frame, digits, share = MARKETS[self.market]
        prices = frame[["Open", "High", "Low", "Close"]].to_numpy().T.astype(float)[:, :1_000]
        return one_way_bars(prices, STEP * share, 10.0**-digits)

    def signals(self, bars: bt.Bars) -> tuple[np.ndarray, dict[int, np.ndarray]]:
        """Where exits of both sides are, bool[bars], and the price of the entry of each side, float64[bars], 0 where there is none."""
        _, digits, share = MARKETS[self.market]
        rng = np.random.default_rng(17)
        entries, exits = rng.random((2, len(bars))) < 0.05
        entries[-2:], exits[:] = False, exits & ~entries
        exits[:-1] &= bars.open[1:] == bars.close[:-1]
        last = int(np.flatnonzero(bars.open[1:] == bars.close[:-1])[-1])
        entries[last:], exits[last] = False, True
        away = {side: side * SHAPES[self.shape][1] * DISTANCE * share for side in (1, -1)}
        levels = {side: np.where(entries & (side in self.sides), np.round(bars.close * (1 + away[side]), digits), 0.0) for side in (1, -1)}
        return exits, levels

    def job(self) -> dict[str, Any]:
        bars = self.bars()
        exits, levels = self.signals(bars)
        return {
            "bars": [getattr(bars, name).tolist() for name in ("time", "open", "high", "low", "close")],
            "digits": MARKETS[self.market][1],
            "maker_fee": MAKER,
            "taker_fee": TAKER,
            "capital": CAPITAL,
            "quantity": QUANTITY,
            "shape": self.shape,
            "expires": self.expires,
            "exits": exits.tolist(),
            "levels": {side: prices.tolist() for side, prices in levels.items()},
        }


def as_filled_here(fill: dict[str, Any], bars: bt.Bars, shape: str) -> dict[str, Any]:
    """A fill of nautilus_trader with the three differences taken out."""
    if not fill["level"]:
        return fill | {"bar": fill["bar"] + 1}
    price, fee = bars.open[fill["bar"]], fill["fee"]
    if fill["side"] * SHAPES[shape][1] * (price - fill["level"]) < 0:
        return fill
    if shape == "limit" and fill["bar"] == fill["placed"] + 1:
        fee *= TAKER / MAKER
    return fill | {"price": price, "fee": fee * price / fill["price"]}


CASES = [
    Case(market, shape, expires, sides)
    for market in MARKETS
    for shape in SHAPES
    for expires in (1, 4, 50)
    for sides in ((1,), (-1,), (1, -1))
]


@pytest.fixture(scope="module")
def answers() -> dict[Case, Any]:
    """What nautilus_trader finds, of all cases at once."""
    return dict(zip(CASES, run(NAUTILUS, "nautilus_fills.py", [case.job() for case in CASES]), strict=True))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.market} {case.shape} {case.expires} {case.sides}")
def test_fills_of_resting_entries_agree_with_nautilus_trader(case: Case, answers: dict[Case, Any]) -> None:
    bars = case.bars()
    exits, levels = case.signals(bars)
    kind = SHAPES[case.shape][0]
    signals = bt.Signals(
        entry_long=levels[1] > 0,
        entry_short=levels[-1] > 0,
        exit_long=exits,
        exit_short=exits,
        **{kind: {"long": levels[1], "short": levels[-1]}},
    )
    execution = bt.Execution(
        initial_capital=CAPITAL,
        commission=TAKER,
        maker_fee=MAKER,
        sizing="fixed_quantity",
        size=QUANTITY,
        tick=10.0 ** -MARKETS[case.market][1],
        entry_expires=case.expires,
    )
    result = bt.simulate(bars, signals, execution)
    assert result.ambiguous_bars == 0
    trades, fills = result.trades.array, answers[case]
    assert len(trades) > 10
    first = 0
    for trade in trades:
        entry, leave = (as_filled_here(fill, bars, case.shape) for fill in fills[first : first + 2])
        assert (entry["bar"], entry["side"]) == (trade["entry_index"], trade["side"])
        assert (leave["bar"], leave["side"]) == (trade["exit_index"], -trade["side"])
        assert entry["price"] == pytest.approx(trade["entry_price"], rel=1e-12)
        assert leave["price"] == pytest.approx(trade["exit_price"], rel=1e-12)
        reverses = trade["reason"] == REVERSAL
        assert leave["quantity"] == (2 if reverses else 1) * trade["quantity"]
        fees = sum(fill["fee"] / fill["quantity"] * QUANTITY for fill in (entry, leave))
        assert trade["fees"] == pytest.approx(fees, abs=1e-7)  # there in units of 1e-8
        first += 1 if reverses else 2
    assert first == len(fills)
