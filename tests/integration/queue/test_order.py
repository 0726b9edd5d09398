"""The order of claims: ageing priorities, fair shares and limits of owners, pause, long queues."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from workers.model.states import Priority
from workers.queue import keys
from workers.queue.queue import PRIORITY_CODES, Queue, QueuedJob, open_queue

pytestmark = pytest.mark.anyio
LEASE_MS = 60_000
HIGH, NORMAL, LOW = Priority


@pytest.fixture
async def queue(redis_url: str) -> AsyncIterator[Queue]:
    async with open_queue(redis_url) as opened:
        yield opened


@pytest.fixture
async def limited(redis_url: str) -> AsyncIterator[Queue]:
    """A queue with a limit of two running jobs per owner."""
    async with open_queue(redis_url, owner_limit=2) as opened:
        yield opened


def jobs(count: int, owner: str = "", priority: Priority = NORMAL, name: str = "run") -> list[QueuedJob]:
    return [QueuedJob("backtest", f"{name}-{owner}-{i:05}", 1, 0, owner, priority) for i in range(count)]


async def claimed(queue: Queue, limit: int, priorities: str = "012", worker: str = "worker") -> list[str]:
    return [job.run_id for job in (await queue.claim(worker, LEASE_MS, limit, priorities=priorities))[0]]


async def waited(queue: Queue, job: QueuedJob, seconds: float) -> None:
    """Make a ready job look as if it had waited for this long."""
    await queue.redis.zincrby(keys.ready(PRIORITY_CODES[job.priority], job.owner), -seconds * 1000, f"{job.run_id}:1")


async def test_higher_priorities_go_first(queue: Queue) -> None:
    for priority in (LOW, NORMAL, HIGH):
        await queue.enqueue(jobs(2, priority=priority, name=priority))
    assert [name.partition("-")[0] for name in await claimed(queue, 6)] == ["high"] * 2 + ["normal"] * 2 + ["low"] * 2


async def test_long_waiting_jobs_go_before_urgent_ones_but_leave_them_every_second_claim(queue: Queue) -> None:
    low = jobs(3, priority=LOW, name="low")
    await queue.enqueue(low)
    for job in low:
        await waited(queue, job, 301)
    await queue.enqueue(jobs(5, priority=HIGH, name="high"))
    assert Counter(name.partition("-")[0] for name in await claimed(queue, 6)) == {"low": 3, "high": 3}


async def test_jobs_of_one_owner_and_priority_keep_their_order(queue: Queue) -> None:
    sent = jobs(50)
    await queue.enqueue(sent)
    assert await claimed(queue, 50) == [job.run_id for job in sent]


async def test_an_owner_with_ten_thousand_jobs_does_not_starve_another(queue: Queue) -> None:
    await queue.enqueue(jobs(10_000, "greedy"))
    await claimed(queue, 5)
    await queue.enqueue(jobs(1, "modest"))
    assert "run-modest-00000" in await claimed(queue, 2)


async def test_owners_take_turns(queue: Queue) -> None:
    for owner in "abc":
        await queue.enqueue(jobs(20, owner))
    shares = Counter(name.split("-")[1] for name in await claimed(queue, 30))
    assert shares == {"a": 10, "b": 10, "c": 10}


async def test_an_owner_stays_within_the_limit(limited: Queue) -> None:
    await limited.enqueue([*jobs(5, "a"), *jobs(2, "a", HIGH, "urgent"), *jobs(1, "b")])
    first = await claimed(limited, 10)
    assert sorted(first) == ["run-b-00000", "urgent-a-00000", "urgent-a-00001"]
    assert await claimed(limited, 10) == []
    assert (await limited.stats())[:3] == (5, 0, 3)
    await limited.finish("worker", "urgent-a-00000:1")
    assert await limited.wait(1) is not None, "a worker wakes when the owner falls below the limit"
    assert await claimed(limited, 10) == ["run-a-00000"]
    await limited.release("worker", "urgent-a-00001:1", 0)
    assert len(await claimed(limited, 10)) == 1


async def test_a_limit_applies_to_jobs_enqueued_and_claimed_before_it_was_set(queue: Queue, limited: Queue) -> None:
    await queue.enqueue(jobs(6, "a"))
    assert len(await claimed(queue, 3)) == 3
    assert await claimed(limited, 3) == []
    await limited.finish("worker", "run-a-00000:1", "run-a-00001:1")
    assert len(await claimed(limited, 3)) == 1


async def test_an_expired_lease_frees_a_slot_of_its_owner_and_the_job_goes_first(limited: Queue) -> None:
    await limited.enqueue(jobs(4, "a"))
    lost = [job.run_id for job in (await limited.claim("silent", 1, 2))[0]]
    await asyncio.sleep(0.01)
    assert await claimed(limited, 10, worker="other") == lost
    assert await limited.redis.hgetall(keys.RUNNING) == {b"a": b"2"}


async def test_a_worker_claims_only_the_given_priorities(queue: Queue) -> None:
    for priority in (HIGH, LOW):
        await queue.enqueue(jobs(1, priority=priority, name=priority))
    assert await claimed(queue, 5, priorities="01") == ["high--00000"]
    assert await claimed(queue, 5, priorities="01") == []
    assert await queue.wait(0.05, "01") is None, "jobs of other priorities do not wake it"
    assert await queue.wait(0.05, "2") == "2"
    assert await claimed(queue, 5, priorities="2") == ["low--00000"]


async def test_nothing_is_claimed_while_the_queue_is_paused(queue: Queue) -> None:
    await queue.enqueue(jobs(3))
    await claimed(queue, 1)
    await queue.pause()
    assert await claimed(queue, 5) == []
    assert (await queue.stats())[:3] == (2, 0, 1)
    assert (await queue.stats()).paused
    listening = asyncio.create_task(queue.wait(5))
    await queue.resume()
    assert await listening == "1"
    assert len(await claimed(queue, 5)) == 2


async def test_no_keys_remain_when_all_jobs_are_finished(limited: Queue) -> None:
    await limited.enqueue([*jobs(20, "a"), *jobs(20, "b", LOW), QueuedJob("backtest", "later", 1, 60_000, "c")])
    while names := await claimed(limited, 3):
        await limited.finish("worker", *(f"{name}:1" for name in names))
    await limited.remove("later", 1)
    assert await claimed(limited, 1) == []
    assert set(await limited.redis.keys("*")) <= {keys.ANNOUNCED.encode()}


async def test_the_cost_of_a_claim_does_not_grow_with_the_queue(queue: Queue) -> None:
    async def calls() -> int:
        """The number of commands that the server executes for a call of each operation."""
        await queue.redis.config_resetstat()
        names = await claimed(queue, 20)
        await queue.finish("worker", *(f"{name}:1" for name in names[:10]))
        for name in names[10:]:
            await queue.release("worker", f"{name}:1", 60_000)
        await queue.stats()
        stats = await queue.redis.info("commandstats")
        assert not {"cmdstat_hgetall", "cmdstat_hkeys", "cmdstat_smembers", "cmdstat_keys", "cmdstat_scan"} & stats.keys()
        return sum(stat["calls"] for stat in stats.values())

    await queue.enqueue([job for owner in range(20) for job in jobs(10, f"owner-{owner}")])
    short = await calls()
    for owner in range(20):
        await queue.enqueue(jobs(2_500, f"owner-{owner}", name="long"))
    assert await calls() <= short + 20
