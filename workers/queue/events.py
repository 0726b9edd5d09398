"""Events of runs: changes of state and progress, announced to all API processes over one channel.

An announcement may get lost, so a reader looks into the database after every gap in its subscription. Progress is also stored, in a bounded
Redis stream per run that is deleted some time after its last event, so that a client can go on after the last event it received.
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
from workers.queue.queue import Queue, RedisError

MAX_EVENTS: Final = 200
STORED_S: Final = 300
PROGRESS_S: Final = 0.2
MIN_CHANGE: Final = 0.005
# Changes of state in one message.
BATCH: Final = 1000


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


class Announcement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message to all API processes: new states of runs, and progress, by run id."""

    states: dict[str, RunState] = {}
    progress: dict[str, StreamedEvent] = {}


class ProgressReport(Protocol):
    """A job that reports its progress."""

    run_id: str
    message: str

    @property
    def progress(self) -> float: ...


async def publish_states(queue: Queue, changes: Mapping[str, RunState]) -> None:
    """Announce the new states of runs. Call it after the transaction that changed them, once for all of them.

    If Redis does not answer, they are announced with the next changes, or by the relay (`workers.runs.outbox`).
    """
    queue.unpublished.update(changes)
    with suppress(RedisError, OSError):
        await publish_unpublished(queue)


async def publish_unpublished(queue: Queue) -> None:
    """Announce the changes of state that have not been announced yet.

    Raises:
        RedisError, OSError: Redis does not answer.
    """
    if not queue.unpublished:
        return
    changes, queue.unpublished = queue.unpublished, {}
    items = list(changes.items())
    try:
        async with queue.redis.pipeline(transaction=False) as pipe:
            for start in range(0, len(items), BATCH):
                pipe.publish(keys.CHANGES, msgspec.json.encode(Announcement(states=dict(items[start : start + BATCH]))))
            await pipe.execute()
    except BaseException:
        queue.unpublished = changes | queue.unpublished
        raise


async def publish_progress(queue: Queue, jobs: Mapping[str, ProgressReport]) -> None:
    """Store and announce the progress of these jobs, whenever it has changed, until cancelled. A short job ends before its first report."""
    # When each job was first seen, and the fraction published last.
    published: dict[ProgressReport, tuple[float, float]] = {}
    while True:
        await asyncio.sleep(PROGRESS_S)
        now, changes = time.monotonic(), {}
        published = {job: published.get(job, (now, 0.0)) for job in jobs.values()}
        for job, (since, last) in published.items():
            fraction = min(max(job.progress, 0.0), 1.0)
            if now > since and fraction - last >= MIN_CHANGE:
                eta_s = round((now - since) * (1 - fraction) / fraction, 1)
                changes[job.run_id] = RunEvent(
                    state=RunState.RUNNING, at=now_ms(), fraction=round(fraction, 4), message=job.message, eta_s=eta_s
                )
                published[job] = (since, fraction)
        if changes:
            with suppress(RedisError, OSError):
                await _publish_progress(queue, changes)


async def _publish_progress(queue: Queue, changes: Mapping[str, RunEvent]) -> None:
    async with queue.redis.pipeline(transaction=False) as pipe:
        for run_id, event in changes.items():
            pipe.xadd(keys.events(run_id), {"event": msgspec.json.encode(event)}, maxlen=MAX_EVENTS, approximate=False)
            pipe.expire(keys.events(run_id), STORED_S)
        ids = (await pipe.execute())[::2]
    progress = {run_id: StreamedEvent(id_.decode(), event) for id_, (run_id, event) in zip(ids, changes.items(), strict=True)}
    await queue.redis.publish(keys.CHANGES, msgspec.json.encode(Announcement(progress=progress)))


async def read(queue: Queue, run_id: str, after: str) -> list[StreamedEvent]:
    """The stored events after an id (`0-0`: all)."""
    streams = await queue.redis.xread({keys.events(run_id): after}, count=MAX_EVENTS)
    entries: Iterable[tuple[bytes, dict[bytes, bytes]]] = cast(Any, streams)[0][1] if streams else ()
    return [StreamedEvent(identifier.decode(), msgspec.json.decode(fields[b"event"], type=RunEvent)) for identifier, fields in entries]
