"""How long attempts took: a histogram for each kind of job, counted by all workers together, in one Redis hash.

The counts start from zero when Redis has lost them, which is what readers of Prometheus' counters expect.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable
from itertools import accumulate
from typing import Annotated, Final, cast

import msgspec
from msgspec import Meta

from workers.queue import keys
from workers.queue.queue import Queue

# Upper bounds of the buckets, in seconds, as Prometheus names them.
BOUNDS: Final = ("0.01", "0.03", "0.1", "0.3", "1.0", "3.0", "10.0", "30.0", "100.0", "300.0", "1000.0", "3000.0", "+Inf")
_SUM: Final = "sum_us"


class AttemptDurations(msgspec.Struct, frozen=True, kw_only=True):
    """How long attempts of one kind took, from their claim to their end, whatever the end."""

    kind: Annotated[str, Meta(description="Kind of job.", examples=["backtest"])]
    count: Annotated[int, Meta(description="Number of attempts.")]
    sum_s: Annotated[float, Meta(description="Their time together, in seconds.")]
    buckets: Annotated[dict[str, int], Meta(description="Number of attempts that took at most so many seconds, by this number of seconds.")]


class Durations:
    """The durations that a worker has observed and not sent yet."""

    def __init__(self) -> None:
        self._unsent: Counter[str] = Counter()

    def observe(self, kind: str, seconds: float) -> None:
        bound = next(bound for bound in BOUNDS if seconds <= float(bound))
        self._unsent.update({f"{kind}:{bound}": 1, f"{kind}:{_SUM}": round(seconds * 1e6)})

    async def send(self, queue: Queue) -> None:
        """Add them to those of all workers; they stay unsent if this fails."""
        if not self._unsent:
            return
        sent, self._unsent = self._unsent, Counter()
        try:
            async with queue.redis.pipeline(transaction=True) as pipe:
                for field, number in sent.items():
                    pipe.hincrby(keys.DURATIONS, field, number)
                await pipe.execute()
        except BaseException:
            self._unsent.update(sent)
            raise


async def read_durations(queue: Queue) -> tuple[AttemptDurations, ...]:
    """The durations of all workers since Redis began to count, by kind."""
    raw = await cast(Awaitable[dict[bytes, bytes]], queue.redis.hgetall(keys.DURATIONS))
    counts = {field.decode(): int(number) for field, number in raw.items()}
    kinds = sorted({field.rpartition(":")[0] for field in counts})
    return tuple(_histogram(kind, counts) for kind in kinds)


def _histogram(kind: str, counts: dict[str, int]) -> AttemptDurations:
    cumulative = dict(zip(BOUNDS, accumulate(counts.get(f"{kind}:{bound}", 0) for bound in BOUNDS), strict=True))
    return AttemptDurations(kind=kind, count=cumulative["+Inf"], sum_s=counts.get(f"{kind}:{_SUM}", 0) / 1e6, buckets=cumulative)
