"""What a data_fetch job does: find what is missing, fetch it, store it chunk by chunk.

What is stored is all that is known of the progress: whoever takes the job over finds out anew what is missing.
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
from sqlalchemy.dialects import postgresql, sqlite

import python_core as bt
from python_core.data import timeframes
from workers.data import catalog, parts
from workers.data.datasets import open_market_data
from workers.db.tables import DatasetGapRow
from workers.errors import Conflict, NotFound, Unavailable
from workers.fetch import candles, requests
from workers.fetch.candles import Chunk, FetchReport, Gap
from workers.fetch.exchange import Exchange
from workers.fetch.requests import FetchRequest
from workers.jobs.attempt import Executor, Job, Stop
from workers.model.datasets import Dataset
from workers.model.runs import encode
from workers.model.states import RunState
from workers.runs import store
from workers.runs.store import StartedRun

# Other jobs may have stored the same bars meanwhile; what is missing is found out anew, and a stored value is never changed.
_OVERTAKEN = ("bars_differ", "busy", "name_taken")
# After so long a fetch goes back into the queue, so that others have their turn.
SLICE_S: Final = 60.0
_log = structlog.stdlib.get_logger(__name__)


def passing(error: Exception) -> bool:
    """Whether another attempt may fare better."""
    return isinstance(error, Unavailable) or (isinstance(error, Conflict) and error.code in _OVERTAKEN)


async def run(executor: Executor, started: StartedRun, job: Job) -> None:
    request = requests.decode(started.row.request)
    exchange = await job.unless_stopped(executor.exchanges.get(request.exchange))
    give_way_at = time.monotonic() + SLICE_S
    work = _Work(executor, started, job, request, exchange)
    for begin, end in await work.missing():
        async with aclosing(candles.candles(exchange, work.market, request.timeframe, begin, end, work.report)) as chunks:
            while (chunk := await job.unless_stopped(anext(chunks, None))) is not None:
                await work.keep(chunk)
                if time.monotonic() > give_way_at:
                    job.stop(Stop.REQUEUE)
                job.control.check((int(chunk.columns["time"][-1]) - begin) / (end - begin))
    if request.funding:
        await work.keep_funding()
    async with executor.database.write() as session:
        await store.finish(session, started, RunState.SUCCEEDED, output=encode(work.report))
    _log.info("fetched", run=started.row.id, dataset=request.name, bars=work.report.bars, gaps=work.report.gaps)


class _Work:
    """One fetch: its market, its dataset as far as there is one, and its report."""

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
        """The spans of time, from and to before, that were asked for and whose candles are neither stored nor known not to exist."""
        request, step = self._request, self._step
        dataset = await self._dataset()
        end = candles.last_end(self._exchange, step)
        if request.until is not None:
            end = min(end, _aligned(request.until, step))
        if dataset is None:
            return _between([], _aligned(request.since or 0, step), end, step)
        start = dataset.start if request.since is None else _aligned(request.since, step)
        async with self._executor.database.read() as session:
            rows = (await session.scalars(sa.select(DatasetGapRow).where(DatasetGapRow.dataset_id == dataset.id))).all()
            of = [part for part in await catalog.list_parts(session, dataset) if part.series == "bars"]
        known = [Gap(row.start, row.end) for row in rows]
        stored = [Gap(dataset.start, dataset.end)]
        if dataset.gaps != sum(dataset.start < gap.start < dataset.end for gap in known):
            stored = await asyncio.to_thread(_stored, parts.read(self._executor.artifacts, of)["time"], step)
        return _between(stored + known, start, end, step)

    async def keep(self, chunk: Chunk) -> None:
        """Store bars and gaps, then note what was done."""
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
                insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
                values = [{"dataset_id": dataset.id, "start": gap.start, "end": gap.end} for gap in chunk.gaps]
                for some in range(0, len(values), 1000):
                    await session.execute(insert(DatasetGapRow).values(values[some : some + 1000]).on_conflict_do_nothing())
            self.report.bars += len(columns["time"])
            self.report.gaps += len(chunk.gaps)
            self.report.missing += sum((gap.end - gap.start) // self._step + 1 for gap in chunk.gaps)
            await self._note(session, dataset)

    async def keep_funding(self) -> None:
        """Fetch and store the funding rates after the last one that is stored."""
        dataset = await self._dataset()
        if dataset is None:
            return
        async with self._executor.database.read() as session:
            ends = [part.end for part in await catalog.list_parts(session, dataset) if part.series == "funding"]
        begin, end = max(ends) + 1 if ends else dataset.start, dataset.end + self._step
        rates = await self._job.unless_stopped(candles.funding(self._exchange, self.market, begin, end, self.report))
        if not len(rates["time"]):
            return
        dataset = await self._data.append(dataset.id, {"funding": rates}, source=self._exchange.name)
        async with self._executor.database.write() as session:
            self.report.funding += len(rates["time"])
            await self._note(session, dataset)

    async def _note(self, session: Any, dataset: Dataset) -> None:
        self.report.dataset = dataset.reference
        if not await store.record_progress(session, self._started, output=encode(self.report)):
            self._job.stop(Stop.TAKEN_OVER)

    async def _dataset(self) -> Dataset | None:
        """The newest version of the dataset, if there is one.

        Raises:
            Conflict: it is of another market.
        """
        async with self._executor.database.read() as session:
            try:
                found = await catalog.get(session, self._request.name)
            except NotFound:
                return None
        about = (found.exchange, found.symbol, found.kind, found.timeframe)
        wanted = (self._instrument.exchange, self._instrument.symbol, self._instrument.kind, self._request.timeframe)
        if about != wanted:
            message = f"{found.name!r} holds {' '.join(about).strip()}, not {' '.join(wanted)}"
            raise Conflict(message, where="dataset", hint="give the fetch another dataset", code="other_market")
        return found


def _aligned(time_ms: int, step: int) -> int:
    """The first time not before that a candle opens at."""
    return int(timeframes.bucket_start(np.array([time_ms + step - 1]), step)[0])


def _stored(times: np.ndarray, step: int) -> list[Gap]:
    """The stretches without holes, each by its first and last time."""
    after = np.flatnonzero(np.diff(times) > step)
    return [Gap(*pair) for pair in zip(times[np.append(0, after + 1)].tolist(), times[np.append(after, -1)].tolist(), strict=True)]


def _between(known: list[Gap], start: int, end: int, step: int) -> list[tuple[int, int]]:
    """What of `start` to before `end` is in none of the stretches."""
    found = []
    for stretch in sorted(known):
        if start < min(stretch.start, end):
            found.append((start, min(stretch.start, end)))
        start = max(start, stretch.end + step)
    return [*found, (start, end)] if start < end else found
