"""Bars before the start of a run warm up its strategy, and do nothing else."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

import python_core as bt
from python_core.strategy.compile import series_levels
from tests.property.cases import Case, signal_cases, strategy_cases
from tests.property.inputs import engines, share

# Without memory: each is known from its own bar alone.
CONDITIONS = st.sampled_from(["close > open", "close < open", "high - close > close - low"])


@share(0.5)
@given(engine=engines, case=st.one_of(signal_cases(), strategy_cases(CONDITIONS)), data=st.data())
def test_without_memory_in_the_strategy_a_warm_up_changes_nothing(engine: str, case: Case, data: st.DataObject) -> None:
    bars, program, execution, _, _ = case
    assume(not any(series_levels(execution)))
    if isinstance(program, bt.Strategy):
        assume(program.timeframe is None)
    first = data.draw(st.integers(0, len(bars) - 1))
    part = program[first:] if isinstance(program, bt.Signals) else program
    warm, cold = Case(bars, program, execution, int(bars.time[first])).run(engine), Case(bars[first:], part, execution).run(engine)
    assert warm.digest == cold.digest
