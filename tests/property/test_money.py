"""No rules create or lose money: equity is never negative, and no trade loses more than its margin and its entry fee."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from tests.property.cases import Case, signal_cases, strategy_cases
from tests.property.inputs import MONEY, engines, share

CONDITIONS = st.sampled_from(["close > open", "close < open", "close > close[1]", "crossover(close, sma(close, 3))"])
cases = st.one_of(signal_cases(), strategy_cases(CONDITIONS))


@share(1)
@given(engine=engines, case=cases)
def test_equity_is_never_negative_and_no_trade_loses_more_than_its_margin(engine: str, case: Case) -> None:
    result, rules = case.run(engine), case.execution
    note(str(rules))
    assert (result.equity >= 0).all()
    trades, capital = result.trades.array, rules.initial_capital
    np.testing.assert_allclose(trades["net"], trades["gross"] - trades["fees"] - trades["funding"], rtol=1e-9, atol=1e-9 * capital)
    notional = trades["quantity"] * trades["entry_price"]
    entry_fees = notional * max(rules.commission, rules.maker_rate) + rules.order_fee * rules.pyramiding
    lost = -trades["net"] - trades["funding"]
    assert (lost <= (notional / rules.leverage + entry_fees) * (1 + 1e-9) + 1e-9 * capital).all()
    paid = capital + float(trades["net"].sum())
    assert paid >= -1e-6 * capital
    # Nothing vanishes, not even in ruin.
    assert result.equity[-1] == pytest.approx(paid, rel=1e-9, abs=1e-6 * capital)
    assert not result.ruined or result.equity[-1] == 0


@share(0.2)
@given(engine=engines, case=signal_cases())
def test_after_ruin_equity_is_zero_and_nothing_trades(engine: str, case: Case) -> None:
    result = case.run(engine)
    nothing = np.flatnonzero(result.equity == 0)
    assert result.ruined == (len(nothing) > 0)
    if result.ruined:
        assert (result.equity[nothing[0] :] == 0).all()
        assert result.trades.array["exit_index"].max() <= nothing[0]


@share(0.2)
@given(engine=engines, case=signal_cases())
def test_trades_are_in_order_and_within_the_run(engine: str, case: Case) -> None:
    result = case.run(engine)
    trades = result.trades.array
    assert (np.diff(trades["exit_index"]) >= 0).all()
    assert (trades["entry_index"] <= trades["exit_index"]).all()
    # Nothing fills on the first bar, with or without a warm-up; a fill at its close does.
    assert (trades["entry_index"] >= (0 if case.execution.fill == "close" else 1)).all()
    assert (trades["exit_index"] < result.bars).all()
    assert (trades["quantity"] > 0).all()
    assert (trades["mae"] <= trades["mfe"]).all()
    for name in ("entry_price", *MONEY):
        assert np.isfinite(trades[name]).all()
