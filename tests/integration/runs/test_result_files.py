"""Trades and equity as files: the same whether they are stored in the row of their result or in files, or computed again."""

from __future__ import annotations

from tempfile import TemporaryFile
from typing import Any

import polars
import pytest

import python_core as bt
import workers
from tests.support.marks import on_sqlite
from tests.support.workers import Finished
from workers.data.table_files import TableFormat
from workers.process.worker import LeaseWorker

pytestmark = [pytest.mark.anyio, on_sqlite]


async def table(export: Any, run: workers.Run, table_format: TableFormat, **options: int) -> polars.DataFrame:
    """What an operation writes to a file."""
    with TemporaryFile() as file:
        await export(run.id, file, table_format, **options)
        if table_format == "csv":
            return polars.read_csv(file, try_parse_dates=True).with_columns(polars.col(polars.Datetime).cast(polars.Datetime("ms", "UTC")))
        return polars.read_parquet(file) if table_format == "parquet" else polars.read_ipc_stream(file)


async def submit(service: workers.Service, request_: workers.BacktestRequest, finished: Finished) -> workers.Run:
    return await finished((await service.backtests.submit(request_)).id)


@pytest.mark.parametrize("table_format", ["csv", "parquet", "arrow"])
@pytest.mark.parametrize("stored_in", ["row", "files"])
async def test_a_file_has_what_the_library_computes(
    service: workers.Service,
    worker: LeaseWorker,
    request_: workers.BacktestRequest,
    finished: Finished,
    bars: bt.Bars,
    cross: bt.Strategy,
    table_format: TableFormat,
    stored_in: str,
    request: pytest.FixtureRequest,
) -> None:
    if stored_in == "files":
        request.getfixturevalue("results_in_files")
    run = await submit(service, request_, finished)
    stored = await service.resources.results.require_stored(run)
    assert (stored.trades is not None, stored.equity is not None) == (stored_in == "files",) * 2
    expected = bt.backtest(bars, cross, bt.Execution())

    trades = await table(service.backtests.export_trades, run, table_format)
    assert tuple(trades.columns) == bt.Trade.__struct_fields__
    assert trades["entry_time"].dt.timestamp("ms").to_list() == expected.trades.column("entry_time").tolist()
    for name in ("side", "net", "reason", "bars_held"):
        assert trades[name].to_list() == [getattr(trade, name) for trade in expected.trades]

    equity = await table(service.backtests.export_equity, run, table_format)
    assert equity.schema == {"time": polars.Datetime("ms", "UTC"), "equity": polars.Float64}
    assert equity["time"].dt.timestamp("ms").to_list() == expected.time.tolist()
    assert equity["equity"].to_list() == expected.equity.tolist()
    sample = await table(service.backtests.export_equity, run, table_format, points=10)
    assert tuple(sample["equity"]) == (await service.backtests.get_equity(run.id, points=10)).equity


async def test_a_lost_file_is_a_conflict_until_the_run_was_repeated(
    service: workers.Service, worker: LeaseWorker, request_: workers.BacktestRequest, finished: Finished, results_in_files: None
) -> None:
    run = await submit(service, request_, finished)
    stored = await service.resources.results.require_stored(run)
    service.resources.artifacts.delete([stored.trades or "", stored.equity or ""])
    for export in (service.backtests.export_trades, service.backtests.export_equity):
        with pytest.raises(workers.Conflict, match="is missing") as lost:
            await table(export, run, "parquet")
        assert lost.value.code == "result_lost"
    again = await submit(service, request_, finished)
    assert len(await table(service.backtests.export_trades, again, "parquet")) == (run.result.trades if run.result else 0)
