"""Invariants that must hold after any faults."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

import sqlalchemy as sa

import workers
from workers.db.tables import RESULTS, AttemptRow, OutboxRow, PartRow, RunRow
from workers.model.states import DONE, RunState
from workers.process.garbage import collect_garbage
from workers.queue import keys
from workers.queue.queue import ALL_PRIORITIES

# Keys whose number doesn't grow with the jobs; all others must expire.
FIXED_KEYS = (keys.WORKERS, keys.DURATIONS, keys.COUNTERS, *map(keys.wake, ALL_PRIORITIES))


async def check_runs(service: workers.Service, accepted: Mapping[str, str], poison: Collection[str]) -> Counter[str]:
    """Every accepted run has ended once, with the expected digest and one result; returns the number of runs in each state."""
    async with service.resources.database.read() as session:
        runs = {row.id: row for row in await session.scalars(sa.select(RunRow))}
        attempts = list(await session.scalars(sa.select(AttemptRow).order_by(AttemptRow.run_id, AttemptRow.attempt)))
        results = {row.fingerprint: row.digest for row in await session.execute(sa.select(RESULTS.c.fingerprint, RESULTS.c.digest))}
        assert not await session.scalar(sa.select(sa.func.count()).select_from(OutboxRow)), "jobs that were never sent"
    assert runs.keys() == accepted.keys(), "runs were lost or duplicated"
    assert {row.fingerprint for row in runs.values() if row.state == RunState.SUCCEEDED} == results.keys()
    attempts_of: dict[str, list[AttemptRow]] = {run_id: [] for run_id in runs}
    for attempt in attempts:
        attempts_of[attempt.run_id].append(attempt)
    for run_id, row in runs.items():
        assert row.state in DONE - {RunState.FAILED}, f"{run_id} has {row.state}: {row.error}"
        assert row.finished_at is not None
        assert (row.state == RunState.DEAD) == (run_id in poison), f"{run_id} has {row.state}: {row.error}"
        tries = attempts_of[run_id]
        assert [attempt.attempt for attempt in tries] == list(range(1, row.attempt + 1)), "an attempt was not recorded"
        assert all(attempt.finished_at is not None and attempt.outcome for attempt in tries)
        successes = [attempt.attempt for attempt in tries if attempt.outcome == RunState.SUCCEEDED]
        assert successes == ([row.attempt] if row.state == RunState.SUCCEEDED else []), f"{run_id} has {row.state} after {successes}"
        if row.state == RunState.SUCCEEDED:
            assert results[row.fingerprint] == accepted[run_id]
    return Counter(row.state for row in runs.values())


async def check_files(service: workers.Service) -> None:
    """After garbage collection, the stored files are exactly those that rows name."""
    await collect_garbage(service.resources.database, service.resources.artifacts, older_than_s=-1)
    async with service.resources.database.read() as session:
        results = await session.execute(sa.select(RESULTS.c.trades_hash, RESULTS.c.equity_hash))
        named = {name for row in results for name in row if name} | set(await session.scalars(sa.select(PartRow.hash)))
    assert {file.hash for file in service.resources.artifacts.list_all()} == named
    folder = service.resources.settings.folder / "artifacts"
    leftovers = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".parquet"]
    assert leftovers == [], f"drafts and partly written files: {leftovers}"


async def check_queue(service: workers.Service) -> None:
    """While workers are running, the keys of finished jobs leave Redis."""
    redis = service.resources.queue.redis
    deadline = time.monotonic() + 30
    while any((stats := await service.resources.queue.stats())[:3]):
        assert time.monotonic() < deadline, f"jobs are left in the queue: {stats}"
        await asyncio.sleep(0.1)
    names = [key.decode() async for key in redis.scan_iter()]
    lasting = [name for name in names if name not in FIXED_KEYS and await redis.ttl(name) == -1]
    assert lasting == [], f"keys that don't expire: {lasting}"


def check_executions(log: Path, succeeded: Collection[str], attempts: Mapping[str, int]) -> int:
    """Each successful run was executed at least once, and no run more often than it had attempts; returns the number of executions."""
    begun: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    for line in log.read_text().splitlines():
        what, _, name = line.split()
        (begun if what == "begin" else ended)[name] += 1
    assert not [name for name in succeeded if not ended[name]], "results without an execution"
    assert not {name: count for name, count in begun.items() if count > attempts.get(name, 0)}, "executions without an attempt"
    return sum(begun.values())
