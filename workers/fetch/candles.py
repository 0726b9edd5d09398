"""Candles and funding rates of an exchange as sound chunks: sorted, closed, each time once, and asked for again where some were missing."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated, Any, Final, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta

from python_core.data import timeframes
from python_core.data.timeframes import DAY_MS
from workers.data.parts import SERIES, Columns
from workers.fetch.exchange import FUNDING_ROWS, Exchange

# A candle missing from so many answers is not there.
ASKS: Final = 3
CHUNK_BARS: Final = 100_000
# A candle may still change for a moment after its end.
SETTLE_MS: Final = 5_000
HOUR_MS: Final = 3_600_000


class FetchReport(msgspec.Struct):
    """What a fetch has stored, and the faults it found in the exchange's data."""

    dataset: Annotated[str | None, Meta(description="The dataset, as `id@version`.")] = None
    bars: Annotated[int, Meta(description="Bars stored.")] = 0
    funding: Annotated[int, Meta(description="Funding rates stored.")] = 0
    gaps: Annotated[int, Meta(description="Gaps: ranges for which the exchange has no candles; they are not requested again.")] = 0
    missing: Annotated[int, Meta(description="Candles missing in these gaps.")] = 0
    duplicates: Annotated[int, Meta(description="Candles that a response contained more than once.")] = 0
    conflicts: Annotated[
        int,
        Meta(
            description="Closed candles with different values in two responses: the one with more volume is kept or, if equal, the later one."
        ),
    ] = 0
    invalid: Annotated[int, Meta(description="Candles that are not valid bars; they are requested again, then omitted.")] = 0
    asked_again: Annotated[int, Meta(description="Requests repeated because candles were missing.")] = 0


class Gap(NamedTuple):
    """Times without candles: the first and the last that is missing."""

    start: int
    end: int


class Chunk(NamedTuple):
    """Some bars in order, and the gaps before and between them that the exchange has no candles for."""

    columns: Columns
    gaps: list[Gap]


def closed_until(exchange: Exchange, step_ms: int) -> int:
    """The open time of the first candle that is not closed for good."""
    return int(timeframes.bucket_start(np.array([exchange.now_ms() - SETTLE_MS]), step_ms)[0])


async def candles(
    exchange: Exchange, market: dict[str, Any], timeframe: str, start: int, end: int, report: FetchReport, *, chunk_bars: int = CHUNK_BARS
) -> AsyncGenerator[Chunk, None]:
    """The candles that open from `start` to before `end`, both aligned, in chunks of about `chunk_bars`.

    Answers overlap by one candle, so that the last of each, which an exchange may have cut from what is not complete yet, is read twice.
    """
    step = timeframes.milliseconds(timeframe)
    reader = _Reader(exchange, market, timeframe, step, end, report)
    ready: list[np.ndarray] = []
    newest: np.ndarray | None = None  # read once; waits for the second time
    at = before = start
    while at < end:
        rows = await reader.page(at if newest is None else at - step, at)
        if newest is not None:
            rows = reader.settled(np.concatenate([newest, rows]))
        if not len(rows) or rows[-1, 0] < at:
            at = await reader.onward(at)
            continue
        ready.append(rows[:-1])
        newest = rows[-1:]
        at = int(newest[0, 0]) + step
        if sum(map(len, ready)) >= chunk_bars:
            chunk = _chunk(np.concatenate(ready), before, step)
            yield chunk
            before, ready = int(chunk.columns["time"][-1]) + step, []
    if newest is not None:
        again = await reader.answer(int(newest[0, 0]))
        ready.append(reader.settled(np.concatenate([newest, again[again[:, 0] == newest[0, 0]]])))
    if ready:
        yield _chunk(np.concatenate(ready), before, step)


async def funding(exchange: Exchange, market: dict[str, Any], start: int, end: int, report: FetchReport) -> Columns:
    """The funding rates from `start` to before `end`; of two for one time the one read later."""
    found: dict[int, float] = {}
    at = start
    while at < end:
        rows = await exchange.funding(market, at)
        rows = rows[(rows[:, 0] >= at) & (rows[:, 0] < end) & np.isfinite(rows).all(axis=1)]
        for time, rate in rows:
            report.duplicates += int(time) in found
            found[int(time)] = float(rate)
        # An exchange that answers for a span of time has at most one rate an hour in it.
        at = int(rows[:, 0].max()) + 1 if len(rows) else at + FUNDING_ROWS * HOUR_MS
    times = sorted(found)
    return {"time": np.array(times, np.int64), "rate": np.array([found[time] for time in times], np.float64)}


class _Reader:
    """Reads one market's candles in one timeframe; rows are time, open, high, low, close, volume."""

    def __init__(self, exchange: Exchange, market: dict[str, Any], timeframe: str, step: int, end: int, report: FetchReport) -> None:
        self._exchange = exchange
        self._market = market
        self._timeframe = timeframe
        self._step = step
        self._end = end
        self._report = report

    async def page(self, since: int, wanted: int) -> np.ndarray:
        """One answer, and what was missing in it from `wanted` on as far as asking again brings it."""
        rows = await self.answer(since)
        for _ in range(ASKS - 1):
            missing = self._first_missing(rows, wanted)
            if missing is None:
                break
            self._report.asked_again += 1
            rows = self.settled(np.concatenate([rows, await self.answer(max(missing - self._step, since))]))
        return rows

    async def answer(self, since: int) -> np.ndarray:
        """What the exchange says, sorted, without what is no closed candle of the time asked for."""
        rows = await self._exchange.candles(self._market, self._timeframe, since)
        time = rows[:, 0]
        with np.errstate(invalid="ignore"):
            rows = rows[(time >= since) & (time < self._end) & (timeframes.bucket_start(time, self._step) == time)]
            _, opened, high, low, close, volume = rows.T
            sound = (low > 0) & (low <= np.minimum(opened, close)) & (high >= np.maximum(opened, close)) & (volume >= 0)
        sound &= np.isfinite(rows).all(axis=1)
        self._report.invalid += int((~sound).sum())
        rows = rows[sound]
        self._report.duplicates += len(rows) - len(np.unique(rows[:, 0]))
        return self.settled(rows)

    def settled(self, rows: np.ndarray) -> np.ndarray:
        """Each time once, in order. A candle only grows, so of two values the one with more volume holds, else the one read later."""
        rows = rows[np.lexsort((rows[:, 5], rows[:, 0]))]
        same = np.diff(rows[:, 0]) == 0
        self._report.conflicts += int((same & (np.diff(rows, axis=0) != 0).any(axis=1)).sum())
        return rows[np.append(~same, True)] if len(rows) else rows

    async def onward(self, at: int) -> int:
        """Where to ask next when there is nothing at `at`: daily candles tell where a market goes on."""
        page_ms = self._exchange.page_bars(self._market) * self._step
        if self._step >= DAY_MS or at + page_ms >= self._end or not self._exchange.has_days():
            return at + page_ms
        begin = at // DAY_MS * DAY_MS
        days = (await self._exchange.candles(self._market, "1d", begin))[:, 0]
        if not (days >= begin).any():
            return max(begin + self._exchange.page_bars(self._market) * DAY_MS, at + page_ms)
        # A day may not begin at midnight UTC, so the one before is read, too.
        return max(int(days[days >= begin].min()) - DAY_MS, at + page_ms)

    def _first_missing(self, rows: np.ndarray, wanted: int) -> int | None:
        time = rows[rows[:, 0] >= wanted, 0]
        if not len(time) or time[0] > wanted:
            return wanted
        holes = np.flatnonzero(np.diff(time) > self._step)
        return int(time[holes[0]]) + self._step if len(holes) else None


def _chunk(rows: np.ndarray, before: int, step: int) -> Chunk:
    """Rows as columns; what lies between them and `before`, the time up to which all was told already, are gaps."""
    time = rows[:, 0].astype(np.int64)
    ends = np.concatenate([[before - step], time])
    holes = np.flatnonzero(np.diff(ends) > step)
    gaps = [Gap(int(ends[i]) + step, int(ends[i + 1]) - step) for i in holes]
    columns = {name: np.ascontiguousarray(rows[:, i]) for i, name in enumerate(SERIES["bars"])}
    return Chunk({**columns, "time": time}, gaps)
