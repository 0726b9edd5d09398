"""The kinds of job.

To add one, write its work as `attempt.JobKind` describes, in a file of its own next to `backtest.py`, and list it below, with a timeout and a
retry policy if those of the settings don't suit. Accept its runs with `store.insert_run`, which puts the job into the outbox in the same
transaction. Queueing, leases, retries, cancellation, takeover and dead letters then work as for every other job.
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
    JobKind(requests.KIND, fetch.run, timeout_s=86_400.0, is_transient=fetch.is_transient),
)
FUNCTIONS: Final[Mapping[str, Function]] = {kind.name: partial(attempt, kind) for kind in KINDS}
