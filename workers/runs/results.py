"""Results: a row under the fingerprint of the inputs with metrics and, if they are few, trades; and Parquet files of what is large or slow to make.

An equity curve that the kernel made within milliseconds is not stored: it is computed again when it is read, and checked against the digest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

import python_core as bt
from python_core.metrics import RUN_NAMES, Metrics
from python_core.metrics.monthly import monthly_returns
from python_core.trades import REASONS
from workers.cache import Recent
from workers.data import compute, table_files
from workers.data.bars_cache import BarsCache
from workers.db.database import Database
from workers.errors import Conflict
from workers.model import cursors
from workers.model.clock import now_ms
from workers.model.runs import EquityCurve, MonthlyReturns, Run, RunResult, TradePage, encode
from workers.runs import packed_trades, store
from workers.runs.lookups import Lookups
from workers.storage import artifacts
from workers.storage.artifacts import Artifacts

if TYPE_CHECKING:
    import polars

# Counts of a result that are columns of the table.
COUNTS: Final = ("rejected_orders", "clipped_orders", "filtered_entries", "expired_orders", "ambiguous_bars")


# Trades are stored in the row of their result up to this many bytes, about 700 trades; more, in a file.
MAX_PACKED_BYTES: Final = 65_536
# An equity curve that took the kernel longer than this is stored in a file; others are computed again when they are read.
MAX_RECOMPUTED_MS: Final = 20.0
# Results of this many runs are remembered by each process.
MAX_REMEMBERED: Final = 10_000


class StoredResult(msgspec.Struct, frozen=True):
    """A result, its trades if they are in its row, and the names of its files."""

    result: RunResult
    trades_data: bytes | None
    trades: str | None
    equity: str | None


def save(store: Artifacts, result: bt.Result, *, kernel_ms: float) -> dict[str, Any]:
    """The row for the table of results; writes the files of what is too large for it. Equal results give equal files.

    Raises:
        OSError: the files can't be written.
    """
    trades, metrics = result.trades.array, result.metrics
    packed = packed_trades.pack(trades)
    small = len(packed) <= MAX_PACKED_BYTES
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
        "trades_data": packed if small else None,
        "trades_hash": None if small else _write(store, trades_frame(trades)),
        "equity_hash": None if kernel_ms <= MAX_RECOMPUTED_MS else _write(store, equity_frame(result.time, result.equity)),
        "created_at": now_ms(),
    }


def trades_frame(trades: npt.NDArray[np.void]) -> polars.DataFrame:
    """Trades as they are stored in a file."""
    import polars

    columns = {name: trades[name] for name in trades.dtype.names or ()}
    return polars.DataFrame({**columns, "reason": polars.Series([REASONS[i] for i in trades["reason"]], dtype=polars.String)})


def equity_frame(time: npt.NDArray[np.int64], equity: npt.NDArray[np.float64]) -> polars.DataFrame:
    import polars

    return polars.DataFrame({"time": time, "equity": equity})


def _write(store: Artifacts, frame: polars.DataFrame) -> str:
    return artifacts.write(store, partial(artifacts.write_parquet, frame)).hash


def from_row(row: Mapping[str, Any] | sa.RowMapping) -> StoredResult:
    metrics = {name: row[name] for name in RUN_NAMES} | msgspec.json.decode(row["long_short"])
    names = (name for name in RunResult.__struct_fields__ if name != "metrics")
    result = RunResult(**{name: row[name] for name in names}, metrics=msgspec.convert(metrics, Metrics))
    return StoredResult(result, row["trades_data"], row["trades_hash"], row["equity_hash"])


class Results:
    """Stored results. Each process remembers those that it has read last; results never change."""

    def __init__(self, database: Database, artifacts: Artifacts, bars: BarsCache, lookups: Lookups) -> None:
        self._database = database
        self._lookups = lookups
        self._artifacts = artifacts
        self._bars = bars
        self._remembered = Recent[str, StoredResult](MAX_REMEMBERED)

    async def load(self, fingerprint: str) -> StoredResult | None:
        """The result of inputs with this fingerprint, from memory or else from the database."""
        if (stored := self._remembered.get(fingerprint)) is not None:
            return stored
        row = (await self._database.query(lambda connection: store.find_results(connection, [fingerprint]))).get(fingerprint)
        if row is None:
            return None
        stored = self._remembered[fingerprint] = from_row(row)
        return stored

    def is_complete(self, known: store.KnownResult) -> bool:
        """Whether the files of a result are there: they can be lost, and then the run is computed again. Blocks."""
        return all(self._artifacts.exists(name) for name in (known.trades_hash, known.equity_hash) if name)

    async def trades(self, run: Run, *, limit: int, cursor: str | None) -> TradePage:
        """A page of the trades of a finished run, in order.

        Raises:
            Invalid: the cursor is not one of the trades of this run.
        """
        list_name = f"trades of {run.id}"
        first = 0 if cursor is None else cast(int, cursors.decode(list_name, cursor, [int])[0])
        end = first + limit
        stored = await self.require_stored(run)
        if stored.trades_data is not None:
            trades, total = _trades_of_array(packed_trades.unpack(stored.trades_data), first, end)
        else:
            trades, total = await asyncio.to_thread(lambda: _trades_of_frame(self._read(stored, stored.trades), first, end))
        return TradePage(items=trades, next_cursor=cursors.encode(list_name, [end]) if end < total else None, total=total)

    async def equity(self, run: Run, *, points: int | None) -> EquityCurve:
        """Equity at the close of each bar or, with `points`, of at most that many bars: the first, the last, and lows and highs between."""
        time, equity = await self.curve(run)
        sampled_time, sampled = sample(time, equity, points)
        return EquityCurve(time=tuple(sampled_time.tolist()), equity=tuple(sampled.tolist()), total=len(equity))

    async def monthly_returns(self, run: Run) -> MonthlyReturns:
        """The return of each UTC month of a finished run."""
        time, equity = await self.curve(run)
        return MonthlyReturns(items=monthly_returns(equity, time, run.request.execution.initial_capital))

    async def curve(self, run: Run) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Open times of all bars and equity at their closes, from the stored file or computed again."""
        stored = await self.require_stored(run)
        if stored.equity is not None:
            frame = await asyncio.to_thread(lambda: self._read(stored, stored.equity))
            return frame["time"].to_numpy(), frame["equity"].to_numpy()
        check_contract(stored.result)
        dataset, parts = await self._lookups.version(run.dataset_id, run.dataset_version)
        result = await asyncio.to_thread(lambda: compute.backtest(self._bars, dataset, parts, run.request, bt.Control()))
        if result.digest != stored.result.digest:
            hint = "this is a bug in Barstorm; please report it with both digests"
            raise Conflict(f"computed again, the run has digest {result.digest}", where="digest", hint=hint, code="not_reproducible")
        return result.time, result.equity

    async def require_stored(self, run: Run) -> StoredResult:
        """The result of a run that has succeeded.

        Raises:
            Conflict: it is missing.
        """
        stored = await self.load(run.fingerprint)
        if stored is None:
            raise Conflict("the result of this run is missing", where="result", hint="run it again", code="result_lost")
        return stored

    def _read(self, stored: StoredResult, name: str | None) -> polars.DataFrame:
        try:
            return table_files.read(self._artifacts, name or "")
        except Conflict:
            self.forget(stored)
            raise

    def forget(self, stored: StoredResult) -> None:
        """Read a result again, as a file of it is lost: another run may have stored it again, under another name."""
        self._remembered.pop(stored.result.fingerprint, None)


def check_contract(result: RunResult) -> None:
    """
    Raises:
        Conflict: this version of Barstorm would compute another result.
    """
    if result.contract != bt.CONTRACT:
        what = f"the result was computed by contract {result.contract} and can't be computed again; this version has contract {bt.CONTRACT}"
        raise Conflict(what, where="result", hint="run it again; trades and metrics are kept", code="contract_changed")


def _trades_of_array(trades: npt.NDArray[np.void], first: int, end: int) -> tuple[tuple[bt.Trade, ...], int]:
    """The trades at positions from `first` to before `end`, and the number of all."""
    names = trades.dtype.names or ()
    rows = [dict(zip(names, row, strict=True)) for row in trades[first:end].tolist()]
    return tuple(_trade(row | {"reason": REASONS[row["reason"]]}) for row in rows), len(trades)


def _trades_of_frame(frame: polars.DataFrame, first: int, end: int) -> tuple[tuple[bt.Trade, ...], int]:
    return tuple(map(_trade, frame[first:end].rows(named=True))), len(frame)


def _trade(row: Mapping[str, Any]) -> bt.Trade:
    return bt.Trade(
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


def sample(
    time: npt.NDArray[np.int64], equity: npt.NDArray[np.float64], points: int | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """At most `points` of these, unless that is None: the first, the last, and lows and highs between."""
    if points is None or points >= len(equity):
        return time, equity
    positions = _positions(equity, points)
    return time[positions], equity[positions]


def _positions(values: npt.NDArray[np.float64], points: int) -> npt.NDArray[np.int64]:
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
