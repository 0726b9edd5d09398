"""Bars that are written in any layout are read as the same bars or refused, and never as other bars."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

import python_core as bt
from python_core.data.columns import COLUMNS
from tests.property.layouts import Layout, random_layout
from tests.support.cases import CASES


def outcome(layout: Layout) -> str:
    """`read`, or the code of the refusal."""
    try:
        bars = bt.read_bars(layout.data, **layout.options)
    except bt.BarstormError as error:
        return error.code if error.hint else f"no hint: {error}"
    rows = list(zip(*(getattr(bars, name).tolist() for name in COLUMNS), strict=True))
    assert rows == layout.rows, layout.words
    assert bars.timeframe == layout.timeframe, layout.words
    return "read"


@settings(max_examples=min(CASES, 10_000))
@given(st.integers(0, 2**32 - 1))
def test_a_file_in_any_layout_gives_its_bars_or_a_refusal(seed: int) -> None:
    outcome(random_layout(Random(seed)))


def test_most_layouts_are_read() -> None:
    counts = Counter(outcome(random_layout(Random(seed))) for seed in range(300))
    assert counts["read"] > 240, counts
    assert not counts.keys() - {"read", "ambiguous_time", "ambiguous_number", "unknown_timeframe"}, counts
