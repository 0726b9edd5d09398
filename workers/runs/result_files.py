"""Trades and equity of a run as files that clients download."""

from __future__ import annotations

import asyncio
from types import NoneType
from typing import BinaryIO

from workers.data import table_files, tasks
from workers.data.table_files import TableFormat
from workers.data.workroom import Workroom
from workers.errors import Conflict
from workers.model.runs import Run
from workers.runs import packed_trades
from workers.runs.results import Results, StoredResult, equity_frame, sample, trades_frame


class ResultFiles:
    """Writes results to files. What is stored as a file may be large, and is written by a process of the workroom."""

    def __init__(self, results: Results, workroom: Workroom) -> None:
        self._results = results
        self._workroom = workroom

    async def write_trades(self, run: Run, file: BinaryIO, table_format: TableFormat) -> None:
        """Write the trades of a finished run, in order."""
        stored = await self._results.require_stored(run)
        if stored.trades_data is None:
            await self._run(stored, tasks.ExportTrades(stored.trades or "", table_format), file)
            return
        packed = stored.trades_data

        def write() -> None:
            table_files.write(table_files.trades(trades_frame(packed_trades.unpack(packed))), table_format, file)

        await asyncio.to_thread(write)

    async def write_equity(self, run: Run, file: BinaryIO, table_format: TableFormat, *, points: int | None) -> None:
        """Write the equity at the close of each bar or, with `points`, of a sample."""
        stored = await self._results.require_stored(run)
        if stored.equity is not None and points is None:
            await self._run(stored, tasks.ExportEquity(stored.equity, table_format), file)
            return
        time, equity = sample(*await self._results.curve(run), points)

        def write() -> None:
            table_files.write(equity_frame(time, equity).with_columns(table_files.times("time")), table_format, file)

        await asyncio.to_thread(write)

    async def _run(self, stored: StoredResult, task: tasks.ExportTrades | tasks.ExportEquity, file: BinaryIO) -> None:
        try:
            await self._workroom.run("files", task, NoneType, file)
        except Conflict:
            self._results.forget(stored)
            raise
        file.seek(0)
