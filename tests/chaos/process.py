"""The service's commands, with logged executions and injected failures: python process.py COMMAND...

The beginning and end of each kernel execution are logged to the file CHAOS_LOG. A strategy with the param `poison` kills the process that
executes it. CHAOS_SKEW_S shifts the process's clock. If the file CHAOS_KILL_AFTER_COMMIT exists, the next submission kills the process after
its commit, before its job is sent to the queue.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import python_core as bt


def shift_clock(seconds: float) -> None:
    """Shift the time of day as Python reports it. The monotonic clock is left alone: it is never compared between machines."""
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + seconds
    time.time_ns = lambda: real_ns() + int(seconds * 1e9)


def log_executions(path: str) -> None:
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    backtest = bt.backtest

    def logged(bars: bt.Bars, strategy: bt.Strategy, execution: bt.Execution, **options: Any) -> bt.Result:
        name = bt.fingerprint(bars, strategy, execution)
        os.write(log, f"begin {os.getpid()} {name}\n".encode())
        if "poison" in strategy.params:
            os.kill(os.getpid(), signal.SIGKILL)
        result = backtest(bars, strategy, execution, **options)
        os.write(log, f"end {os.getpid()} {name}\n".encode())
        return result

    bt.backtest = logged


def kill_after_commit(path: Path) -> None:
    from workers.runs.intake import Intake

    submit = Intake.submit

    async def submit_and_kill(*arguments: Any, **options: Any) -> Any:
        run = await submit(*arguments, **options)
        if path.exists():
            path.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return run

    Intake.submit = submit_and_kill  # type: ignore[method-assign]


if __name__ == "__main__":
    shift_clock(float(os.environ.get("CHAOS_SKEW_S", "0")))
    log_executions(os.environ["CHAOS_LOG"])
    kill_after_commit(Path(os.environ["CHAOS_KILL_AFTER_COMMIT"]))
    from workers.cli.main import main

    sys.exit(main(sys.argv[1:]))
