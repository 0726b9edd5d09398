"""What happens to a run, as it happens: a Redis stream for each, bounded, read from any place on, and gone some time after its end.

Events are news, not truth: who hears that a run has ended asks the database how, and asks it now and then in case the news is lost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Annotated, Any, Final, NamedTuple, Protocol, cast

import msgspec
from msgspec import Meta

from workers.model.clock import now_ms
from workers.model.states import RunState
from workers.queue.queue import Queue, RedisError

STREAM: Final = "barstorm:events:"
MOST_EVENTS: Final = 200
OPEN_TTL_S: Final = 86_400
ENDED_TTL_S: Final = 300
TELL_S: Final = 0.2
LEAST_CHANGE: Final = 0.005


class RunEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Progress of a run."""

    state: RunState
    at: Annotated[int, Meta(description="When it happened, UTC epoch milliseconds.")]
    fraction: Annotated[float | None, Meta(description="Fraction done, from 0 to 1.")] = None
    message: Annotated[str, Meta(description="What the worker is doing.")] = ""
    eta_s: Annotated[float | None, Meta(description="Estimated seconds until it is done.")] = None


class StreamedEvent(NamedTuple):
    """An event and its place in the stream, from which one can read on."""

    id: str
    event: RunEvent


class ProgressReport(Protocol):
    """A job that can be asked how far it is."""

    run_id: str
    message: str

    @property
    def progress(self) -> float: ...


async def tell(queue: Queue, run_id: str, state: RunState, *, ends: bool = False) -> None:
    """Tell that a run is in another state; a Redis that doesn't answer hears nothing of it."""
    with suppress(RedisError, OSError):
        await _publish(queue, {run_id: RunEvent(state=state, at=now_ms())}, ENDED_TTL_S if ends else OPEN_TTL_S)


async def tell_progress(queue: Queue, jobs: Mapping[str, ProgressReport]) -> None:
    """Tell again and again how far these jobs are, until cancelled."""
    told: dict[ProgressReport, tuple[float, float]] = {}
    while True:
        await asyncio.sleep(TELL_S)
        now, news = time.monotonic(), {}
        told = {job: told.get(job, (now, 0.0)) for job in jobs.values()}
        for job, (since, last) in told.items():
            fraction = min(max(job.progress, 0.0), 1.0)
            if fraction - last >= LEAST_CHANGE:
                eta_s = round((now - since) * (1 - fraction) / fraction, 1) if now > since else None
                news[job.run_id] = RunEvent(
                    state=RunState.RUNNING, at=now_ms(), fraction=round(fraction, 4), message=job.message, eta_s=eta_s
                )
                told[job] = (since, fraction)
        if news:
            with suppress(RedisError, OSError):
                await _publish(queue, news, OPEN_TTL_S)


async def read(queue: Queue, run_id: str, after: str, wait_s: float) -> list[StreamedEvent]:
    """Events after that place (`0-0`: all there are); waits for one at most so long."""
    found = await queue.redis.xread({STREAM + run_id: after}, count=MOST_EVENTS, block=int(wait_s * 1000))
    entries: Iterable[tuple[bytes, dict[bytes, bytes]]] = cast(Any, found)[0][1] if found else ()
    return [StreamedEvent(identifier.decode(), msgspec.json.decode(fields[b"event"], type=RunEvent)) for identifier, fields in entries]


async def _publish(queue: Queue, news: Mapping[str, RunEvent], ttl_s: int) -> None:
    async with queue.redis.pipeline(transaction=False) as pipe:
        for run_id, event in news.items():
            pipe.xadd(STREAM + run_id, {"event": msgspec.json.encode(event)}, maxlen=MOST_EVENTS, approximate=False)
            pipe.expire(STREAM + run_id, ttl_s)
        await pipe.execute()
