"""The kinds of jobs there are.

To add one: write what it does as `attempts.Kind` tells, in a file of its own beside `backtests.py`; list it below with its timeout and
retry policy where the settings' don't suit; accept it with `store.insert_run` (a `RunRow` of that kind), which puts its job into the outbox
in the same transaction. Queue, leases, retries, cancel, dead letters and takeover are then those of every other job.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final

from workers import backtests, fetching
from workers.attempts import Kind, attempt
from workers.fetch import requests

Function = Callable[..., Coroutine[Any, Any, object]]

KINDS: Final = (
    Kind("backtest", backtests.run),
    Kind(requests.KIND, fetching.run, timeout_s=86_400.0, passing=fetching.passing),
)
FUNCTIONS: Final[Mapping[str, Function]] = {kind.name: partial(attempt, kind) for kind in KINDS}
