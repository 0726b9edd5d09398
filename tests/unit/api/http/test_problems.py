"""Errors as problem details."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest
import structlog
from litestar import Litestar, get
from litestar.di import NamedDependency, Provide
from litestar.params import QueryParameter
from litestar.testing import TestClient

import python_core as bt
import workers
from api.http.problems import EXCEPTION_HANDLERS, Problem, invalid_body
from api.http.requests import ApiRequest
from api.http.run_options import provide_run_options


def problem_of(error: Exception) -> tuple[Problem, str]:
    """The problem that a handler's error becomes, and the response's text."""

    @get("/failing")
    async def failing() -> None:
        raise error

    app = Litestar([failing], exception_handlers=EXCEPTION_HANDLERS, request_class=ApiRequest, logging_config=None)
    with TestClient(app, raise_server_exceptions=False) as client:
        response = client.get("/failing")
    assert response.headers["content-type"] == "application/problem+json"
    problem = msgspec.json.decode(response.content, type=Problem)
    assert problem.status == response.status_code
    return problem, response.text


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (workers.NotFound("there is no run 'x'", where="run", hint="list them"), 404),
        (workers.Conflict("there is another", where="name", code="name_taken"), 409),
        (workers.Invalid("no", where="symbol"), 400),
        (workers.Unavailable("the database does not respond"), 503),
        (bt.StrategyError("unknown name 'smaa'", where="entry_long, column 1", hint="sma?"), 400),
    ],
)
def test_known_errors_keep_code_location_and_hint(error: Any, status: int) -> None:
    problem, _ = problem_of(error)
    assert (problem.status, problem.code, problem.type) == (status, error.code, f"urn:barstorm:problem:{error.code}")
    assert problem.detail == str(error)
    assert problem.instance == "/failing"
    assert [(item.path, item.message, item.hint) for item in problem.errors] == (
        [(error.where, error.message, error.hint)] if error.where else []
    )


@pytest.mark.parametrize("error", [RuntimeError("secret"), KeyError("secret"), RecursionError("secret"), ValueError("secret")])
def test_an_unexpected_error_gives_only_its_id_in_the_log(error: Exception) -> None:
    with structlog.testing.capture_logs() as log:
        problem, text = problem_of(error)
    assert (problem.status, problem.code) == (500, "internal")
    assert "secret" not in text
    assert type(error).__name__ not in text
    assert problem.instance.startswith("urn:uuid:")
    assert [(entry["instance"], entry["exc_info"]) for entry in log] == [(problem.instance, error)]


def test_a_long_message_is_shortened() -> None:
    problem, _ = problem_of(workers.Invalid("x" * 100_000))
    assert len(problem.detail) == 1_000


@pytest.mark.parametrize(
    ("body", "path", "code"),
    [
        (b'{"dataset": "a"}', "$", "invalid_request"),
        (b'{"dataset": "a", "strategy": "b", "execution": {"leverage": "2"}}', "$.execution.leverage", "invalid_request"),
        (b'{"dataset": "a", "strategy": "b", "execution": {"leverage": 2000}}', "$.execution.leverage", "invalid_request"),
        (b'{"dataset": "a", "strategy": "b", "execution": {"leverag": 2}}', "$.execution", "invalid_request"),
        (b'{"dataset": "a", "strategy": "b", "execution": {"flat_outside": true}}', "$.execution.flat_outside", "invalid_execution"),
        (b'{"dataset": "a", "symbol": "b", "strategy": "c"}', "$.symbol", "invalid_request"),
        (b'{"symbol": "b", "timeframe": "7x", "strategy": "c"}', "$.timeframe", "invalid_request"),
        (b'{"dataset": "a", "strategy": {"entry_long": "smaa(close, 5) > 1"}}', "$.strategy.entry_long", "unknown_function"),
        (b'{"dataset": "a", "strategy": {"entry_long": "close > 1", "params": {"fast": []}}}', "$.strategy.params[...]", "invalid_request"),
    ],
)
def test_an_error_in_a_body_has_its_path(body: bytes, path: str, code: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(body, type=workers.BacktestRequest)
    problem = invalid_body(caught.value)
    assert (problem.status, problem.code) == (400, code)
    assert [item.path for item in problem.errors] == [path]


@pytest.mark.parametrize(
    ("fields", "hint"),
    [
        ({"execution": {"capital": 1}}, "did you mean 'initial_capital'?"),
        ({"execution": {"calendar": "nyse"}}, "use one of crypto, exchange, fx"),
        ({"warm_up_from": "Auto"}, "use one of auto, start"),
        ({"symbl": "BTCUSDT"}, "did you mean 'symbol'?"),
        ({"kind": "perp"}, "use one of spot, linear, inverse, fx, equity"),
        ({"strategy": {"entry_log": "close > 1"}}, "did you mean 'entry_long'?"),
        ({"strategy": {"entry_long": "close > n", "params": {"n": {"type": "integer"}}}}, "use one of int, float, bool, choice"),
        ({"strategy": {"htf_filters": {"long": [{"timeframe": "1d", "conditions": "close > 1"}]}}}, "did you mean 'condition'?"),
        ({"execution": {"leverage": "2"}}, ""),
    ],
)
def test_an_unknown_name_in_a_body_has_a_hint(fields: dict[str, Any], hint: str) -> None:
    body = msgspec.json.encode({"dataset": "a", "strategy": "b"} | fields)
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(body, type=workers.BacktestRequest)
    problem = invalid_body(caught.value, workers.BacktestRequest)
    assert [item.hint for item in problem.errors] == [hint]
    assert problem.detail.endswith(hint)


@pytest.mark.parametrize("body", [b"{", b"", b"\xff", b'"\xff"', b"nul", b"NaN"])
def test_a_body_that_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)) as caught:
        msgspec.json.decode(body)
    problem = invalid_body(caught.value)
    assert (problem.status, problem.code) == (400, "invalid_json")


@pytest.mark.parametrize(
    ("query", "hints"),
    [
        ("format=xls", {"query.format": "use one of csv, arrow"}),
        ("state=x", {"query.state": "use one of queued, running, retrying, succeeded, failed, cancelled, dead"}),
        ("priority=urgent&run_at=-1", {"query.priority": "use one of high, normal, low", "query.run_at": ""}),
    ],
)
def test_an_error_in_a_parameter_has_its_location_and_the_permitted_values(query: str, hints: dict[str, str]) -> None:
    @get("/", dependencies={"options": Provide(provide_run_options, sync_to_thread=False)})
    async def handler(
        options: NamedDependency[workers.RunOptions],
        file_format: Annotated[Literal["csv", "arrow"], QueryParameter(name="format")] = "csv",
        state_filter: Annotated[workers.RunState | None, QueryParameter(name="state")] = None,
    ) -> None:
        pass

    with TestClient(Litestar([handler], exception_handlers=EXCEPTION_HANDLERS, request_class=ApiRequest, logging_config=None)) as client:
        response = client.get(f"/?{query}")
    assert response.status_code == 400
    assert {error["path"]: error.get("hint", "") for error in response.json()["errors"]} == hints


def test_a_missing_parameter_has_its_location() -> None:
    @get("/")
    async def handler(file_format: Annotated[str, QueryParameter(name="format")]) -> None:
        pass

    with TestClient(Litestar([handler], exception_handlers=EXCEPTION_HANDLERS, request_class=ApiRequest, logging_config=None)) as client:
        response = client.get("/")
    assert response.status_code == 400
    assert response.json()["errors"] == [{"path": "query.format", "message": "the parameter is missing"}]
