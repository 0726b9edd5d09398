"""A handle on a running call: cancel it from another thread, or read its progress."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from python_core.errors import Cancelled

if TYPE_CHECKING:
    from python_core._core_rs import Flag
else:
    try:
        # By name, as import-linter takes a plain import of the compiled module for one of the whole package.
        Flag = import_module("python_core._core_rs").Flag
    except ImportError:

        class Flag:
            """Stands in for the compiled module's flag on the Python engine."""

            def __init__(self) -> None:
                self.cancelled = False
                self.progress = 0.0


class Control:
    """Cancels a running `backtest`, `simulate` or `sweep` and reports its progress. Safe to use from any thread.

    Example:
        from threading import Thread

        control = bt.Control()
        strategy = bt.Strategy(entry_long="close > open")
        Thread(target=bt.backtest, args=(bt.synthetic(1_000), strategy), kwargs={"control": control}).start()
        control.progress  # or control.cancel(), which makes the call raise bt.Cancelled
    """

    def __init__(self) -> None:
        self.flag = Flag()

    def cancel(self) -> None:
        """End the call within milliseconds, by raising `Cancelled` in it; the Python engine first finishes the current indicator."""
        self.flag.cancelled = True

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self.flag.cancelled

    @property
    def progress(self) -> float:
        """Progress of the call, a fraction from 0 to 1."""
        return self.flag.progress

    def check(self, progress: float) -> None:
        """Record the progress and stop if cancelled. The Python engine calls it before each indicator and every few milliseconds.

        Raises:
            Cancelled: after `cancel()`.
        """
        self.flag.progress = progress
        if self.flag.cancelled:
            raise Cancelled("the call was cancelled")
