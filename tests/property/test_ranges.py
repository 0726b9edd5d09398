"""Runs over a part of the bars: what a warm-up before them and a cut after them change."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import python_core as bt
from python_core.strategy.compile import series_levels
from tests.property.cases import Case, signal_cases, strategy_cases
from tests.property.inputs import ENGINES, share

CONDITIONS = st.sampled_from(["close > open", "close < open", "at('4h', close > open)", "crossover(close, sma(close, 3))"])


@pytest.mark.parametrize("engine", ENGINES)
@share(0.5)
@given(case=signal_cases(), data=st.data())
def test_without_memory_in_the_strategy_a_warm_up_changes_nothing(engine: str, case: Case, data: st.DataObject) -> None:
    bars, signals, execution, _, _ = case
    assert isinstance(signals, bt.Signals)
    assume(not any(series_levels(execution)))
    first = data.draw(st.integers(0, len(bars) - 1))
    warm = bt.simulate(bars, signals, execution, start=int(bars.time[first]), engine=engine)
    cold = bt.simulate(bars[first:], signals[first:], execution, engine=engine)
    assert warm.digest == cold.digest


@pytest.mark.parametrize("engine", ENGINES)
@share(0.5)
@given(case=st.one_of(signal_cases(), strategy_cases(CONDITIONS)), data=st.data())
def test_cutting_the_data_changes_nothing_before_the_cut(engine: str, case: Case, data: st.DataObject) -> None:
    bars, program, execution, start, warm_up_from = case
    first = 0 if start is None else int((bars.time < start).sum())
    end = data.draw(st.integers(first + 1, len(bars)))
    part = program[:end] if isinstance(program, bt.Signals) else program
    whole, cut = case.run(engine), Case(bars[:end], part, execution, start, warm_up_from).run(engine)
    last = end - first - 1
    assert whole.equity[:last].tolist() == cut.equity[:last].tolist()
    earlier = [result.trades.array[result.trades.array["exit_index"] < last] for result in (whole, cut)]
    assert earlier[0].tobytes() == earlier[1].tobytes()
