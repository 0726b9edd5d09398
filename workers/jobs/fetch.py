"""The data_fetch job: find what is missing, fetch it, store it chunk by chunk.

The stored bars are the only record of progress: after an interruption, the next attempt finds out again what is missing.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import Any, Final

import msgspec
import numpy as np
import sqlalchemy as sa
import structlog

import python_core as bt
from python_core.data import timeframes
from workers.data import catalog, parts
from workers.data.datasets import open_market_data
from workers.db.tables import DatasetGapRow
from workers.db.upsert import insert
from workers.errors import Conflict, NotFound, Unavailable
from workers.fetch import candles, requests
from workers.fetch.candles import Chunk, FetchReport, TimeRange
from workers.fetch.exchange import Exchange
from workers.fetch.requests import FetchRequest
from workers.jobs.attempt import Executor
from workers.jobs.job import Job, Stop
from workers.model.callers import Caller
from workers.model.datasets import Dataset
from workers.model.runs import encode
from workers.model.states import RunState
from workers.runs import attempts
from workers.runs.attempts import End, StartedRun

# Another job has stored some of the bars meanwhile. The next attempt fetches what is still missing; stored values never change.
_OVERTAKEN_CODES = ("bars_differ", "busy", "name_taken")
# After this time a fetch returns to the queue, so that other jobs get a turn.
TIME_SLICE_S: Final = 60.0
_log = structlog.stdlib.get_logger(__name__)


def is_transient(error: Exception) -> bool:
    """Whether another attempt may succeed."""
    return isinstance(error, Unavailable) or (isinstance(error, Conflict) and error.code in _OVERTAKEN_CODES)


async def run(executor: Executor, started: StartedRun, job: Job) -> None:
    async with executor.slot(job):
        report = await _fetch(executor, started, job)
    await executor.end(End(started=started, state=RunState.SUCCEEDED, output=encode(report)))
    _log.info("fetch succeeded", run=started.row.id, dataset=report.dataset, bars=report.bars, gaps=report.gaps)


async def _fetch(executor: Executor, started: StartedRun, job: Job) -> FetchReport:
    request = requests.decode(started.row.request)
    exchange = await job.unless_stopped(executor.exchanges.get(request.exchange))
    requeue_at = time.monotonic() + TIME_SLICE_S
    work = _FetchJob(executor, started, job, request, exchange)
    for begin, end in await work.missing():
        async with aclosing(candles.read_candles(exchange, work.market, request.timeframe, begin, end, work.report)) as chunks:
            while (chunk := await job.unless_stopped(anext(chunks, None))) is not None:
                await work.save(chunk)
                if time.monotonic() > requeue_at:
                    job.stop(Stop.REQUEUE)
                job.control.check((int(chunk.columns["time"][-1]) - begin) / (end - begin))
    if request.funding:
        await work.save_funding()
    return work.report


class _FetchJob:
    """One fetch: its market, its dataset, which it may have to create, and its report."""

    def __init__(self, executor: Executor, started: StartedRun, job: Job, request: FetchRequest, exchange: Exchange) -> None:
        self.market = exchange.market(request.symbol, request.kind)
        exchange.check_timeframe(request.timeframe)
        output = started.row.output
        self.report = FetchReport() if output is None else msgspec.json.decode(output, type=FetchReport)
        self._executor = executor
        self._started = started
        self._job = job
        self._request = request
        self._exchange = exchange
        self._instrument = exchange.instrument(self.market, request.kind)
        self._step = timeframes.milliseconds(request.timeframe)
        self._data = open_market_data(executor.settings, executor.database, executor.artifacts)

    async def missing(self) -> list[tuple[int, int]]:
        """The requested spans of time, as start and end (exclusive), whose candles are neither stored nor known to be missing at the exchange."""
        request, step = self._request, self._step
        dataset = await self._dataset()
        end = candles.closed_until(self._exchange, step)
        if request.until is not None:
            end = min(end, _align_up(request.until, step))
        if dataset is None:
            return _uncovered([], _align_up(request.since or 0, step), end, step)
        start = dataset.start if request.since is None else _align_up(request.since, step)
        async with self._executor.database.read() as session:
            rows = (await session.scalars(sa.select(DatasetGapRow).where(DatasetGapRow.dataset_id == dataset.id))).all()
            bar_parts = [part for part in await catalog.list_parts(session, dataset) if part.series == "bars"]
        known_gaps = [TimeRange(row.start, row.end) for row in rows]
        stored = [TimeRange(dataset.start, dataset.end)]
        # Bars are read only if the dataset has holes other than the known gaps.
        if dataset.gaps != sum(dataset.start < gap.start < dataset.end for gap in known_gaps):
            stored = await asyncio.to_thread(_stretches, parts.read(self._executor.artifacts, bar_parts)["time"], step)
        return _uncovered(stored + known_gaps, start, end, step)

    async def save(self, chunk: Chunk) -> None:
        """Store bars and gaps, and record the progress."""
        columns, request = chunk.columns, self._request
        dataset = await self._dataset()
        if dataset is None:
            bars = bt.Bars(*columns.values(), timeframe=request.timeframe, symbol=self._instrument.symbol)
            dataset = await self._data.create(
                request.name, bars, self._instrument, owner=self._started.row.owner, source=self._exchange.name
            )
        else:
            dataset = await self._data.append(dataset.id, {"bars": columns}, source=self._exchange.name)
        async with self._executor.database.write() as session:
            if chunk.gaps:
                values = [{"dataset_id": dataset.id, "start": gap.start, "end": gap.end} for gap in chunk.gaps]
                for first in range(0, len(values), 1000):
                    await session.execute(insert(session, DatasetGapRow).values(values[first : first + 1000]).on_conflict_do_nothing())
            self.report.bars += len(columns["time"])
            self.report.gaps += len(chunk.gaps)
            self.report.missing += sum(int(timeframes.steps(np.array(gap), self._step)[0]) + 1 for gap in chunk.gaps)
            await self._record_progress(session, dataset)

    async def save_funding(self) -> None:
        """Fetch and store the funding rates after the last stored one."""
        dataset = await self._dataset()
        if dataset is None:
            return
        async with self._executor.database.read() as session:
            ends = [part.end for part in await catalog.list_parts(session, dataset) if part.series == "funding"]
        begin, end = max(ends) + 1 if ends else dataset.start, timeframes.shift(dataset.end, self._step, 1)
        rates = await self._job.unless_stopped(candles.read_funding(self._exchange, self.market, begin, end, self.report))
        if not len(rates["time"]):
            return
        dataset = await self._data.append(dataset.id, {"funding": rates}, source=self._exchange.name)
        async with self._executor.database.write() as session:
            self.report.funding += len(rates["time"])
            await self._record_progress(session, dataset)

    async def _record_progress(self, session: Any, dataset: Dataset) -> None:
        self.report.dataset = dataset.reference
        if not await attempts.record_progress(session, self._started, output=encode(self.report)):
            self._job.stop(Stop.TAKEN_OVER)

    async def _dataset(self) -> Dataset | None:
        """The newest version of the dataset, if it exists.

        Raises:
            Conflict: it holds another market.
        """
        async with self._executor.database.read() as session:
            try:
                dataset = await catalog.get(session, Caller(owner=self._started.row.owner), self._request.name)
            except NotFound:
                return None
        stored = (dataset.exchange, dataset.symbol, dataset.kind, dataset.timeframe)
        requested = (self._instrument.exchange, self._instrument.symbol, self._instrument.kind, self._request.timeframe)
        if stored != requested:
            message = f"{dataset.name!r} holds {' '.join(stored).strip()}, not {' '.join(requested)}"
            raise Conflict(message, where="dataset", hint="use another dataset for this fetch", code="other_market")
        return dataset


def _align_up(time_ms: int, step: int) -> int:
    """The first opening time of a candle at or after a time."""
    start = timeframes.align(time_ms, step)
    return start if start == time_ms else timeframes.shift(start, step, 1)


def _stretches(times: np.ndarray, step: int) -> list[TimeRange]:
    """The stretches without holes, each as its first and last time."""
    after = np.flatnonzero(timeframes.steps(times, step) > 1)
    return [TimeRange(*pair) for pair in zip(times[np.append(0, after + 1)].tolist(), times[np.append(after, -1)].tolist(), strict=True)]


def _uncovered(stretches: list[TimeRange], start: int, end: int, step: int) -> list[tuple[int, int]]:
    """The parts of `start` to `end` (exclusive) that no stretch covers."""
    spans = []
    for stretch in sorted(stretches):
        if start < min(stretch.start, end):
            spans.append((start, min(stretch.start, end)))
        start = max(start, timeframes.shift(stretch.end, step, 1))
    return [*spans, (start, end)] if start < end else spans
