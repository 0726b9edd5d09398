"""Results: a row of metrics under the fingerprint of the inputs, two Parquet files named by the row, and a cache of rows in Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

import python_core as bt
from python_core.metrics import RUN_NAMES, Metrics
from python_core.metrics.monthly import monthly_returns
from python_core.trades import REASONS
from workers.db.database import Database
from workers.errors import Conflict
from workers.model.clock import now_ms
from workers.model.runs import EquityCurve, MonthlyReturns, RunResult, TradePage, encode
from workers.queue import keys
from workers.queue.queue import Queue, RedisError
from workers.runs import store
from workers.settings import Settings
from workers.storage import artifacts
from workers.storage.artifacts import ArtifactLost, Artifacts

if TYPE_CHECKING:
    import polars

_log = structlog.stdlib.get_logger(__name__)


# Counts of a result that are columns of the table.
COUNTS: Final = ("rejected_orders", "clipped_orders", "filtered_entries", "expired_orders", "ambiguous_bars")


class StoredResult(msgspec.Struct, frozen=True):
    """A result and the names of its files."""

    result: RunResult
    trades: str | None
    equity: str | None


def save(store: Artifacts, result: bt.Result) -> dict[str, Any]:
    """Write the files of trades and equity; returns the row for the table of results. Equal results give equal files.

    Raises:
        OSError: the files can't be written.
    """
    import polars

    trades = result.trades.array
    columns = {name: trades[name] for name in trades.dtype.names or ()}
    frames = {
        "trades": polars.DataFrame({**columns, "reason": polars.Series([REASONS[i] for i in trades["reason"]], dtype=polars.String)}),
        "equity": polars.DataFrame({"time": result.time, "equity": result.equity}),
    }
    hashes = {f"{part}_hash": artifacts.write(store, partial(artifacts.write_parquet, frame)).hash for part, frame in frames.items()}
    metrics = result.metrics
    return {
        "fingerprint": result.fingerprint,
        "digest": result.digest,
        "engine": result.engine,
        "bars": result.bars,
        **{name: getattr(result, name) for name in COUNTS},
        "ruined": result.ruined,
        "warm_up_shortfall": result.warm_up_shortfall,
        "contract": bt.CONTRACT,
        **{name: getattr(metrics, name) for name in RUN_NAMES},
        "long_short": encode({"long": metrics.long, "short": metrics.short}),
        **hashes,
        "created_at": now_ms(),
    }


def from_row(row: Mapping[str, Any] | sa.RowMapping) -> StoredResult:
    metrics = {name: row[name] for name in RUN_NAMES} | msgspec.json.decode(row["long_short"])
    names = (name for name in RunResult.__struct_fields__ if name != "metrics")
    result = RunResult(**{name: row[name] for name in names}, metrics=msgspec.convert(metrics, Metrics))
    return StoredResult(result, row["trades_hash"], row["equity_hash"])


class Results:
    """Stored results, read from Redis or else from the database. Without Redis, reading is only slower."""

    def __init__(self, database: Database, queue: Queue, artifacts: Artifacts, settings: Settings) -> None:
        self._database = database
        self._artifacts = artifacts
        self._redis = queue.redis
        self._settings = settings

    async def load(self, fingerprint: str) -> StoredResult | None:
        """The result of these inputs, if it was computed before."""
        try:
            raw = await self._redis.get(keys.result(fingerprint))
            if raw is not None:
                return msgspec.msgpack.decode(raw, type=StoredResult)
        except (RedisError, OSError, msgspec.MsgspecError) as error:
            _log.warning("result cache not read", reason=str(error))
        async with self._database.read() as session:
            row = await store.get_result(session, fingerprint)
        if row is None:
            return None
        stored = from_row(row)
        await self.cache(stored)
        return stored

    async def reusable(self, fingerprint: str, engine: str) -> RunResult | None:
        """The result for a run of these inputs on this engine, if it is stored with its files."""
        return await self._complete(await self.load(fingerprint), engine)

    async def reusable_in(self, session: AsyncSession, fingerprint: str, engine: str) -> RunResult | None:
        """The same, read in a transaction instead of from the cache."""
        row = await store.get_result(session, fingerprint)
        return None if row is None else await self._complete(from_row(row), engine)

    async def _complete(self, stored: StoredResult | None, engine: str) -> RunResult | None:
        if stored is None or engine not in ("auto", stored.result.engine):
            return None
        # The row alone is not enough: files can be lost, and then the run is computed again.
        complete = await asyncio.to_thread(lambda: all(name and self._artifacts.exists(name) for name in (stored.trades, stored.equity)))
        return stored.result if complete else None

    async def trades(self, fingerprint: str, *, offset: int, limit: int) -> TradePage:
        """A page of the trades of a result, in order."""
        stored = await self.load(fingerprint)
        return await asyncio.to_thread(lambda: _trades(self._read(stored.trades if stored else None), offset, limit))

    async def equity(self, fingerprint: str, *, points: int | None) -> EquityCurve:
        """Equity at the close of each bar or, with `points`, of at most that many bars: the first, the last, and lows and highs between."""
        stored = await self.load(fingerprint)
        return await asyncio.to_thread(lambda: _equity(self._read(stored.equity if stored else None), points))

    async def monthly_returns(self, fingerprint: str, *, initial_capital: float) -> MonthlyReturns:
        """The return of each UTC month of a result."""
        stored = await self.load(fingerprint)
        frame = await asyncio.to_thread(lambda: self._read(stored.equity if stored else None))
        return MonthlyReturns(items=monthly_returns(frame["equity"].to_numpy(), frame["time"].to_numpy(), initial_capital))

    def _read(self, name: str | None) -> polars.DataFrame:
        import polars

        try:
            return polars.read_parquet(self._artifacts.read(name or ""))
        except ArtifactLost as error:
            raise Conflict(f"a file of this result {error}", where="result", hint="run it again", code="result_lost") from error

    async def cache(self, stored: StoredResult) -> None:
        """Cache a result in Redis; if there are too many, the oldest are removed."""
        max_entries = self._settings.cache_entries
        if max_entries == 0:
            return
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.set(keys.result(stored.result.fingerprint), msgspec.msgpack.encode(stored), ex=self._settings.cache_ttl_s)
                pipe.zadd(keys.RESULTS_BY_AGE, {stored.result.fingerprint: time.time()})
                pipe.zcard(keys.RESULTS_BY_AGE)
                *_, entries = await pipe.execute()
            if entries > max_entries:
                oldest = cast(list[tuple[bytes, float]], await self._redis.zpopmin(keys.RESULTS_BY_AGE, entries - max_entries))
                await self._redis.delete(*(keys.result(fingerprint.decode()) for fingerprint, _ in oldest))
        except (RedisError, OSError) as error:
            _log.warning("result cache not written", reason=str(error))


def _trades(frame: polars.DataFrame, offset: int, limit: int) -> TradePage:
    items = tuple(
        bt.Trade(
            entry_time=row["entry_time"],
            exit_time=row["exit_time"],
            side="long" if row["side"] > 0 else "short",
            quantity=row["quantity"],
            entry_price=row["entry_price"],
            exit_price=row["exit_price"],
            gross=row["gross"],
            fees=row["fees"],
            funding=row["funding"],
            net=row["net"],
            reason=row["reason"],
            bars_held=row["exit_index"] - row["entry_index"],
            mae=row["mae"],
            mfe=row["mfe"],
        )
        for row in frame[offset : offset + limit].rows(named=True)
    )
    return TradePage(items=items, offset=offset, total=len(frame))


def _equity(frame: polars.DataFrame, points: int | None) -> EquityCurve:
    total = len(frame)
    if points is not None and points < total:
        frame = frame[_sample(frame["equity"].to_numpy(), points)]
    return EquityCurve(time=tuple(frame["time"].to_list()), equity=tuple(frame["equity"].to_list()), total=total)


def _sample(values: npt.NDArray[np.float64], points: int) -> npt.NDArray[np.int64]:
    """Positions of the first and the last value, and of the lowest and the highest in each of equally long stretches."""
    ends = np.array([0, len(values) - 1])
    # Lows and highs, because a thinned curve must not hide a drawdown.
    stretches = (points - 2) // 2
    if stretches == 0:
        return ends
    length = -(-len(values) // stretches)
    padded = np.pad(values, (0, stretches * length - len(values)), mode="edge").reshape(stretches, length)
    starts = np.arange(stretches) * length
    positions = np.concatenate([ends, starts + padded.argmin(axis=1), starts + padded.argmax(axis=1)])
    return np.unique(np.minimum(positions, len(values) - 1))
