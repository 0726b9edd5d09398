"""Lists of runs: filtered, sorted and cut to fields by the database as by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

import python_core as bt
import workers
from tests.support.workers import Finished
from workers.db.database import Database
from workers.model.states import RunState
from workers.process.worker import LeaseWorker
from workers.runs import acceptance

pytestmark = pytest.mark.anyio

COUNT = 12


@pytest.fixture
async def runs(service: workers.Service, worker: LeaseWorker, cross: bt.Strategy, finished: Finished) -> dict[str, workers.Run]:
    """Runs of two owners on two datasets: most have succeeded, one without trades, and one was cancelled."""
    data = service.resources.data
    await data.create("btc", bt.synthetic(1500, seed=1), workers.instrument(symbol="BTC/USDT"))
    await data.create("eth", bt.synthetic(1500, seed=2), workers.instrument(symbol="ETH/USDT"))
    stored = await service.strategies.create("stored", cross.with_params(fast=7))
    anna = service.acting_as(workers.Caller(owner="anna", scope=workers.Scope.ADMIN, sees_all=True))
    made: list[workers.Run] = []
    for i in range(COUNT):
        request = workers.BacktestRequest(
            dataset=("btc", "eth")[i % 2],
            strategy=stored.id if i == 5 else bt.Strategy(entry_long="close < 0") if i == 7 else cross.with_params(fast=3 + i),
            name=f"Run {i}" if i % 3 == 0 else "",
            tags=tuple(tag for tag, every in (("two", 2), ("three", 3)) if i % every == 0),
        )
        who = anna if i in (2, 3) else service
        run = await who.backtests.submit(request)
        made.append(await finished(run.id))
    late = workers.RunOptions(run_at=made[-1].created_at + 86_400_000)
    waiting = await service.backtests.submit(workers.BacktestRequest(dataset="btc", strategy=cross, name="100% (odd)_name"), late)
    made.append(await service.backtests.cancel(waiting.id))
    return {run.id: run for run in made}


async def listed(service: workers.Service, chosen: workers.RunFilter, **options: Any) -> list[str]:
    page = await service.backtests.list(chosen, limit=1000, **options)
    assert page.next_cursor is None
    return [run.id for run in page.items] if isinstance(page, workers.RunPage) else []


def metric(run: workers.Run, name: str) -> Any:
    return getattr(run.result.metrics, name) if run.result else None


async def test_each_filter_selects_what_it_says(service: workers.Service, runs: dict[str, workers.Run]) -> None:
    newest = sorted(runs.values(), key=lambda run: run.id, reverse=True)
    btc, eth = [(await service.datasets.get(name)).id for name in ("btc", "eth")]
    stored = (await service.strategies.get("stored")).id
    middle = newest[6].created_at
    sharpes = sorted(metric(run, "sharpe") for run in newest if metric(run, "sharpe") is not None)
    threshold = sharpes[len(sharpes) // 2]
    cases: list[tuple[dict[str, Any], Callable[[workers.Run], object]]] = [
        ({}, lambda run: True),
        ({"owner": "anna"}, lambda run: run.owner == "anna"),
        ({"owner": ""}, lambda run: run.owner == ""),
        ({"owner": "nobody"}, lambda run: False),
        ({"dataset": "btc"}, lambda run: run.dataset_id == btc),
        ({"dataset": f"{eth}@1"}, lambda run: run.dataset_id == eth),
        ({"symbol": "btcusdt"}, lambda run: run.dataset_id == btc),
        ({"symbol": "DOGE"}, lambda run: False),
        ({"strategy": "stored"}, lambda run: run.strategy_id == stored),
        ({"strategy": stored}, lambda run: run.strategy_id == stored),
        ({"state": RunState.CANCELLED}, lambda run: run.state == RunState.CANCELLED),
        ({"tags": ("two",)}, lambda run: "two" in run.tags),
        ({"tags": ("two", "three")}, lambda run: {"two", "three"} <= set(run.tags)),
        ({"tags": ("none",)}, lambda run: False),
        ({"name": "Run 3"}, lambda run: run.name == "Run 3"),
        ({"name": "run 3"}, lambda run: False),
        ({"name_contains": "RUN"}, lambda run: "Run" in run.name),
        ({"name_contains": "0% ("}, lambda run: "%" in run.name),
        ({"name_contains": "_"}, lambda run: "_" in run.name),
        ({"created_since": middle}, lambda run: run.created_at >= middle),
        ({"created_before": middle}, lambda run: run.created_at < middle),
        ({"created_since": middle, "created_before": middle}, lambda run: False),
        ({"ids": (newest[0].id, newest[3].id, "none")}, lambda run: run.id in (newest[0].id, newest[3].id)),
        ({"metrics": (f"sharpe>={threshold!r}",)}, lambda run: metric(run, "sharpe") is not None and metric(run, "sharpe") >= threshold),
        ({"metrics": (f"sharpe<{threshold!r}",)}, lambda run: metric(run, "sharpe") is not None and metric(run, "sharpe") < threshold),
        ({"metrics": ("trades=0",)}, lambda run: metric(run, "trades") == 0),
        ({"metrics": ("trades>0.5", "trades<=1e3")}, lambda run: 0 < (metric(run, "trades") or 0) <= 1000),
        (
            {"tags": ("two",), "dataset": "btc", "metrics": ("trades>=1",)},
            lambda run: "two" in run.tags and (metric(run, "trades") or 0) >= 1,
        ),
    ]
    for conditions, meets in cases:
        expected = [run.id for run in newest if meets(run)]
        assert await listed(service, workers.RunFilter(**conditions)) == expected, conditions


async def test_runs_are_sorted_by_any_metric_with_those_without_a_value_last(
    service: workers.Service, runs: dict[str, workers.Run]
) -> None:
    for name in ("sharpe", "trades", "win_rate", "calmar", "fees_paid"):
        for descending in (True, False):
            by_id = sorted(runs.values(), key=lambda run: run.id, reverse=descending)
            with_value = [run for run in by_id if metric(run, name) is not None]
            expected = sorted(with_value, key=lambda run: metric(run, name), reverse=descending)
            expected += [run for run in by_id if metric(run, name) is None]
            sort = f"{'-' * descending}metrics.{name}"
            assert await listed(service, workers.RunFilter(), sort=sort) == [run.id for run in expected], sort
    assert await listed(service, workers.RunFilter(), sort="created_at") == sorted(runs)


async def test_pages_of_a_sorted_and_filtered_list_have_each_run_once(service: workers.Service, runs: dict[str, workers.Run]) -> None:
    options: dict[str, Any] = {"filter": workers.RunFilter(tags=("two",)), "sort": "metrics.win_rate"}
    whole = await service.backtests.list(**options, limit=1000)
    found, cursor = [], None
    while True:
        page = await service.backtests.list(**options, limit=2, cursor=cursor)
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    assert tuple(found) == whole.items
    first = await service.backtests.list(**options, limit=2)
    for other in ({"sort": "-metrics.win_rate"}, {"filter": workers.RunFilter()}, {"filter": workers.RunFilter(tags=("three",))}):
        with pytest.raises(workers.Invalid, match="another order or other filters"):
            await service.backtests.list(**options | other, limit=2, cursor=first.next_cursor)


async def test_items_have_headline_metrics_or_the_selected_fields(service: workers.Service, runs: dict[str, workers.Run]) -> None:
    page = await service.backtests.list()
    for item in page.items:
        assert isinstance(item, workers.RunSummary)
        run = runs[item.id]
        names = workers.HeadlineMetrics.__struct_fields__
        expected = None if run.result is None else {name: metric(run, name) for name in names}
        assert (item.metrics and msgspec.structs.asdict(item.metrics)) == expected
        assert {name: getattr(item, name) for name in item.__struct_fields__ if name != "metrics"} == {
            name: getattr(run, name) for name in run.__struct_fields__ if name != "result"
        }
    selected = await service.backtests.list(fields=("id", "tags", "metrics.ulcer_index", "request.strategy.params.fast", "stages.load_ms"))
    assert isinstance(selected, workers.SelectedRunPage)
    whole = {run.id: json.loads(msgspec.json.encode(run)) for run in runs.values()}
    assert [json.loads(msgspec.json.encode(item)) for item in selected.items] == [
        {
            "id": run["id"],
            "tags": run["tags"],
            "metrics": run["result"] and {"ulcer_index": run["result"]["metrics"]["ulcer_index"]},
            "request": {"strategy": {"params": {"fast": run["request"]["strategy"]["params"].get("fast")}}},
            "stages": run["stages"] and {"load_ms": run["stages"]["load_ms"]},
        }
        for run in (whole[item.id] for item in page.items)
    ]


async def test_a_caller_lists_and_names_only_what_it_sees(service: workers.Service, runs: dict[str, workers.Run]) -> None:
    anna = service.acting_as(workers.Caller(owner="anna", scope=workers.Scope.READ))
    own = [run.id for run in runs.values() if run.owner == "anna"]
    assert await listed(anna, workers.RunFilter(), sort="created_at") == own
    assert await listed(anna, workers.RunFilter(owner="")) == []
    assert await listed(anna, workers.RunFilter(ids=tuple(runs)), sort="created_at") == own
    assert await listed(anna, workers.RunFilter(symbol="btcusdt")) == [], "the dataset is another's"
    for unseen in ({"dataset": "btc"}, {"strategy": "stored"}):
        with pytest.raises(workers.NotFound):
            await anna.backtests.list(workers.RunFilter(**unseen))  # type: ignore[arg-type]


async def test_runs_of_a_deleted_strategy_are_found_by_its_id(service: workers.Service, runs: dict[str, workers.Run]) -> None:
    (run,) = [run for run in runs.values() if run.strategy_id]
    await service.strategies.delete("stored")
    assert await listed(service, workers.RunFilter(strategy=run.strategy_id)) == [run.id]
    with pytest.raises(workers.NotFound):
        await service.backtests.list(workers.RunFilter(strategy="stored"))


async def test_a_run_that_has_not_succeeded_has_no_metrics_of_an_equal_one(
    service: workers.Service, worker: LeaseWorker, request_: workers.BacktestRequest, finished: Finished
) -> None:
    done = await finished((await service.backtests.submit(request_)).id)
    late = workers.RunOptions(run_at=done.created_at + 86_400_000)
    # With the other engine, so that it isn't given the result at once.
    other = "python" if bt.engine == "rust" else "rust"
    waiting = await service.backtests.submit(msgspec.structs.replace(request_, engine=other), late)
    assert (waiting.state, waiting.fingerprint) == (RunState.QUEUED, done.fingerprint)
    page = await service.backtests.list(sort="-metrics.trades")
    assert [(run.id, run.metrics is None) for run in page.items] == [(done.id, False), (waiting.id, True)]
    assert await listed(service, workers.RunFilter(metrics=("trades>=0",))) == [done.id]


@pytest.mark.parametrize("sort", ["", "-", "metrics", "metrics.sharp", "--created_at", "name", "created_at\0"])
async def test_an_unknown_order_is_refused(service: workers.Service, sort: str) -> None:
    with pytest.raises(workers.Invalid, match="can't sort"):
        await service.backtests.list(sort=sort)


@contextmanager
def recorded(words: str = "sort_id") -> Iterator[list[tuple[str, Any]]]:
    """The statements of the block with these words, by default those that find ids of runs, with their parameters."""
    statements: list[tuple[str, Any]] = []

    def record(_: Any, __: Any, statement: str, parameters: Any, *rest: Any) -> None:
        if words in statement:
            statements.append((statement, parameters))

    sa.event.listen(sa.Engine, "before_cursor_execute", record)
    try:
        yield statements
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", record)


async def plan(database: Database, statement: str, parameters: Any) -> str:
    async with database.engine.connect() as connection:
        if database.kind == "sqlite":
            return "\n".join(row[-1] for row in await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters))
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.execute("SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off")  # the tables are small
        return "\n".join(row[0] for row in await driver.fetch(f"EXPLAIN (COSTS OFF) {statement}", *parameters))


@pytest.mark.parametrize("owner", ["", "anna"])
async def test_the_list_of_fetches_reads_no_backtests(service: workers.Service, owner: str) -> None:
    caller = service.acting_as(workers.Caller(owner=owner, sees_all=not owner))
    with recorded("runs.kind") as statements:
        await caller.fetches.list()
    ((statement, parameters),) = statements
    found = await plan(service.resources.database, statement, parameters)
    assert ("runs_that_fetch_by_owner" if owner else "runs_that_fetch") in found, found
    for word in ("Seq Scan", "Sort", "TEMP B-TREE"):
        assert word not in found, found


async def test_finished_runs_of_a_result_are_found_by_its_index(service: workers.Service) -> None:
    texts = ("fingerprint", "owner", "name", "request", "strategy_id", "tags", "notes")
    values = {f"its_{name}": "x" for name in texts} | {"its_strategy_version": 1}
    database = service.resources.database
    with recorded("anon_1.id") as statements:
        await database.query(lambda connection: connection.scalar(acceptance._FIND_FINISHED, values))
    ((statement, parameters),) = statements
    found = await plan(database, statement, parameters)
    assert "runs_by_result" in found, found
    for word in ("Seq Scan", "Sort", "TEMP B-TREE"):
        assert word not in found, found


async def test_the_common_lists_read_an_index_in_order(service: workers.Service, dataset: workers.Dataset, cross: bt.Strategy) -> None:
    stored = await service.strategies.create("stored", cross)
    database = service.resources.database
    indexes = {
        "": workers.RunFilter(),
        "runs_by_owner": workers.RunFilter(owner="anna"),
        "runs_by_dataset": workers.RunFilter(dataset=dataset.id),
        "runs_by_strategy": workers.RunFilter(strategy=stored.id),
        "runs_by_state": workers.RunFilter(state=RunState.FAILED),
        "runs_by_name": workers.RunFilter(name="x"),
        "run_tags": workers.RunFilter(tags=("a",)),
    }
    for index, chosen in indexes.items():
        with recorded() as statements:
            await service.backtests.list(chosen, limit=20)
        ((statement, parameters),) = statements
        found = await plan(database, statement, parameters)
        assert index in found, found
        for word in ("Seq Scan", "Sort", "SCAN runs\n", "TEMP B-TREE"):
            assert word not in found, found
