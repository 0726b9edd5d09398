"""Results: a row of metrics and two Parquet files under the fingerprint of the inputs, with a cache of rows in Redis."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
import structlog

import python_core as bt
from python_core.metrics import RUN_NAMES, Metrics
from python_core.simulate import REASONS
from workers import artifacts, store
from workers.database import Database
from workers.errors import Conflict
from workers.queue import Queue, RedisError
from workers.runs import Equity, RunResult, TradePage, encode, now_ms
from workers.settings import Settings

CACHE: Final = "barstorm:result:"
CACHED: Final = "barstorm:results"
_PARTS: Final = ("trades", "equity")
_log = structlog.stdlib.get_logger(__name__)


def save(folder: Path, result: bt.Result) -> dict[str, Any]:
    """Write trades and equity, and give the row to keep; whoever writes them writes the same.

    Raises:
        OSError: the disk is full or not there.
    """
    import polars

    trades = result.trades.array
    columns = {name: trades[name] for name in trades.dtype.names or ()}
    frames = {
        "trades": polars.DataFrame({**columns, "reason": polars.Series([REASONS[i] for i in trades["reason"]], dtype=polars.String)}),
        "equity": polars.DataFrame({"time": result.time, "equity": result.equity}),
    }
    for part, frame in frames.items():
        path = artifacts.result_file(folder, result.fingerprint, part)
        if not path.exists():
            artifacts.write(path, frame.write_parquet)
    metrics = result.metrics
    return {
        "fingerprint": result.fingerprint,
        "digest": result.digest,
        "engine": result.engine,
        "bars": result.bars,
        "rejected_orders": result.rejected_orders,
        "ambiguous_bars": result.ambiguous_bars,
        "ruined": result.ruined,
        **{name: getattr(metrics, name) for name in RUN_NAMES},
        "long_short": encode({"long": metrics.long, "short": metrics.short}),
        "created_at": now_ms(),
    }


def from_row(row: Mapping[str, Any] | sa.RowMapping) -> RunResult:
    metrics = {name: row[name] for name in RUN_NAMES} | msgspec.json.decode(row["long_short"])
    names = ("fingerprint", "digest", "engine", "bars", "trades", "rejected_orders", "ambiguous_bars", "ruined")
    return RunResult(**{name: row[name] for name in names}, metrics=msgspec.convert(metrics, Metrics))


def has_files(folder: Path, fingerprint: str) -> bool:
    return all(artifacts.result_file(folder, fingerprint, part).exists() for part in _PARTS)


class Results:
    """Looks results up: in Redis, then in the database. A Redis that doesn't answer only makes it slower."""

    def __init__(self, database: Database, queue: Queue, settings: Settings) -> None:
        self._database = database
        self._redis = queue.redis
        self._settings = settings

    async def load(self, fingerprint: str) -> RunResult | None:
        """The result of these inputs, if any run has found it."""
        try:
            raw = await self._redis.get(CACHE + fingerprint)
            if raw is not None:
                return msgspec.msgpack.decode(raw, type=RunResult)
        except (RedisError, OSError, msgspec.MsgspecError) as error:
            _log.warning("result cache not read", reason=str(error))
        async with self._database.read() as session:
            row = await store.result(session, fingerprint)
        if row is None:
            return None
        found = from_row(row)
        await self.remember(found)
        return found

    async def reusable(self, fingerprint: str, engine: str) -> RunResult | None:
        """A whole result that answers a run of these inputs on this engine."""
        found = await self.load(fingerprint)
        if found is None or engine not in ("auto", found.engine) or not has_files(self._settings.folder, fingerprint):
            return None
        return found

    async def remember(self, result: RunResult) -> None:
        """Put a result into the cache, and the oldest out of it when there are too many."""
        most = self._settings.cache_entries
        if most == 0:
            return
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.set(CACHE + result.fingerprint, msgspec.msgpack.encode(result), ex=self._settings.cache_ttl_s)
                pipe.zadd(CACHED, {result.fingerprint: time.time()})
                pipe.zcard(CACHED)
                *_, held = await pipe.execute()
            if held > most:
                oldest = cast(list[tuple[bytes, float]], await self._redis.zpopmin(CACHED, held - most))
                await self._redis.delete(*(CACHE + fingerprint.decode() for fingerprint, _ in oldest))
        except (RedisError, OSError) as error:
            _log.warning("result cache not written", reason=str(error))


def trades(folder: Path, fingerprint: str, *, offset: int, limit: int) -> TradePage:
    """Some trades of a result, in order."""
    import polars

    with _reading():
        lazy = polars.scan_parquet(artifacts.result_file(folder, fingerprint, "trades"))
        total = lazy.select(polars.len()).collect().item()
        rows = lazy.slice(offset, limit).collect().rows(named=True)
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
        for row in rows
    )
    return TradePage(items=items, offset=offset, total=total)


def equity(folder: Path, fingerprint: str, *, points: int | None) -> Equity:
    """Equity at every bar's close, or at so many bars at most: the first, the last, and lows and highs between them."""
    import polars

    with _reading():
        frame = polars.read_parquet(artifacts.result_file(folder, fingerprint, "equity"))
    total = len(frame)
    if points is not None and points < total:
        frame = frame[_sample(frame["equity"].to_numpy(), points)]
    return Equity(time=tuple(frame["time"].to_list()), equity=tuple(frame["equity"].to_list()), total=total)


def _sample(values: npt.NDArray[np.float64], points: int) -> npt.NDArray[np.int64]:
    """Positions of the first and last value and of the least and greatest of equal stretches between them."""
    ends = np.array([0, len(values) - 1])
    stretches = (points - 2) // 2
    if stretches == 0:
        return ends
    length = -(-len(values) // stretches)
    padded = np.pad(values, (0, stretches * length - len(values)), mode="edge").reshape(stretches, length)
    starts = np.arange(stretches) * length
    found = np.concatenate([ends, starts + padded.argmin(axis=1), starts + padded.argmax(axis=1)])
    return np.unique(np.minimum(found, len(values) - 1))


class _reading:
    """Turns a missing or damaged file into an error that says how to mend it."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        import polars

        if isinstance(error, FileNotFoundError | polars.exceptions.PolarsError):
            raise Conflict("the file of this result is gone or damaged", where="result", hint="run it again", code="result_lost") from error
