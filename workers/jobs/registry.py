"""The kinds of jobs there are.

To add one: write what it does as `attempts.JobKind` tells, in a file of its own beside `backtests.py`; list it below with its timeout and
retry policy where the settings' don't suit; accept it with `store.insert_run` (a `RunRow` of that kind), which puts its job into the outbox
in the same transaction. Queue, leases, retries, cancel, dead letters and takeover are then those of every other job.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final

from workers.fetch import requests
from workers.jobs import backtest, fetch
from workers.jobs.attempt import JobKind, attempt

Function = Callable[..., Coroutine[Any, Any, object]]

KINDS: Final = (
    JobKind("backtest", backtest.run),
    JobKind(requests.KIND, fetch.run, timeout_s=86_400.0, passing=fetch.passing),
)
FUNCTIONS: Final[Mapping[str, Function]] = {kind.name: partial(attempt, kind) for kind in KINDS}
