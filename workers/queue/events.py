"""Events of runs: changes of state and progress, announced to all API processes over one channel.

An announcement may get lost, so a reader looks into the database after every gap in its subscription. Progress is also stored, in a bounded
Redis stream per run that is deleted some time after its last event, so that a client can go on after the last event it received. All
announcements are stored in one more stream, for those who follow all runs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any, Final, NamedTuple, Protocol, cast

import msgspec
from msgspec import Meta
from redis.asyncio.client import Pipeline

from workers.model.clock import now_ms
from workers.model.states import RunState
from workers.queue import keys
from workers.queue.queue import ANNOUNCED_RUNS, ANNOUNCED_S, MAX_ANNOUNCED, MAX_WAIT_S, Queue, RedisError

MAX_EVENTS: Final = 200
STORED_S: Final = 300
PROGRESS_S: Final = 0.2
MIN_CHANGE: Final = 0.005
# Changes of state in one message, and messages that are read at once.
BATCH: Final = 1000
READ: Final = 100
# The id before the first one of a stream.
FIRST: Final = "0-0"


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
    if not queue.unpublished and not queue.accepted:
        return
    changes, queue.unpublished = queue.unpublished, {}
    accepted, queue.accepted = queue.accepted, {}
    try:
        async with queue.redis.pipeline(transaction=False) as pipe:
            for announcement in _announcements(changes, BATCH):
                pipe.publish(keys.CHANGES, announcement)
            for announcement in _announcements(accepted | changes, ANNOUNCED_RUNS):
                _store(pipe, announcement)
            await pipe.execute()
    except BaseException:
        queue.unpublished, queue.accepted = changes | queue.unpublished, accepted | queue.accepted
        raise


def _store(pipe: Pipeline, announcement: bytes) -> None:
    pipe.xadd(keys.ANNOUNCED, {"data": announcement}, maxlen=MAX_ANNOUNCED)
    pipe.expire(keys.ANNOUNCED, ANNOUNCED_S)


def _announcements(changes: Mapping[str, RunState], size: int) -> Iterator[bytes]:
    items = list(changes.items())
    for start in range(0, len(items), size):
        yield msgspec.json.encode(Announcement(states=dict(items[start : start + size])))


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
    announcement = msgspec.json.encode(Announcement(progress=progress))
    async with queue.redis.pipeline(transaction=False) as pipe:
        pipe.publish(keys.CHANGES, announcement)
        _store(pipe, announcement)
        await pipe.execute()


async def read(queue: Queue, run_id: str, after: str) -> list[StreamedEvent]:
    """The stored events after an id (`0-0`: all)."""
    streams = await queue.redis.xread({keys.events(run_id): after}, count=MAX_EVENTS)
    entries: Iterable[tuple[bytes, dict[bytes, bytes]]] = cast(Any, streams)[0][1] if streams else ()
    return [StreamedEvent(identifier.decode(), msgspec.json.decode(fields[b"event"], type=RunEvent)) for identifier, fields in entries]


class StoredAnnouncement(NamedTuple):
    """An announcement and its id, which begins with the time of the Redis server in milliseconds."""

    id: str
    announcement: Announcement


async def last_announced(queue: Queue) -> str:
    """The id of the last announcement; `0-0` without one."""
    entries: Any = await queue.redis.xrevrange(keys.ANNOUNCED, count=1)
    return entries[0][0].decode() if entries else FIRST


async def is_stored(queue: Queue, id_: str) -> bool:
    """Whether an announcement is still stored, and thus all after it."""
    if id_ == FIRST:
        return bool(await queue.redis.xlen(keys.ANNOUNCED) < MAX_ANNOUNCED)
    return bool(await queue.redis.xrange(keys.ANNOUNCED, id_, id_))


async def read_announced(queue: Queue, after: str, *, wait: bool) -> list[StoredAnnouncement]:
    """The announcements after an id, at most a batch; if there are none, those that come within `MAX_WAIT_S`, or none."""
    client = queue.blocking if wait else queue.redis
    streams: Any = await client.xread({keys.ANNOUNCED: after}, count=READ, block=int(MAX_WAIT_S * 1000) if wait else None)
    return [StoredAnnouncement(id_.decode(), _decode(fields[b"data"])) for id_, fields in (streams[0][1] if streams else ())]


def _decode(data: bytes) -> Announcement:
    try:
        return msgspec.json.decode(data, type=Announcement)
    except msgspec.MsgspecError:
        return Announcement()  # of another version
