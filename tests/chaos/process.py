"""The commands of the service, in processes that log what they execute and can be made to fail: python process.py COMMAND...

Every execution of the kernel is written to the file CHAOS_LOG when it begins and when it has ended. A strategy with the param `poison` kills
the process that executes it. CHAOS_SKEW_S shifts the process's clock. While the file CHAOS_AMBUSH exists, the next submission
kills the process after its commit, before its job is sent to the queue.
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
    """Shift the time of day as Python reports it. The monotonic clock stays, as it is never compared between machines."""
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


def lay_ambush(path: Path) -> None:
    from workers.runs import submit

    submit_run = submit.submit

    async def submit_and_die(*arguments: Any, **options: Any) -> Any:
        run = await submit_run(*arguments, **options)
        if path.exists():
            path.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return run

    submit.submit = submit_and_die


if __name__ == "__main__":
    shift_clock(float(os.environ.get("CHAOS_SKEW_S", "0")))
    log_executions(os.environ["CHAOS_LOG"])
    lay_ambush(Path(os.environ["CHAOS_AMBUSH"]))
    from workers.cli.main import main

    sys.exit(main(sys.argv[1:]))
