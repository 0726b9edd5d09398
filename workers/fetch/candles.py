"""Candles and funding rates of an exchange as clean chunks: valid, closed, sorted, without duplicates.

Exchanges answer with holes, duplicates and candles that still change. Missing candles are requested again before they count as a gap.
"""

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

# A candle that is missing in this many responses doesn't exist.
MAX_REQUESTS: Final = 3
CHUNK_BARS: Final = 100_000
# An exchange may still change a candle for a moment after its close.
SETTLE_MS: Final = 5_000
HOUR_MS: Final = 3_600_000


class FetchReport(msgspec.Struct):
    """What a fetch has stored, and the faults it found in the exchange's data."""

    dataset: Annotated[str | None, Meta(description="The dataset, as `id@version`.")] = None
    bars: Annotated[int, Meta(description="Number of bars stored.")] = 0
    funding: Annotated[int, Meta(description="Number of funding rates stored.")] = 0
    gaps: Annotated[
        int, Meta(description="Number of gaps: ranges for which the exchange has no candles; they are not requested again.")
    ] = 0
    missing: Annotated[int, Meta(description="Number of candles missing in these gaps.")] = 0
    duplicates: Annotated[int, Meta(description="Number of candles that a response contained more than once.")] = 0
    conflicts: Annotated[
        int,
        Meta(
            description="Number of closed candles with different values in two responses: the one with more volume is kept or, if equal, the later one."
        ),
    ] = 0
    invalid: Annotated[int, Meta(description="Number of candles that are not valid bars; they are requested again, then omitted.")] = 0
    repeated_requests: Annotated[int, Meta(description="Number of requests repeated because candles were missing.")] = 0


class TimeRange(NamedTuple):
    """A range of candles, by the opening times of the first and the last one."""

    start: int
    end: int


class Chunk(NamedTuple):
    """Consecutive bars, and the gaps before and between them, for which the exchange has no candles."""

    columns: Columns
    gaps: list[TimeRange]


def closed_until(exchange: Exchange, step_ms: int) -> int:
    """The end of the last closed candle: the opening time of the first one that may still change."""
    return timeframes.align(exchange.now_ms() - SETTLE_MS, step_ms)


async def read_candles(
    exchange: Exchange, market: dict[str, Any], timeframe: str, start: int, end: int, report: FetchReport, *, chunk_bars: int = CHUNK_BARS
) -> AsyncGenerator[Chunk, None]:
    """The candles that open from `start` to `end` (exclusive), both aligned to the timeframe, in chunks of about `chunk_bars`.

    Responses overlap by one candle: the last candle of a response may be incomplete, so it is read twice.
    """
    step = timeframes.milliseconds(timeframe)
    reader = _Reader(exchange, market, timeframe, step, end, report)
    ready: list[np.ndarray] = []
    newest: np.ndarray | None = None  # the last candle of the last response, read once so far
    at = before = start
    while at < end:
        rows = await reader.page(at if newest is None else timeframes.shift(at, step, -1), at)
        if newest is not None:
            rows = reader.merged(np.concatenate([newest, rows]))
        if not len(rows) or rows[-1, 0] < at:
            at = await reader.skip_ahead(at)
            continue
        ready.append(rows[:-1])
        newest = rows[-1:]
        at = timeframes.shift(int(newest[0, 0]), step, 1)
        if sum(map(len, ready)) >= chunk_bars:
            chunk = _chunk(np.concatenate(ready), before, step)
            yield chunk
            before, ready = timeframes.shift(int(chunk.columns["time"][-1]), step, 1), []
    if newest is not None:
        reread = await reader.request(int(newest[0, 0]))
        ready.append(reader.merged(np.concatenate([newest, reread[reread[:, 0] == newest[0, 0]]])))
    if ready:
        yield _chunk(np.concatenate(ready), before, step)


async def read_funding(exchange: Exchange, market: dict[str, Any], start: int, end: int, report: FetchReport) -> Columns:
    """The funding rates from `start` to `end` (exclusive). If two have the same time, the one read later counts."""
    rates: dict[int, float] = {}
    at = start
    while at < end:
        rows = await exchange.funding(market, at)
        rows = rows[(rows[:, 0] >= at) & (rows[:, 0] < end) & np.isfinite(rows).all(axis=1)]
        for time, rate in rows:
            report.duplicates += int(time) in rates
            rates[int(time)] = float(rate)
        # An empty response covers at least FUNDING_ROWS hours: no exchange has more than one rate an hour.
        at = int(rows[:, 0].max()) + 1 if len(rows) else at + FUNDING_ROWS * HOUR_MS
    times = sorted(rates)
    return {"time": np.array(times, np.int64), "rate": np.array([rates[time] for time in times], np.float64)}


class _Reader:
    """Reads one market's candles in one timeframe; rows are time, open, high, low, close, volume."""

    def __init__(self, exchange: Exchange, market: dict[str, Any], timeframe: str, step: int, end: int, report: FetchReport) -> None:
        self._exchange = exchange
        self._market = market
        self._timeframe = timeframe
        self._step = step
        self._end = end
        self._report = report

    async def page(self, since: int, first: int) -> np.ndarray:
        """The candles of one response; those missing from `first` on are requested again."""
        rows = await self.request(since)
        for _ in range(MAX_REQUESTS - 1):
            missing = self._first_missing(rows, first)
            if missing is None:
                break
            self._report.repeated_requests += 1
            rows = self.merged(np.concatenate([rows, await self.request(max(timeframes.shift(missing, self._step, -1), since))]))
        return rows

    async def request(self, since: int) -> np.ndarray:
        """The valid, closed candles of one response, sorted."""
        rows = await self._exchange.candles(self._market, self._timeframe, since)
        time = rows[:, 0]
        with np.errstate(invalid="ignore"):
            rows = rows[(time >= since) & (time < self._end) & (timeframes.bucket_start(time, self._step) == time)]
            _, open_, high, low, close, volume = rows.T
            valid = (low > 0) & (low <= np.minimum(open_, close)) & (high >= np.maximum(open_, close)) & (volume >= 0)
        valid &= np.isfinite(rows).all(axis=1)
        self._report.invalid += int((~valid).sum())
        rows = rows[valid]
        self._report.duplicates += len(rows) - len(np.unique(rows[:, 0]))
        return self.merged(rows)

    def merged(self, rows: np.ndarray) -> np.ndarray:
        """Rows sorted by time, each time once. A candle only grows: of two versions, the one with more volume counts, or else the later one."""
        rows = rows[np.lexsort((rows[:, 5], rows[:, 0]))]
        same = np.diff(rows[:, 0]) == 0
        self._report.conflicts += int((same & (np.diff(rows, axis=0) != 0).any(axis=1)).sum())
        return rows[np.append(~same, True)] if len(rows) else rows

    async def skip_ahead(self, at: int) -> int:
        """Where to read next if there are no candles at `at`. Daily candles show cheaply where the market continues."""
        page_bars = self._exchange.page_bars(self._market)
        after_page = timeframes.shift(at, self._step, page_bars)
        if self._step >= DAY_MS or after_page >= self._end or not self._exchange.has_daily_candles():
            return after_page
        begin = at // DAY_MS * DAY_MS
        days = (await self._exchange.candles(self._market, "1d", begin))[:, 0]
        if not (days >= begin).any():
            return max(begin + page_bars * DAY_MS, after_page)
        # A day may not begin at midnight UTC, so the day before is included.
        return max(int(days[days >= begin].min()) - DAY_MS, after_page)

    def _first_missing(self, rows: np.ndarray, first: int) -> int | None:
        time = rows[rows[:, 0] >= first, 0]
        if not len(time) or time[0] > first:
            return first
        holes = np.flatnonzero(timeframes.steps(time, self._step) > 1)
        return timeframes.shift(int(time[holes[0]]), self._step, 1) if len(holes) else None


def _chunk(rows: np.ndarray, before: int, step: int) -> Chunk:
    """Rows as columns, with the gaps between them and after `before`, the end of the previous chunk."""
    time = rows[:, 0].astype(np.int64)
    ends = np.concatenate([[timeframes.shift(before, step, -1)], time])
    holes = np.flatnonzero(timeframes.steps(ends, step) > 1)
    gaps = [TimeRange(timeframes.shift(int(ends[i]), step, 1), timeframes.shift(int(ends[i + 1]), step, -1)) for i in holes]
    columns = {name: np.ascontiguousarray(rows[:, i]) for i, name in enumerate(SERIES["bars"])}
    return Chunk({**columns, "time": time}, gaps)
