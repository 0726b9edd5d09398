"""Runs of contract 1 stay readable, and are never the answer to a run of a later contract. `contract_1.json` is what that contract stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import polars
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

import python_core as bt
import workers
from tests.support.files import parquet
from tests.support.waiting import Until
from tests.support.workers import StartWorker
from workers.db.database import MIGRATIONS, open_database
from workers.model.clock import now_ms
from workers.model.names import new_id
from workers.model.states import RunState
from workers.runs import saga
from workers.storage import artifacts
from workers.storage.open import open_artifacts

pytestmark = pytest.mark.anyio
LAST_REVISION = "0009"
NEW_COLUMNS = {"clipped_orders": 0, "filtered_entries": 0, "expired_orders": 0, "warm_up_shortfall": None, "contract": 1}


@pytest.fixture
def stored() -> dict[str, Any]:
    return msgspec.json.decode((Path(__file__).parent / "contract_1.json").read_bytes())


def save_files(settings: workers.Settings, stored: dict[str, Any], bars: bt.Bars) -> dict[str, str]:
    store = open_artifacts(settings)
    frames = {
        "trades_hash": polars.DataFrame(stored["trades"]),
        "equity_hash": polars.DataFrame({"time": bars.time, "equity": stored["equity"]}),
    }
    return {
        name: artifacts.write(store, lambda file, frame=frame: artifacts.write_parquet(frame, file)).hash for name, frame in frames.items()
    }


def insert(table: str, values: dict[str, Any]) -> sa.Insert:
    return sa.insert(sa.table(table, *map(sa.column, values))).values(values)


def run_values(stored: dict[str, Any], dataset: workers.Dataset, **changes: Any) -> dict[str, Any]:
    values = {
        "id": new_id(),
        "kind": "backtest",
        "state": "succeeded",
        "owner": "",
        "priority": "normal",
        "request": stored["request"].replace("ID", dataset.id),
        "dataset_id": dataset.id,
        "dataset_version": 1,
        "fingerprint": stored["result"]["fingerprint"],
        "engine": "python",
        **dict.fromkeys(("attempt", "job"), 1),
        "failures": 0,
        **dict.fromkeys(("has_followers", "cached", "cancel_requested"), False),
        **dict.fromkeys(("due_at", "created_at", "updated_at", "started_at", "finished_at"), now_ms()),
    }
    return {**values, "coalesce_key": f"{values['fingerprint']}:auto", **changes}


@pytest.fixture
async def old_runs(settings: workers.Settings, stored: dict[str, Any]) -> dict[str, str]:
    """The ids of a finished run, one that waits, and one that is being created, in a database as contract 1 left it."""
    bars = bt.synthetic(60)
    async with workers.open_service(settings) as service:
        dataset = await service.datasets.create("synthetic", parquet(bars), workers.instrument(symbol="SYNTHETIC"))

    def downgrade(connection: sa.Connection) -> None:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(MIGRATIONS))
        command.downgrade(config, LAST_REVISION)

    finished, waiting = (
        run_values(stored, dataset),
        run_values(stored, dataset, state="queued", attempt=0, fingerprint="0" * 64, engine=None),
    )
    waiting |= {"coalesce_key": "0" * 64 + ":auto", "started_at": None, "finished_at": None}
    result = {**stored["result"], **save_files(settings, stored, bars), "created_at": now_ms()}
    created = new_id()
    data = {
        "strategy_id": new_id(),
        "run_id": created,
        "request": msgspec.json.decode(stored["create_and_run"].replace("ID", dataset.id)),
        "options": {"owner": "", "priority": "normal", "run_at": None, "key": ""},
    }
    long_ago = now_ms() - 10 * saga.GRACE_MS
    async with open_database(settings.database_url) as database:
        async with database.engine.execution_options(writing=True, migrating=True).begin() as connection:
            await connection.run_sync(downgrade)
        async with database.write() as session:
            assert await session.scalar(sa.text("SELECT version_num FROM alembic_version")) == LAST_REVISION
            for values in (finished, waiting):
                await session.execute(insert("runs", values))
            await session.execute(insert("outbox", {"run_id": waiting["id"], "kind": "backtest", "job": 1, "due_at": now_ms()}))
            await session.execute(insert("results", result))
            values = {"id": created, "kind": "create-and-run", "state": "running", "step": 0, "data": msgspec.json.encode(data).decode()}
            await session.execute(insert("sagas", {**values, "created_at": long_ago, "updated_at": long_ago}))
    return {"finished": finished["id"], "waiting": waiting["id"], "created": created}


async def test_a_run_of_contract_1_is_read_as_it_was(old_runs: dict[str, str], settings: workers.Settings, stored: dict[str, Any]) -> None:
    async with workers.open_service(settings) as service:
        run = await service.backtests.get(old_runs["finished"])
        assert run.state == RunState.SUCCEEDED
        assert run.request.execution == bt.Execution(initial_capital=5000, stop_loss=0.02, take_profit=bt.Atr(multiple=2.0))
        assert run.request.warm_up_from == "start", "it was run without warm-up"
        result = run.result
        assert result is not None
        for name in ("fingerprint", "digest", "engine", "bars", "trades", "rejected_orders", "ambiguous_bars", "ruined"):
            assert getattr(result, name) == stored["result"][name]
        assert {name: getattr(result, name) for name in NEW_COLUMNS} == NEW_COLUMNS
        assert result.metrics.sharpe == stored["result"]["sharpe"]
        assert result.metrics.long.wins == 2
        assert result.metrics.beta is None
        assert {item.id for item in (await service.backtests.list()).items} >= {old_runs["finished"], old_runs["waiting"]}
        trades = await service.backtests.get_trades(run.id)
        assert [trade.net for trade in trades.items] == [trade["net"] for trade in stored["trades"]]
        equity = await service.backtests.get_equity(run.id)
        assert equity.equity == tuple(stored["equity"])
        months = (await service.backtests.get_monthly_returns(run.id)).items
        assert [(month.year, month.month) for month in months] == [(2020, 1)]
        assert months[0].total_return == stored["equity"][-1] / 5000 - 1


async def test_a_result_of_contract_1_is_never_the_answer_to_a_new_run(
    old_runs: dict[str, str], settings: workers.Settings, start_worker: StartWorker, until: Until
) -> None:
    async with workers.open_service(settings) as service:
        old = await service.backtests.get(old_runs["finished"])
        again = await service.backtests.rerun(old.id)
        assert (again.state, again.cached, again.leader_id) == (RunState.QUEUED, False, None)
        assert again.request == old.request
        assert again.fingerprint != old.fingerprint

        async def done() -> bool:
            return (await service.backtests.get(again.id)).state == RunState.SUCCEEDED

        async with start_worker(settings):
            await until(done)
        result = (await service.backtests.get(again.id)).result
        assert result is not None
        assert (result.contract, result.fingerprint) == (bt.CONTRACT, again.fingerprint)
        assert (await service.backtests.get(old.id)).result == old.result, "the old run keeps its result"


async def test_a_run_that_contract_1_left_waiting_is_computed_by_this_one(
    old_runs: dict[str, str], settings: workers.Settings, start_worker: StartWorker, until: Until
) -> None:
    async with workers.open_service(settings) as service, start_worker(settings):

        async def done() -> bool:
            return (await service.backtests.get(old_runs["waiting"])).state == RunState.SUCCEEDED

        await until(done)
        result = (await service.backtests.get(old_runs["waiting"])).result
        assert result is not None
        assert (result.contract, result.fingerprint) == (bt.CONTRACT, (await service.backtests.get(old_runs["waiting"])).fingerprint)


async def test_a_creation_that_contract_1_left_unfinished_is_completed(
    old_runs: dict[str, str], settings: workers.Settings, start_worker: StartWorker, until: Until
) -> None:
    async with workers.open_service(settings) as service, start_worker(settings):

        async def exists() -> bool:
            return old_runs["created"] in {item.id for item in (await service.backtests.list()).items}

        await until(exists)
        assert (await service.strategies.get("pending")).strategy.params == {"fast": 3, "slow": 6}
        assert (await service.backtests.get(old_runs["created"])).request.execution.initial_capital == 5000
