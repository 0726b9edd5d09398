"""Errors as problem details."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from unittest.mock import Mock

import msgspec
import pytest
import structlog
from litestar import Litestar, get
from litestar.di import NamedDependency, Provide
from litestar.params import QueryParameter
from litestar.testing import TestClient

import python_core as bt
import workers
from api.http.problems import EXCEPTION_HANDLERS, Problem
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
        (workers.NotInstalled("ccxt is not installed", where="exchange", hint="install it"), 501),
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
    ("query", "hints"),
    [
        ("format=xls", {"query.format": "use one of csv, arrow"}),
        ("state=x", {"query.state": "use one of queued, running, retrying, succeeded, failed, cancelled, dead"}),
        ("priority=urgent&run_at=-1", {"query.priority": "use one of high, normal, low", "query.run_at": ""}),
    ],
)
def test_an_error_in_a_parameter_has_its_location_and_the_permitted_values(query: str, hints: dict[str, str]) -> None:
    service = Provide(lambda: Mock(workers.Service), sync_to_thread=False)

    @get("/", dependencies={"service": service, "options": Provide(provide_run_options, sync_to_thread=False)})
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
