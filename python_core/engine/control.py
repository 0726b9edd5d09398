"""A handle on a running call: cancel it from another thread, and see how far it is."""

from __future__ import annotations

from python_core.errors import Cancelled

try:
    from python_core._core_rs import Flag
except ImportError:

    class Flag:  # type: ignore[no-redef]
        """What the compiled module shares between threads without the interpreter's lock."""

        def __init__(self) -> None:
            self.cancelled = False
            self.progress = 0.0


class Control:
    """Pass one to `backtest`, `simulate` or `sweep`; `cancel()` ends the call with `Cancelled`, `progress` is a fraction from 0 to 1."""

    def __init__(self) -> None:
        self.flag = Flag()

    def cancel(self) -> None:
        """End the call that holds this handle within milliseconds, on the Python engine at the end of an indicator; safe from any thread."""
        self.flag.cancelled = True

    @property
    def cancelled(self) -> bool:
        return self.flag.cancelled

    @property
    def progress(self) -> float:
        return self.flag.progress

    def check(self, progress: float) -> None:
        """Note the progress, and stop if asked to; the Python engine calls it before each indicator and every few milliseconds of simulation.

        Raises:
            Cancelled: after `cancel()`.
        """
        self.flag.progress = progress
        if self.flag.cancelled:
            raise Cancelled("the call was cancelled")
