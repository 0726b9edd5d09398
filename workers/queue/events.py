"""Events of a run: a bounded Redis stream per run, readable from any event on, deleted some time after the run has ended.

Events may get lost. Readers take the outcome of a run from the database, and check it now and then.
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
from workers.queue import keys
from workers.queue.queue import MAX_WAIT_S, Queue, RedisError

MAX_EVENTS: Final = 200
OPEN_TTL_S: Final = 86_400
ENDED_TTL_S: Final = 300
PROGRESS_S: Final = 0.2
MIN_CHANGE: Final = 0.005


class RunEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Progress of a run."""

    state: RunState
    at: Annotated[int, Meta(description="When it happened, UTC epoch milliseconds.")]
    fraction: Annotated[float | None, Meta(description="Fraction done, from 0 to 1.")] = None
    message: Annotated[str, Meta(description="What the worker is doing.")] = ""
    eta_s: Annotated[float | None, Meta(description="Estimated seconds until it is done.")] = None


class StreamedEvent(NamedTuple):
    """An event and its id, from which reading can go on."""

    id: str
    event: RunEvent


class ProgressReport(Protocol):
    """A job that reports its progress."""

    run_id: str
    message: str

    @property
    def progress(self) -> float: ...


async def publish_state(queue: Queue, run_id: str, state: RunState, *, ends: bool = False) -> None:
    """Publish a change of state; skipped if Redis does not answer."""
    with suppress(RedisError, OSError):
        await _publish(queue, {run_id: RunEvent(state=state, at=now_ms())}, ENDED_TTL_S if ends else OPEN_TTL_S)


async def publish_progress(queue: Queue, jobs: Mapping[str, ProgressReport]) -> None:
    """Publish the progress of these jobs, whenever it has changed, until cancelled."""
    # When each job was first seen, and the fraction published last.
    published: dict[ProgressReport, tuple[float, float]] = {}
    while True:
        await asyncio.sleep(PROGRESS_S)
        now, changes = time.monotonic(), {}
        published = {job: published.get(job, (now, 0.0)) for job in jobs.values()}
        for job, (since, last) in published.items():
            fraction = min(max(job.progress, 0.0), 1.0)
            if fraction - last >= MIN_CHANGE:
                eta_s = round((now - since) * (1 - fraction) / fraction, 1) if now > since else None
                changes[job.run_id] = RunEvent(
                    state=RunState.RUNNING, at=now_ms(), fraction=round(fraction, 4), message=job.message, eta_s=eta_s
                )
                published[job] = (since, fraction)
        if changes:
            with suppress(RedisError, OSError):
                await _publish(queue, changes, OPEN_TTL_S)


async def read(queue: Queue, run_id: str, after: str, wait_s: float) -> list[StreamedEvent]:
    """Events after an id (`0-0`: all); waits up to `wait_s`, at most `MAX_WAIT_S`, for the first."""
    streams = await queue.blocking.xread({keys.events(run_id): after}, count=MAX_EVENTS, block=int(min(wait_s, MAX_WAIT_S) * 1000))
    entries: Iterable[tuple[bytes, dict[bytes, bytes]]] = cast(Any, streams)[0][1] if streams else ()
    return [StreamedEvent(identifier.decode(), msgspec.json.decode(fields[b"event"], type=RunEvent)) for identifier, fields in entries]


async def _publish(queue: Queue, changes: Mapping[str, RunEvent], ttl_s: int) -> None:
    async with queue.redis.pipeline(transaction=False) as pipe:
        for run_id, event in changes.items():
            pipe.xadd(keys.events(run_id), {"event": msgspec.json.encode(event)}, maxlen=MAX_EVENTS, approximate=False)
            pipe.expire(keys.events(run_id), ttl_s)
        await pipe.execute()
