"""The queue: jobs in Redis, in ARQ's own format, with ARQ's worker; the only file that knows ARQ.

What ARQ leaves open is closed here and in `lease`: a job is claimed under a lease, workers are woken rather than polling, and a job that a
worker doesn't hold can't be finished by it. Redis is never the truth; the database is, and `outbox` makes Redis agree with it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import msgspec
from arq.connections import ArqRedis
from arq.constants import job_key_prefix
from arq.jobs import DeserializationError, deserialize_job_raw, serialize_job
from arq.worker import Retry, func
from arq.worker import Worker as ArqWorker
from redis.asyncio.retry import Retry as Reconnect
from redis.backoff import ExponentialBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, RedisError, TimeoutError

from workers.model.states import Priority

__all__ = [
    "ArqRedis",
    "ArqWorker",
    "ClaimedJob",
    "Queue",
    "QueueStats",
    "QueuedJob",
    "RedisError",
    "Retry",
    "arq_options",
    "func",
    "job_id",
    "open_queue",
    "split_job_id",
]

QUEUE: Final = "barstorm:queue"
WAKE: Final = "barstorm:wake:"
WORKERS: Final = "barstorm:workers"
CANCEL: Final = "barstorm:cancel:"
TURN: Final = "barstorm:turn:"
# As queue.lua names them.
_KEYS: Final = (
    QUEUE,
    "barstorm:timers",
    "barstorm:jobs",
    "barstorm:lease",
    "barstorm:lost",
    "barstorm:busy",
    "barstorm:turns",
    "barstorm:paused",
    "barstorm:line:",
    "barstorm:ring:",
    WAKE,
    job_key_prefix,
)
LEVELS: Final[Mapping[str, str]] = {Priority.HIGH: "0", Priority.NORMAL: "1", Priority.LOW: "2"}
CANCEL_TTL_S: Final = 3600
PAYLOAD_TTL_MS: Final = 7 * 86_400_000

_SCRIPT: Final = (Path(__file__).parent / "queue.lua").read_text()
_encode: Final = cast(Callable[[dict[str, Any]], bytes], msgspec.msgpack.encode)
_decode: Final = cast(Callable[[bytes], dict[str, Any]], msgspec.msgpack.decode)


class QueuedJob(NamedTuple):
    """A job to be sent: the function, the run, its number in the run, how long it waits, whose it is and how urgent."""

    kind: str
    run_id: str
    job: int
    delay_ms: int = 0
    owner: str = ""
    priority: str = Priority.NORMAL


class ClaimedJob(NamedTuple):
    """A job that a worker holds; `kind` is empty when what was sent can't be read. `lost` counts workers that fell silent with it."""

    id: str
    kind: str
    run_id: str
    job: int
    lost: int = 0


class QueueStats(NamedTuple):
    """How many jobs are ready, wait for their time, and are held by workers; the age of the oldest ready one (-1: there is none);
    `levels` are those with ready jobs whose owners may have more running."""

    ready: int
    delayed: int
    held: int
    age_ms: int
    paused: bool = False
    levels: str = ""


ALL_LEVELS: Final = "".join(LEVELS.values())


def job_id(run_id: str, job: int) -> str:
    """The id under which the queue has a job: sent twice, it is there once."""
    return f"{run_id}:{job}"


def split_job_id(identifier: str) -> tuple[str, int]:
    run_id, _, job = identifier.rpartition(":")
    return run_id, int(job)


class Queue:
    """The verbs of the queue over one Redis client. An owner has at most `owner_limit` jobs running at once; 0: as many as he likes."""

    def __init__(self, redis: ArqRedis, *, owner_limit: int = 0) -> None:
        self.redis = redis
        self._owner_limit = owner_limit

    @cached_property
    def _script(self) -> Callable[..., Awaitable[Any]]:
        return cast(Callable[..., Awaitable[Any]], self.redis.register_script(_SCRIPT))

    async def _call(self, verb: str, *arguments: str | bytes | int) -> Any:
        return await self._script(keys=_KEYS, args=[verb, self._owner_limit, *arguments])

    async def enqueue(self, jobs: Sequence[QueuedJob]) -> int:
        """Send jobs and wake workers; how many were not there already."""
        now_ms = time.time_ns() // 1_000_000
        added = 0
        for start in range(0, len(jobs), 500):
            arguments: list[str | bytes | int] = []
            for job in jobs[start : start + 500]:
                payload = serialize_job(job.kind, (job.run_id, job.job), {}, None, now_ms, serializer=_encode)
                arguments += [job_id(job.run_id, job.job), LEVELS[job.priority] + job.owner, payload, job.delay_ms]
            added += int(await self._call("enqueue", PAYLOAD_TTL_MS, *arguments))
        return added

    async def exchange(
        self, worker: str, lease_ms: int, most: int, *, levels: str = ALL_LEVELS, done: Sequence[str] = ()
    ) -> tuple[list[ClaimedJob], int]:
        """Let go of jobs that are done, and claim others: this worker's until the lease ends.

        If there are none, the number is milliseconds until there may be some (-1: nothing is queued).
        """
        answer = await self._call("exchange", worker, lease_ms, most, levels, *done)
        if isinstance(answer, int):
            return [], answer
        return [_claimed(identifier.decode(), payload, int(lost or 0)) for identifier, payload, lost in zip(*answer, strict=True)], 0

    async def renew(self, worker: str, lease_ms: int, ids: Iterable[str]) -> set[str]:
        """Prolong the leases; returns the ids that another worker has taken over."""
        return {identifier.decode() for identifier in await self._call("renew", worker, lease_ms, *ids)}

    async def finish(self, worker: str, *ids: str) -> None:
        """Let go of jobs that are done; nothing happens to those that another worker has."""
        await self._call("exchange", worker, 0, 0, "", *ids)

    async def release(self, worker: str, identifier: str, delay_ms: int) -> None:
        """Give a job back, to be claimed by any worker after the delay."""
        await self._call("release", worker, identifier, delay_ms)

    async def drop(self, run_id: str, job: int) -> None:
        """Take a job that nobody holds out of the queue."""
        await self._call("drop", job_id(run_id, job))

    async def pause(self) -> None:
        """Let workers finish what they have and claim no more."""
        await self._call("pause")

    async def resume(self) -> None:
        await self._call("resume")

    async def figures(self) -> QueueStats:
        ready, delayed, held, age_ms, paused, levels = await self._call("figures")
        return QueueStats(ready, delayed, held, age_ms, bool(paused), levels.decode())

    async def wait(self, timeout_s: float, levels: str = ALL_LEVELS) -> str | None:
        """Sleep until a job of these levels is sent, at most so long; returns the level."""
        lists = [WAKE + level for level in levels]
        woken = await cast(Awaitable[Any], self.redis.blpop(lists, timeout=cast(int, max(timeout_s, 0.01))))
        return woken[0].decode()[-1] if woken else None

    async def wake(self, levels: str = ALL_LEVELS) -> None:
        """Wake one worker that waits for each of these levels."""
        async with self.redis.pipeline(transaction=False) as pipe:
            for level in levels:
                pipe.rpush(WAKE + level, "")
            await pipe.execute()

    async def missing(self, jobs: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
        """Which of these (run, job) the queue doesn't have."""
        if not jobs:
            return []
        scores = await self.redis.zmscore(QUEUE, [job_id(*job) for job in jobs])
        return [job for job, score in zip(jobs, scores, strict=True) if score is None]

    async def request_cancel(self, run_ids: Sequence[str]) -> None:
        """Tell the workers that run them to stop."""
        async with self.redis.pipeline(transaction=False) as pipe:
            for run_id in run_ids:
                pipe.set(CANCEL + run_id, b"1", ex=CANCEL_TTL_S)
            await pipe.execute()

    async def cancelled(self, run_ids: Sequence[str]) -> list[str]:
        """Which of these runs are to be stopped."""
        flags = await self.redis.mget([CANCEL + run_id for run_id in run_ids])
        return [run_id for run_id, flag in zip(run_ids, flags, strict=True) if flag is not None]

    async def my_turn(self, what: str, every_s: float) -> bool:
        """True for one caller in each period, whoever comes first."""
        return bool(await self.redis.set(TURN + what, b"1", nx=True, px=int(every_s * 1000)))


def _claimed(identifier: str, payload: bytes | None, lost: int) -> ClaimedJob:
    run_id, number = split_job_id(identifier)
    try:
        kind, *_ = deserialize_job_raw(payload, deserializer=_decode) if payload else ("",)
    except DeserializationError:
        kind = ""
    return ClaimedJob(identifier, str(kind), run_id, number, lost)


@asynccontextmanager
async def open_queue(url: str, *, owner_limit: int = 0) -> AsyncIterator[Queue]:
    """A queue on the Redis at `url`; nothing is sent before the first verb. A lost connection is tried again for a moment."""
    client: ArqRedis = ArqRedis.from_url(
        url,
        retry=Reconnect(ExponentialBackoff(cap=0.1, base=0.01), 2),
        retry_on_error=[ConnectionError, TimeoutError, BusyLoadingError],
        socket_connect_timeout=3,
        health_check_interval=30,
    )
    client.job_serializer = _encode
    client.job_deserializer = _decode
    client.default_queue_name = QUEUE
    try:
        yield Queue(client, owner_limit=owner_limit)
    finally:
        await client.aclose()


def arq_options(queue: Queue) -> dict[str, Any]:
    """What ARQ's worker must be told to speak this queue's format. Attempts are counted in the database, and results kept there."""
    return {
        "queue_name": QUEUE,
        "redis_pool": queue.redis,
        "job_serializer": _encode,
        "job_deserializer": _decode,
        "keep_result": 0,
        "max_tries": 2**31,
        "handle_signals": False,
    }
