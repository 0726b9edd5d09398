"""No owner reaches what another one has, through any operation, route or stream."""

from __future__ import annotations

import inspect
import io
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import httpx
import msgspec
import pytest
import sqlalchemy as sa

import python_core as bt
import workers
from api import create_app
from tests.support.files import csv
from tests.support.serving import Serve
from tests.support.workers import Finished
from workers import Caller, Scope
from workers.accounts import keys
from workers.db.tables import RunRow
from workers.model.callers import OPERATOR
from workers.model.clock import now_ms
from workers.model.states import RunState
from workers.process.worker import LeaseWorker
from workers.runs.dead_letters import DeadLetterSelection
from workers.service.operations import OPERATIONS, Operation
from workers.service.service import Service

ANNA = Caller(owner="anna", scope=Scope.WRITE)
BEN = Caller(owner="ben", scope=Scope.WRITE)
CROSS = bt.Strategy(entry_long="crossover(close, sma(close, 5))", exit_long="crossunder(close, sma(close, 5))")
BARS = bt.synthetic(500)
FETCH = workers.FetchRequest(exchange="bybit", symbol="BTC/USDT", timeframe="1h")
# Parameters that name an object. An operation that has one must not find what another owner has.
OBJECTS = {"ids", "run_id", "reference", "fetch_id", "schedule_id", "key_id", "dataset"}


class Belongings(dict[str, str]):
    """The ids of what an owner has, by kind."""


async def own(service: Service, caller: Caller) -> Belongings:
    """One object of each kind, of this owner."""
    mine = service.acting_as(caller)
    dataset = await mine.datasets.create("bars", io.BytesIO(csv(BARS)), workers.instrument(symbol="BTC/USDT"))
    strategy = await mine.strategies.create("cross", CROSS)
    request = workers.BacktestRequest(dataset="bars", strategy="cross")
    run = await mine.backtests.submit(request)
    dead = await mine.backtests.submit(msgspec.structs.replace(request, execution=bt.Execution(slippage=0.5)))
    fetch = await mine.fetches.create(FETCH, workers.RunOptions(run_at=now_ms() + 3_600_000))
    schedule = await mine.fetches.create_schedule(workers.ScheduleRequest(fetch=FETCH))
    key = await keys.create(service.resources.database, caller, workers.KeyRequest(name="mine"))
    async with service.resources.database.write() as session:
        await session.execute(sa.update(RunRow).where(RunRow.id == dead.id).values(state=RunState.DEAD))
    return Belongings(
        dataset=dataset.id, strategy=strategy.id, run=run.id, dead=dead.id, fetch=fetch.id, schedule=schedule.id, key=key.key.id
    )


def argument(operation: Operation, name: str, of: Belongings) -> Any:
    """A value for a required parameter of an operation that refers, if it can, to these belongings. A new kind of parameter needs a line here."""
    group = operation.name.partition(".")[0]
    values: dict[str, Any] = {
        "backtests.request": workers.BacktestRequest(dataset=of["dataset"], strategy=CROSS),
        "backtests.create_and_run.request": workers.CreateAndRunRequest(name="new", dataset=of["dataset"], strategy=CROSS),
        "backtests.selection": workers.RunSelection(ids=(of["run"], of["dead"])),
        "changes": workers.LabelChanges(name="mine"),
        "ids": (of["run"], of["dead"]),
        "backtests": (workers.BacktestRequest(dataset=of["dataset"], strategy=CROSS),),
        "datasets.reference": of["dataset"],
        "dataset": of["dataset"],
        "fetch_id": of["fetch"],
        "fetches.create_schedule.request": workers.ScheduleRequest(fetch=msgspec.structs.replace(FETCH, timeframe="5m")),
        "fetches.request": FETCH,
        "file": io.BytesIO(),
        "key_id": of["key"],
        "keys.request": workers.KeyRequest(name="another"),
        "name": "new",
        "queue.run_id": of["dead"],
        "run_id": of["run"],
        "schedule_id": of["schedule"],
        "selection": DeadLetterSelection(ids=(of["dead"],)),
        "source": io.BytesIO(csv(BARS)),
        "strategies.reference": of["strategy"],
        "strategy": CROSS,
    }
    return next(values[key] for key in (f"{operation.name}.{name}", f"{group}.{name}", name) if key in values)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_no_operation_finds_or_changes_what_another_owner_has(service: Service, worker: LeaseWorker, finished: Finished) -> None:
    of_anna = await own(service, ANNA)
    await own(service, BEN)
    before = await finished(of_anna["run"])
    for operation in OPERATIONS.values():
        group, _, method = operation.name.partition(".")
        call = getattr(getattr(service.acting_as(BEN), group), method)
        required = [name for name, each in inspect.signature(call).parameters.items() if each.default is each.empty]
        arguments = {name: argument(operation, name, of_anna) for name in required}
        try:
            answer = await call(**arguments)
        except workers.NotFound:
            continue
        except workers.Forbidden:
            assert operation.scope is Scope.ADMIN, operation.name
            continue
        assert operation.scope is not Scope.ADMIN, operation.name
        assert not OBJECTS & set(required), f"{operation.name} found an object of another owner"
        if isinstance(answer, workers.Batch):
            assert [each.error.code for each in answer.items if each.error] == ["not_found"]
            continue
        if isinstance(answer, AsyncGenerator):  # tests/integration/service/test_feed.py reads it
            await answer.aclose()
            continue
        text = msgspec.json.encode(answer).decode()
        assert not [kind for kind, id_ in of_anna.items() if id_ in text], operation.name
    anna = service.acting_as(ANNA)
    assert await anna.backtests.get(of_anna["run"]) == before
    assert (await anna.queue.get_dead_letter(of_anna["dead"])).owner == "anna"
    assert (await anna.strategies.get("cross")).id == of_anna["strategy"], "each owner has names of its own"
    assert (await anna.datasets.get("bars")).version == 1
    assert (await anna.fetches.get(of_anna["fetch"])).state == RunState.QUEUED
    assert (await anna.fetches.get_schedule(of_anna["schedule"])).owner == "anna"


async def test_a_run_uses_neither_datasets_nor_strategies_of_another_owner(service: Service) -> None:
    of_anna, of_ben = await own(service, ANNA), await own(service, BEN)
    ben = service.acting_as(BEN)
    for dataset, strategy in ((of_anna["dataset"], CROSS), (of_ben["dataset"], of_anna["strategy"])):
        with pytest.raises(workers.NotFound):
            await ben.backtests.submit(workers.BacktestRequest(dataset=dataset, strategy=strategy))
    by_market = await ben.backtests.submit(workers.BacktestRequest(symbol="BTC/USDT", timeframe="1h", strategy=CROSS))
    assert by_market.dataset_id == of_ben["dataset"], "only the own dataset of this market is found"


async def test_an_administrator_sees_all_and_creates_for_an_owner(service: Service) -> None:
    of_anna = await own(service, ANNA)
    admin = service.acting_as(Caller(owner="anna", scope=Scope.ADMIN, sees_all=True))
    assert (await service.backtests.get(of_anna["run"])).owner == "anna"
    assert (await admin.strategies.get("cross")).id == of_anna["strategy"]
    with pytest.raises(workers.NotFound):
        await service.strategies.get("cross")
    assert (await admin.strategies.create("more", CROSS)).owner == "anna"


async def test_a_market_means_a_dataset_of_the_owner_that_an_administrator_acts_as(service: Service) -> None:
    of_anna, of_ben = await own(service, ANNA), await own(service, BEN)
    by_market = workers.BacktestRequest(symbol="BTC/USDT", timeframe="1h", strategy=CROSS)
    for owner, dataset in (("anna", of_anna["dataset"]), ("ben", of_ben["dataset"])):
        run = await service.acting_as(msgspec.structs.replace(OPERATOR, owner=owner)).backtests.submit(by_market)
        assert (run.owner, run.dataset_id) == (owner, dataset)
    with pytest.raises(workers.NotFound):
        await service.backtests.submit(by_market)
    shared = await service.datasets.create("bars", io.BytesIO(csv(BARS)), workers.instrument(symbol="BTC/USDT"))
    assert (await service.acting_as(msgspec.structs.replace(OPERATOR, owner="cleo")).backtests.submit(by_market)).dataset_id == shared.id
    assert (await service.acting_as(msgspec.structs.replace(OPERATOR, owner="anna")).backtests.submit(by_market)).dataset_id == of_anna[
        "dataset"
    ]


async def test_an_administrator_runs_what_an_owner_has_only_as_that_owner(service: Service) -> None:
    of_anna = await own(service, ANNA)
    shared = await service.datasets.create("shared", io.BytesIO(csv(BARS)))
    for request, where in (
        (workers.BacktestRequest(dataset=of_anna["dataset"], strategy=CROSS), "dataset"),
        (workers.BacktestRequest(dataset=shared.id, strategy=of_anna["strategy"]), "strategy"),
    ):
        with pytest.raises(workers.Conflict) as refused:
            await service.backtests.submit(request)
        assert (refused.value.code, refused.value.where) == ("other_owner", where)
        assert "Barstorm-Owner: anna" in refused.value.hint
    create = workers.CreateAndRunRequest(name="new", dataset=of_anna["dataset"], strategy=CROSS)
    for refused_run in (service.backtests.rerun(of_anna["run"]), service.backtests.create_and_run(create)):
        with pytest.raises(workers.Conflict):
            await refused_run
    assert (await service.strategies.list(name_prefix="new")).items == ()
    run = await service.acting_as(msgspec.structs.replace(OPERATOR, owner="anna")).backtests.submit(
        workers.BacktestRequest(dataset=shared.id, strategy=of_anna["strategy"])
    )
    assert run.owner == "anna"


@pytest.fixture
def settings(settings: workers.Settings) -> workers.Settings:
    return msgspec.structs.replace(settings, require_keys=True)


@pytest.fixture
def served(settings: workers.Settings, serve: Serve) -> Iterator[str]:
    with serve(create_app(settings)) as url:
        yield url


async def test_every_route_needs_a_key_and_finds_nothing_of_another_owner(
    settings: workers.Settings, service: Service, served: str
) -> None:
    of_anna = await own(service, ANNA)
    secret = (await keys.create(service.resources.database, BEN, workers.KeyRequest(name="ben"))).secret
    admin = (await keys.create(service.resources.database, OPERATOR, workers.KeyRequest(name="root", scope=Scope.ADMIN))).secret
    async with httpx.AsyncClient(base_url=served, timeout=60) as anonymous:
        paths = (await anonymous.get("/schema/openapi.json")).raise_for_status().json()["paths"]
        for path, operations in paths.items():
            for method, operation in operations.items():
                address = path
                for parameter in operation.get("parameters", ()):
                    if parameter["in"] == "path":
                        kind = "dead" if "/dead/" in path else parameter["name"].removesuffix("_id")
                        address = address.replace(f"{{{parameter['name']}}}", of_anna[kind])
                route = f"{method.upper()} {path}"
                example = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("examples")
                body: dict[str, Any] = {"json": next(iter(example.values()))["value"]} if example else {}
                if "multipart/form-data" in operation.get("requestBody", {}).get("content", {}):
                    body = {"content": csv(BARS), "headers": {"content-type": "text/csv"}}
                assert (await anonymous.request(method, address, **body)).status_code == 401, route
                if address == path:
                    continue
                body.setdefault("headers", {})["authorization"] = f"Bearer {secret}"
                response = await anonymous.request(method, address, **body)
                assert response.status_code == (
                    403 if path.startswith("/api/v1/keys/") else 409 if "/dead/" in path and method == "post" else 404
                ), f"{route}: {response.text}"
                assert not [kind for kind, id_ in of_anna.items() if id_ in response.text.replace(address, "") and id_ not in address], (
                    route
                )
        found = await anonymous.get(f"/api/v1/backtests/{of_anna['run']}", headers={"authorization": f"Bearer {admin}"})
        assert found.json()["owner"] == "anna"
