"""Calls that are cancelled or interrupted."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import python_core as bt
from tests.support.marks import needs_rust

Call = Callable[[bt.Control], Any]


@pytest.fixture(scope="module")
def long_calls() -> dict[str, Call]:
    """Calls that take a second or more."""
    bars = bt.synthetic(bars=3_000_000, seed=3, timeframe="1m")
    names = ("entry_long", "exit_long", "entry_short", "exit_short")
    slow = bt.Strategy(
        **{name: " and ".join(f"ema(close, {n}) > ema(open, {n})" for n in range(2 + 38 * k, 40 + 38 * k)) for k, name in enumerate(names)}
    )
    cross = bt.Strategy(entry_long="crossover(sma(close, a), sma(close, b))", exit_long="close < sma(close, a)", params={"a": 1, "b": 2})
    grid = {"a": range(2, 202), "b": range(210, 710)}
    return {
        "run": lambda control: bt.backtest(bars, slow, control=control),
        "sweep": lambda control: bt.sweep(bars[:100_000], cross, grid, control=control),
    }


@needs_rust
@pytest.mark.parametrize("which", ["run", "sweep"])
@pytest.mark.parametrize("how", ["cancel", "ctrl-c"])
def test_a_call_ends_soon_after_cancel_or_ctrl_c(long_calls: dict[str, Call], which: str, how: str) -> None:
    call, control = long_calls[which], bt.Control()
    seen = [0.0]

    def stop() -> None:
        while control.progress == 0:
            time.sleep(0.001)
        seen[0] = control.progress
        if how == "cancel":
            control.cancel()
        else:
            signal.raise_signal(signal.SIGINT)

    thread = threading.Thread(target=stop)
    # A shell's background jobs are started with Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        thread.start()
        with pytest.raises(bt.Cancelled if how == "cancel" else KeyboardInterrupt):
            call(control)
        thread.join()
    finally:
        signal.signal(signal.SIGINT, before)
    # A fraction of the whole call, which takes a second or more.
    assert control.progress - seen[0] < 0.4


def test_the_python_engine_checks_for_cancellation_between_indicators() -> None:
    class Impatient(bt.Control):
        checks = 0

        def check(self, progress: float) -> None:
            self.checks += 1
            if self.checks == 2:
                self.cancel()
            super().check(progress)

    control = Impatient()
    with pytest.raises(bt.Cancelled):
        bt.backtest(bt.synthetic(100), bt.Strategy(entry_long="wma(close, 5) > wma(close, 9)"), engine="python", control=control)
    assert (control.checks, control.progress) == (2, 0.0)


@needs_rust
def test_a_cancelled_control_ends_a_call_at_once() -> None:
    control = bt.Control()
    control.cancel()
    with pytest.raises(bt.Cancelled):
        bt.simulate(bt.synthetic(50), bt.Signals(entry_long=np.ones(50, dtype=bool)), control=control)
