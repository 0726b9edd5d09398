"""Without memory in the strategy, bars of a warm-up change nothing."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import python_core as bt
from python_core.strategy.compile import series_levels
from tests.property.cases import Case, signal_cases
from tests.property.inputs import ENGINES, share


@pytest.mark.parametrize("engine", ENGINES)
@share(0.5)
@given(case=signal_cases(), data=st.data())
def test_a_start_gives_the_run_of_the_bars_from_there_on(engine: str, case: Case, data: st.DataObject) -> None:
    bars, signals, execution, _, _ = case
    assert isinstance(signals, bt.Signals)
    assume(not any(series_levels(execution)))
    first = data.draw(st.integers(0, len(bars) - 1))
    warm = bt.simulate(bars, signals, execution, start=int(bars.time[first]), engine=engine)
    cold = bt.simulate(bars[first:], signals[first:], execution, engine=engine)
    assert warm.digest == cold.digest
