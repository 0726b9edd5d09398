"""Jobs are submitted while every component fails; afterwards, each job has ended exactly once."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest
import sqlalchemy as sa

import python_core as bt
import workers
from tests.chaos import checks
from tests.chaos.stage import Stage, wait
from tests.support.files import parquet
from workers.db.tables import RunRow
from workers.model.callers import Caller, Scope
from workers.model.runs import RunOptions
from workers.model.states import OPEN, RunState
from workers.queue.queue import QueuedJob

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

LEASE_S = 2.0
BARS = bt.synthetic(400)
LONG_BARS = bt.synthetic(20_000, timeframe="1m")
CROSS = bt.Strategy(
    entry_long="crossover(sma(close, fast), sma(close, slow))",
    exit_long="crossunder(sma(close, fast), sma(close, slow))",
    params={"fast": 5, "slow": 20},
)
POISON = bt.Strategy(entry_long="close > poison", params={"poison": 1})


class Submitted(NamedTuple):
    """The accepted runs: the expected digest of each, and the ids of those that can't succeed."""

    digests: dict[str, str]
    poison: set[str]


def requests(count: int) -> list[tuple[bt.Bars, workers.BacktestRequest]]:
    """Different requests: most are quick, some are slow on the Python engine, and two kill the worker that runs them."""
    made = []
    for i in range(count):
        execution = bt.Execution(commission=0.0005, slippage=i * 1e-7)
        if i in (count // 4, count // 2):
            made.append((BARS, workers.BacktestRequest(dataset="quick", strategy=POISON, execution=execution)))
        elif i % 100 == 10:
            made.append((LONG_BARS, workers.BacktestRequest(dataset="long", strategy=CROSS, execution=execution, engine="python")))
        else:
            made.append((BARS, workers.BacktestRequest(dataset="quick", strategy=CROSS, execution=execution)))
    return made


class Storm:
    """Injects faults, one after another."""

    def __init__(self, stage: Stage, service: workers.Service, submitted: Submitted, seed: int) -> None:
        self.stage = stage
        self.service = service
        self.submitted = submitted
        self.random = random.Random(seed)
        self.done: Counter[str] = Counter()

    async def run(self, until: asyncio.Event) -> None:
        """Inject every fault at least once, some more often, and continue until the event."""
        faults = [self.kill_a_worker] * 3 + [self.cut_database, self.deliver_twice, self.cancel_some] * 2
        faults += [self.kill_the_api, self.kill_valkey, self.empty_valkey, self.restart_database, self.pause_a_worker, self.fill_the_disk]
        self.random.shuffle(faults)
        pause_s = 0.5
        while faults or not until.is_set():
            if not faults:
                faults, pause_s = [self.kill_a_worker, self.cancel_some, self.cut_database, self.deliver_twice], 5
            fault = faults.pop()
            await fault()
            self.done[fault.__name__] += 1
            await asyncio.to_thread(self.stage.replace_dead)
            with suppress(TimeoutError):
                await asyncio.wait_for(until.wait(), self.random.uniform(0.5, 1.5) * pause_s)

    async def kill_a_worker(self) -> None:
        self.stage.kill_worker(self.random.choice(self.stage.workers))

    async def kill_the_api(self) -> None:
        """After the commit of a submission and before its job is sent."""
        self.stage.kill_api_after_next_commit()
        await asyncio.to_thread(wait, lambda: not self.stage.kill_after_commit.exists(), 30)
        await asyncio.to_thread(self.stage.wait_for_api)

    async def kill_valkey(self) -> None:
        self.stage.kill_valkey()
        await asyncio.sleep(1)
        await asyncio.to_thread(self.stage.start_valkey)

    async def empty_valkey(self) -> None:
        self.stage.kill_valkey()
        await asyncio.to_thread(self.stage.start_valkey, empty=True)

    async def cut_database(self) -> None:
        await asyncio.to_thread(self.stage.cut_database_connections)

    async def restart_database(self) -> None:
        await asyncio.to_thread(self.stage.postgres.stop)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(self.stage.postgres.start)

    async def pause_a_worker(self) -> None:
        """Pause a worker until its lease has expired and others have its jobs, then let it continue."""
        with self.stage.paused(self.random.choice(self.stage.workers)):
            await asyncio.sleep(2 * LEASE_S)

    async def fill_the_disk(self) -> None:
        if self.stage.has_small_disk:
            with self.stage.full_disk():
                await asyncio.sleep(2)

    async def deliver_twice(self) -> None:
        known = self.random.sample(sorted(self.submitted.digests), min(50, len(self.submitted.digests)))
        await with_retries(
            lambda: self.service.resources.queue.enqueue([QueuedJob("backtest", run, job) for run in known for job in (1, 2)])
        )

    async def cancel_some(self) -> None:
        async with self.service.resources.database.read() as session:
            waiting = (await session.scalars(sa.select(RunRow.id).where(RunRow.state.in_(OPEN)).limit(200))).all()
        for run_id in self.random.sample(waiting, min(3, len(waiting))):
            if run_id not in self.submitted.poison:
                with suppress(workers.WorkersError):  # the run has ended, or the database is down
                    await self.service.backtests.cancel(run_id)


async def with_retries(action: Callable[[], Awaitable[Any]]) -> Any:
    """Repeat an action while the service is unavailable, as a client with retries would."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return await action()
        except (workers.Unavailable, httpx.TransportError, OSError, workers.queue.queue.RedisError, _ServerError):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)


class _ServerError(Exception):
    """A 5xx response; the request may be repeated."""


async def submit(stage: Stage, service: workers.Service, client: httpx.AsyncClient, submitted: Submitted, count: int) -> None:
    """Submit over HTTP and through the library; idempotency keys make retries harmless."""

    async def over_http(key: str, request: workers.BacktestRequest) -> str:
        content = msgspec.json.encode(request)
        answer = await client.post("/backtests", content=content, headers={"content-type": "application/json", "idempotency-key": key})
        if answer.status_code >= 500:
            raise _ServerError(answer.text)
        assert answer.is_success, answer.text
        return str(answer.json()["id"])

    async def through_library(key: str, request: workers.BacktestRequest) -> str:
        caller = Caller(owner=f"owner-{hash(key) % 3}", scope=Scope.ADMIN, sees_all=True)
        return (await service.acting_as(caller).backtests.submit(request, RunOptions(key=key))).id

    waiting = enumerate(requests(count))

    async def client_of(send: Callable[[str, workers.BacktestRequest], Awaitable[str]]) -> None:
        for i, (bars, request) in waiting:
            assert isinstance(request.strategy, bt.Strategy)
            run_id = await with_retries(lambda key=f"key-{i}", request=request: send(key, request))
            assert run_id not in submitted.digests
            if request.strategy is POISON:
                submitted.poison.add(run_id)
            submitted.digests[run_id] = bt.backtest(bars, request.strategy, request.execution).digest

    await asyncio.gather(*(client_of(send) for send in (over_http, through_library) for _ in range(3)))


async def upload(client: httpx.AsyncClient, name: str, bars: bt.Bars) -> None:
    answer = await client.post(
        "/datasets", params={"name": name}, content=parquet(bars), headers={"content-type": "application/octet-stream"}
    )
    assert answer.is_success, answer.text


async def all_ended(service: workers.Service, stage: Stage, within_s: float) -> None:
    """Wait until all jobs have ended; fails after `within_s` seconds without progress."""
    deadline, fewest = time.monotonic() + within_s, float("inf")
    while True:
        stage.replace_dead()
        metrics = await service.queue.get_metrics()
        counts = (metrics.outbox, metrics.ready, metrics.running, metrics.delayed)
        if metrics.runs is not None and None not in counts:
            left = sum(metrics.runs[state] for state in OPEN) + sum(counts)
            if left == 0:
                return
            if left < fewest:
                deadline, fewest = time.monotonic() + within_s, left
        assert time.monotonic() < deadline, f"some jobs did not end: {metrics}"
        await asyncio.sleep(0.2)


@pytest.mark.parametrize("count", [2050, pytest.param(10_000, marks=pytest.mark.long)], ids=lambda count: f"{count}-jobs")
async def test_every_job_ends_once_whatever_fails(open_stage: Any, count: int) -> None:
    seed = int(os.environ.get("BARSTORM_SEED", random.randrange(1 << 30)))
    print(f"BARSTORM_SEED={seed}")
    with open_stage(lease_s=LEASE_S, retry_s=3, max_failures=6, gc_s=10) as stage:
        stage.start_api()
        for skew_s in (0, 30, -30):
            stage.start_worker(skew_s)
        stage.wait_for_api()
        submitted, over = Submitted({}, set()), asyncio.Event()
        async with (
            workers.open_service(stage.settings) as service,
            httpx.AsyncClient(base_url=stage.url, timeout=20, trust_env=False) as client,
        ):
            await upload(client, "quick", BARS)
            await upload(client, "long", LONG_BARS)
            storm = Storm(stage, service, submitted, seed)
            began = time.monotonic()
            storming = asyncio.create_task(storm.run(over))
            try:
                await submit(stage, service, client, submitted, count)
            finally:
                over.set()
                await storming
            storm_s = time.monotonic() - began
            await all_ended(service, stage, within_s=180)
            ended_s = time.monotonic() - began
            await checks.check_queue(service)
            stage.end()
            ends = await checks.check_runs(service, submitted.digests, submitted.poison)
            await checks.check_files(service)
            async with service.resources.database.read() as session:
                rows = (await session.execute(sa.select(RunRow.id, RunRow.fingerprint, RunRow.attempt, RunRow.state))).all()
            executions = checks.check_executions(
                stage.log,
                {row.fingerprint for row in rows if row.state == RunState.SUCCEEDED},
                {row.fingerprint: row.attempt for row in rows},
            )
        print(f"{count} jobs in {ended_s:.0f} s, faults for {storm_s:.0f} s: {dict(ends)}, {executions} executions")
        print(f"{stage.killed} processes died; faults: {dict(storm.done)}")
        assert ends[RunState.DEAD] == 2
        assert ends[RunState.SUCCEEDED] > 0.9 * count
