"""The queue: jobs in Redis, in ARQ's format. The only file that imports ARQ.

Beyond ARQ, a worker claims jobs under leases, only the worker that holds a job can finish it, and idle workers are woken instead of polling.
The database is the source of truth; `outbox` and `reconcile` bring Redis in line with it.
"""

from __future__ import annotations

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
from redis.asyncio.connection import AbstractConnection, Connection, ConnectionPool
from redis.asyncio.retry import Retry as Reconnect
from redis.backoff import ExponentialBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, ReadOnlyError, RedisError

from workers.model.clock import now_ms
from workers.model.states import Priority, RunState
from workers.queue import keys

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

# In the order in which queue.lua unpacks them.
_SCRIPT_KEYS: Final = (
    keys.QUEUE,
    keys.TIMERS,
    keys.JOBS,
    keys.LEASES,
    keys.EXPIRED,
    keys.RUNNING,
    keys.COUNTERS,
    keys.PAUSED,
    keys.READY,
    keys.OWNERS,
    keys.WAKE,
    job_key_prefix,
    keys.ANNOUNCED,
)
PRIORITY_CODES: Final[Mapping[str, str]] = {Priority.HIGH: "0", Priority.NORMAL: "1", Priority.LOW: "2"}
ALL_PRIORITIES: Final = "".join(PRIORITY_CODES.values())
BATCH: Final = 500
CANCEL_TTL_S: Final = 3600
# Time limit of a call, and the longest time that a blocking call may wait in addition.
CALL_S: Final = 3.0
MAX_WAIT_S: Final = 2.0
PAYLOAD_TTL_MS: Final = 7 * 86_400_000
# How many announcements are stored, about how many runs each, and for how long after the latest one.
MAX_ANNOUNCED: Final = 5_000
ANNOUNCED_RUNS: Final = 100
ANNOUNCED_S: Final = 86_400

_SCRIPT: Final = "".join((Path(__file__).parent / name).read_text() for name in ("queue.lua", "claim.lua", "commands.lua", "repair.lua"))
_encode: Final = cast(Callable[[dict[str, Any]], bytes], msgspec.msgpack.encode)
_decode: Final = cast(Callable[[bytes], dict[str, Any]], msgspec.msgpack.decode)


class QueuedJob(NamedTuple):
    """A job to enqueue; `kind` names its function, and `job` is its number within the run."""

    kind: str
    run_id: str
    job: int
    delay_ms: int = 0
    owner: str = ""
    priority: str = Priority.NORMAL


class ClaimedJob(NamedTuple):
    """A job that a worker holds. `kind` is empty if the payload is unreadable; `expired_leases` counts workers that stopped renewing it."""

    id: str
    kind: str
    run_id: str
    job: int
    expired_leases: int = 0


class QueueStats(NamedTuple):
    """Numbers of ready, delayed and held jobs; `age_ms` is that of the oldest ready job (-1: none), `claimable` the priorities with jobs
    that may be claimed now."""

    ready: int
    delayed: int
    held: int
    age_ms: int
    paused: bool = False
    claimable: str = ""


def job_id(run_id: str, job: int) -> str:
    """The id of a job in the queue; enqueuing an id twice has no effect."""
    return f"{run_id}:{job}"


def split_job_id(identifier: str) -> tuple[str, int]:
    run_id, _, job = identifier.rpartition(":")
    return run_id, int(job)


class Queue:
    """The operations of the queue. An owner has at most `owner_limit` jobs running at once; 0: no limit.

    Every call of `redis` has a short time limit. Calls that block, for up to `MAX_WAIT_S`, belong on the client `blocking`.
    """

    def __init__(self, redis: ArqRedis, blocking: ArqRedis, *, owner_limit: int = 0) -> None:
        self.redis = redis
        self.blocking = blocking
        self._owner_limit = owner_limit
        # New states of runs that `events` has yet to announce, and the first states of those that were accepted without a job.
        self.unpublished: dict[str, RunState] = {}
        self.accepted: dict[str, RunState] = {}

    @cached_property
    def _script(self) -> Callable[..., Awaitable[Any]]:
        return cast(Callable[..., Awaitable[Any]], self.redis.register_script(_SCRIPT))

    async def _call(self, command: str, *arguments: str | bytes | int) -> Any:
        return await self._script(keys=_SCRIPT_KEYS, args=[command, self._owner_limit, *arguments])

    async def enqueue(self, jobs: Sequence[QueuedJob]) -> int:
        """Enqueue jobs and wake workers; returns the number of jobs that were not, or not completely, in the queue.

        The first job of a run is also announced, for streams of all runs.
        """
        enqueued_ms = now_ms()
        added = 0
        for start in range(0, len(jobs), BATCH):
            arguments: list[str | bytes | int] = []
            for job in jobs[start : start + BATCH]:
                payload = serialize_job(job.kind, (job.run_id, job.job), {}, None, enqueued_ms, serializer=_encode)
                arguments += [job_id(job.run_id, job.job), PRIORITY_CODES[job.priority] + job.owner, payload, job.delay_ms]
            announcements = _announcements(jobs[start : start + BATCH])
            arguments = [PAYLOAD_TTL_MS, MAX_ANNOUNCED, ANNOUNCED_S, len(announcements), *announcements, *arguments]
            added += int(await self._call("enqueue", *arguments))
        return added

    async def claim(
        self, worker: str, lease_ms: int, limit: int, *, priorities: str = ALL_PRIORITIES, finished: Sequence[str] = ()
    ) -> tuple[list[ClaimedJob], int]:
        """Remove finished jobs, then lease up to `limit` ready ones to this worker.

        If there are none, the number is the time in milliseconds until a job becomes due (-1: the queue is empty).
        """
        answer = await self._call("claim", worker, lease_ms, limit, priorities, *finished)
        if isinstance(answer, int):
            return [], answer
        return [
            _decode_job(identifier.decode(), payload, int(expired or 0)) for identifier, payload, expired in zip(*answer, strict=True)
        ], 0

    async def renew(self, worker: str, lease_ms: int, ids: Iterable[str]) -> set[str]:
        """Renew leases; returns the ids of jobs that another worker has taken over."""
        return {identifier.decode() for identifier in await self._call("renew", worker, lease_ms, *ids)}

    async def finish(self, worker: str, *ids: str) -> None:
        """Remove finished jobs, except those that another worker holds."""
        await self._call("claim", worker, 0, 0, "", *ids)

    async def release(self, worker: str, identifier: str, delay_ms: int) -> None:
        """Return a job to the queue, claimable by any worker after the delay."""
        await self._call("release", worker, identifier, delay_ms)

    async def remove(self, run_id: str, job: int) -> None:
        """Remove a job that no worker holds."""
        await self._call("remove", job_id(run_id, job))

    async def pause(self) -> None:
        """Stop claims; running jobs finish."""
        await self._call("pause")

    async def resume(self) -> None:
        await self._call("resume")

    async def check_writable(self) -> None:
        """Write to Redis as the other operations do, without changing anything."""
        await self._call("check_writable")

    async def stats(self) -> QueueStats:
        ready, delayed, held, age_ms, paused, claimable = await self._call("stats")
        return QueueStats(ready, delayed, held, age_ms, bool(paused), claimable.decode())

    async def wait(self, timeout_s: float, priorities: str = ALL_PRIORITIES) -> str | None:
        """Wait for a wake-up of one of these priorities; returns the priority, None after the timeout or `MAX_WAIT_S`."""
        lists = [keys.wake(priority) for priority in priorities]
        wait_s = min(max(timeout_s, 0.01), MAX_WAIT_S)
        woken = await cast(Awaitable[Any], self.blocking.blpop(lists, timeout=cast(int, wait_s)))
        return woken[0].decode()[-1] if woken else None

    async def wake(self, priorities: str = ALL_PRIORITIES) -> None:
        """Wake one idle worker for each of these priorities."""
        async with self.redis.pipeline(transaction=False) as pipe:
            for priority in priorities:
                pipe.rpush(keys.wake(priority), "")
            await pipe.execute()

    async def missing(self, jobs: Sequence[QueuedJob]) -> list[QueuedJob]:
        """The jobs that are not in the queue, or not completely; `enqueue` restores them."""
        found: list[QueuedJob] = []
        for start in range(0, len(jobs), BATCH):
            by_id = {job_id(job.run_id, job.job): job for job in jobs[start : start + BATCH]}
            arguments = [text for identifier, job in by_id.items() for text in (identifier, PRIORITY_CODES[job.priority] + job.owner)]
            found += [by_id[identifier.decode()] for identifier in await self._call("missing", *arguments)]
        return found

    async def repair(self, lease_ms: int) -> int:
        """Put every job of the queue where workers find it, and count what owners run; returns the number of jobs that were out of place.

        For after `missing` and `enqueue`: what those know of a job is not in the queue itself.
        """
        repaired, cursor, jobs = int(await self._call("check_leases", lease_ms)), b"", 0
        while cursor != b"0":
            cursor, jobs = await self._call("place", cursor or b"0")
            repaired += jobs
        for name in ("jobs", "expired"):
            cursor = b""
            while cursor != b"0":
                cursor = await self._call("prune", name, cursor or b"0")
        return repaired

    async def request_cancel(self, run_ids: Sequence[str]) -> None:
        """Request the workers of these runs to stop them."""
        async with self.redis.pipeline(transaction=False) as pipe:
            for run_id in run_ids:
                pipe.set(keys.cancel(run_id), b"1", ex=CANCEL_TTL_S)
                pipe.publish(keys.CANCELS, run_id)
            await pipe.execute()

    async def cancel_requested(self, run_ids: Sequence[str]) -> list[str]:
        """The runs among these that should be stopped."""
        flags = await self.redis.mget([keys.cancel(run_id) for run_id in run_ids])
        return [run_id for run_id, flag in zip(run_ids, flags, strict=True) if flag is not None]

    async def try_acquire_period(self, task: str, every_s: float) -> bool:
        """True for the first caller in each period of a task, among all processes."""
        return bool(await self.redis.set(keys.period(task), b"1", nx=True, px=int(every_s * 1000)))


def _announcements(jobs: Sequence[QueuedJob]) -> list[bytes]:
    """The announcements (`events.Announcement`) of the runs whose first jobs these are."""
    new = [job.run_id for job in jobs if job.job == 1]
    parts = [new[start : start + ANNOUNCED_RUNS] for start in range(0, len(new), ANNOUNCED_RUNS)]
    return [msgspec.json.encode({"states": dict.fromkeys(part, RunState.QUEUED)}) for part in parts]


def _decode_job(identifier: str, payload: bytes | None, expired_leases: int) -> ClaimedJob:
    run_id, number = split_job_id(identifier)
    try:
        kind, *_ = deserialize_job_raw(payload, deserializer=_decode) if payload else ("",)
    except DeserializationError:
        kind = ""
    return ClaimedJob(identifier, str(kind), run_id, number, expired_leases)


class _Connection:
    """A connection that was closed while it is used is a lost one: uvloop raises what redis-py does not expect."""

    async def send_packed_command(self, *args: Any, **kwargs: Any) -> None:
        try:
            await super().send_packed_command(*args, **kwargs)  # type: ignore[misc]
        except RuntimeError as error:
            raise ConnectionError(str(error)) from error


class _Pool(ConnectionPool):
    def __init__(self, connection_class: type[AbstractConnection] = Connection, **options: Any) -> None:
        super().__init__(type(connection_class.__name__, (_Connection, connection_class), {}), **options)

    async def release(self, connection: AbstractConnection) -> None:
        await super().release(connection)
        if not connection.is_connected:
            # One connection was lost. The idle ones have probably been lost with it, and each would first cost a time limit.
            for idle in self._available_connections:
                await idle.disconnect(nowait=True)


@asynccontextmanager
async def open_queue(url: str, *, owner_limit: int = 0) -> AsyncIterator[Queue]:
    """The queue on the Redis server at `url`. It connects on first use, and retries a lost connection for a moment."""
    redis, blocking = _connect(url, CALL_S), _connect(url, MAX_WAIT_S + CALL_S)
    try:
        yield Queue(redis, blocking, owner_limit=owner_limit)
    finally:
        for client in (redis, blocking):
            await client.aclose(close_connection_pool=True)


def _connect(url: str, limit_s: float) -> ArqRedis:
    # A call that has timed out is not repeated. A replica, which can't be written, is left: after a failover, the address is another server's.
    lost = (ConnectionError, BusyLoadingError, ReadOnlyError)
    # No `health_check_interval`: while the server is out of clients, its check recurses without end.
    pool = _Pool.from_url(
        url,
        retry=Reconnect(ExponentialBackoff(cap=0.1, base=0.01), 2, supported_errors=lost),
        retry_on_error=list(lost),
        socket_timeout=limit_s,
        socket_connect_timeout=CALL_S,
    )
    return ArqRedis(pool, job_serializer=_encode, job_deserializer=_decode, default_queue_name=keys.QUEUE)


def arq_options(queue: Queue) -> dict[str, Any]:
    """Options of ARQ's worker for this queue. Attempts and results are in the database, so ARQ neither limits nor stores them."""
    return {
        "queue_name": keys.QUEUE,
        "redis_pool": queue.redis,
        "job_serializer": _encode,
        "job_deserializer": _decode,
        "keep_result": 0,
        "max_tries": 2**31,
        "handle_signals": False,
    }
