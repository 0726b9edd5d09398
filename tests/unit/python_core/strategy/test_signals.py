"""Signals are checked, copied where they could change, and hashed with their sizes and levels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import python_core as bt

MASK = [True, False]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"size": [1.0, 0.0]}, "size: bar 1 has 0.0; sizes must be finite and greater than 0; NaN means no entry"),
        ({"size": [-2.0, 1.0]}, "size: bar 0 has -2.0; sizes must be finite and greater than 0; NaN means no entry"),
        ({"size": [1.0, np.inf]}, "size: bar 1 has inf; sizes must be finite and greater than 0; NaN means no entry"),
        ({"size": [1.0]}, "signals: the arrays differ in length: {'entry_long': 2, 'size': 1}; give one value for each bar"),
        ({"size": MASK}, "size: the dtype is bool; give one number for each bar; NaN means no entry"),
        ({"stop_loss": ["a", "b"]}, "stop_loss: the dtype is <U1; give one number for each bar; NaN means no entry"),
        ({"stop_loss": 5.0}, "stop_loss: the shape is (); give one dimension, one value for each bar"),
        ({"stop_loss": {"long": None}}, 'stop_loss: neither side has an array; give one array, or {"long": ..., "short": ...}'),
        ({"stop_loss": {"up": [1.0, 2.0]}}, 'stop_loss: got [\'up\']; give one array, or {"long": ..., "short": ...}'),
        ({"entry_stop": {"short": [[1.0, 2.0]]}}, "entry_stop.short: the shape is (1, 2); give one dimension, one value for each bar"),
        (
            {"trailing_stop": np.ma.masked_array([1.0, 2.0], [False, True])},
            "trailing_stop: bar 1 is masked; give one number for each bar; NaN means no entry",
        ),
    ],
    ids=str,
)
def test_wrong_sizes_and_levels_are_rejected_with_their_place(arrays: dict[str, Any], words: str) -> None:
    with pytest.raises(bt.StrategyError) as caught:
        bt.Signals(entry_long=MASK, **arrays)
    assert str(caught.value) == words


def test_levels_are_in_the_order_of_names_and_sides() -> None:
    signals = bt.Signals(entry_long=MASK, stop_loss=[1, 2], entry_stop={"short": np.array([3, 4], np.float32)})
    assert [None if level is None else level.tolist() for level in signals.levels] == [[1, 2], [1, 2], *[None] * 7, [3, 4]]


def test_sizes_and_levels_cannot_be_changed_from_outside() -> None:
    size, stop = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    signals = bt.Signals(entry_long=MASK, size=size, stop_loss=stop)
    before = signals.fingerprint
    size[:], stop[:] = 9.0, 9.0
    assert signals.fingerprint == before
    for array in (signals.size, signals.levels[0]):
        assert array is not None
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0


def test_every_size_and_level_is_part_of_the_fingerprint() -> None:
    one, two = [1.0, 2.0], [1.0, 3.0]
    others: list[dict[str, Any]] = [{}, {"size": one}, {"size": two}]
    for name in ("stop_loss", "take_profit", "trailing_stop", "entry_limit", "entry_stop"):
        others += [{name: one}, {name: two}, {name: {"long": one}}, {name: {"short": one}}, {name: {"long": one, "short": two}}]
    assert len({bt.Signals(entry_long=MASK, **arrays).fingerprint for arrays in others}) == len(others)
    both = bt.Signals(entry_long=MASK, stop_loss={"long": one, "short": one})
    assert both.fingerprint == bt.Signals(entry_long=MASK, stop_loss=one).fingerprint


def test_a_slice_has_the_arrays_of_its_bars() -> None:
    signals = bt.Signals(entry_long=[True, False, True], size=[1, 2, 3], stop_loss={"long": [4, 5, 6]})
    part = bt.Signals(entry_long=[False, True], size=[2, 3], stop_loss={"long": [5, 6]})
    assert signals[1:].fingerprint == part.fingerprint
    assert signals[1:].length == 2
