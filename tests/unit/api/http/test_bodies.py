"""Errors in JSON bodies as problem details."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

import workers
from api.http.bodies import decode_body
from api.http.problems import ProblemError


def problem_of(body: bytes, expected: Any = workers.BacktestRequest) -> ProblemError:
    with pytest.raises(ProblemError) as caught:
        decode_body(body, expected)
    return caught.value


@pytest.mark.parametrize(
    ("body", "path", "code"),
    [
        (b'{"dataset": "a"}', "$.strategy", "invalid_request"),
        (b'{"dataset": "a", "strategy": "b", "execution": {"leverage": "2"}}', "$.execution.leverage", "invalid_request"),
        (b'{"dataset": "a", "strategy": "b", "execution": {"leverage": 2000}}', "$.execution.leverage", "invalid_request"),
        (b'{"dataset": "a", "strategy": "b", "execution": {"leverag": 2}}', "$.execution.leverag", "invalid_request"),
        (b'{"dataset": "a", "strategy": "b", "execution": {"flat_outside": true}}', "$.execution.flat_outside", "invalid_execution"),
        (b'{"dataset": "a", "symbol": "b", "strategy": "c"}', "$.symbol", "invalid_request"),
        (b'{"symbol": "b", "timeframe": "7x", "strategy": "c"}', "$.timeframe", "invalid_request"),
        (b'{"dataset": "a", "strategy": {"entry_long": "smaa(close, 5) > 1"}}', "$.strategy.entry_long", "unknown_function"),
        (b'{"dataset": "a", "strategy": {"entry_long": "close > 1", "params": {"fast": []}}}', "$.strategy.params[...]", "invalid_request"),
    ],
)
def test_an_error_in_a_body_has_its_path(body: bytes, path: str, code: str) -> None:
    problem = problem_of(body)
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
        ({"strategy": {"htf_filters": {"long": [{"timeframe": "1d", "condition": "close > 1", "cond": 1}]}}}, "did you mean 'condition'?"),
        ({"execution": {"leverage": "2"}}, ""),
    ],
)
def test_an_unknown_name_in_a_body_has_a_hint(fields: dict[str, Any], hint: str) -> None:
    problem = problem_of(msgspec.json.encode({"dataset": "a", "strategy": "b"} | fields))
    assert hint in [item.hint for item in problem.errors]
    assert hint in problem.detail


def test_all_unknown_and_missing_fields_are_named_at_once() -> None:
    body = {
        "name": "n",
        "symbl": "BTCUSDT",
        "strategy": {
            "entry_log": "close > 1",
            "params": {"n": {"type": "int", "defaults": 5}},
            "htf_filters": {"long": [{"timeframe": "1d", "condition": "close > 1"}, {"tf": "1d"}]},
        },
        "execution": {"levrage": 2, "leverage": 2},
    }
    problem = problem_of(msgspec.json.encode(body), workers.CreateAndRunRequest)
    assert {(item.path, item.code): item.hint for item in problem.errors} == {
        ("$.symbl", "unknown_field"): "did you mean 'symbol'?",
        ("$.strategy.entry_log", "unknown_field"): "did you mean 'entry_long'?",
        ("$.strategy.params.n.defaults", "unknown_field"): "did you mean 'default'?",
        ("$.strategy.params.n.default", "missing_field"): "",
        ("$.strategy.htf_filters.long[1].tf", "unknown_field"): "use one of timeframe, condition",
        ("$.strategy.htf_filters.long[1].timeframe", "missing_field"): "",
        ("$.strategy.htf_filters.long[1].condition", "missing_field"): "",
        ("$.execution.levrage", "unknown_field"): "did you mean 'leverage'?",
    }
    assert problem.status == 400
    for item in problem.errors:
        assert f"{item.path}: {item.message}" in problem.detail


@pytest.mark.parametrize(
    ("wrong", "first", "code"),
    [
        ({"execution": {"leverage": "2"}}, "$.execution.leverage", "invalid_request"),
        ({"execution": {"flat_outside": True}}, "$.execution.flat_outside", "invalid_execution"),
        ({"strategy": {"entry_long": "close > smaa(close, 2)"}}, "$.strategy.entry_long", "unknown_function"),
    ],
)
def test_a_wrong_value_is_named_before_the_unknown_fields(wrong: dict[str, Any], first: str, code: str) -> None:
    problem = problem_of(msgspec.json.encode({"dataset": "a", **wrong, "strateggy": "b"}))
    missing = [] if "strategy" in wrong else ["$.strategy"]
    assert [item.path for item in problem.errors] == [first, "$.strateggy", *missing]
    assert problem.code == code
    assert "$.strateggy: unknown field; did you mean 'strategy'?" in problem.detail


class Cat(msgspec.Struct, tag="cat", tag_field="kind", forbid_unknown_fields=True):
    lives: int


class Dog(msgspec.Struct, tag="dog", tag_field="kind", forbid_unknown_fields=True):
    tricks: int


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        (b'{"kind": "cat", "tricks": 1}', ["$.tricks", "$.lives"]),
        (b'{"kind": "cow", "tricks": 1}', ["$.kind"]),
        (b'{"tricks": 1}', ["$"]),
    ],
)
def test_of_a_union_only_the_struct_that_is_meant_is_compared(body: bytes, paths: list[str]) -> None:
    assert [item.path for item in problem_of(body, Cat | Dog).errors] == paths


def test_what_a_hostile_body_is_answered_is_bounded() -> None:
    names = {f"{i}{'x' * 100}": 1 for i in range(5_000)}
    problem = problem_of(msgspec.json.encode(names))
    assert len(problem.errors) == 100
    assert all(len(item.path) <= 62 for item in problem.errors)


@pytest.mark.parametrize(
    "body", [b"{", b"", b"\xff", b'"\xff"', b"nul", b"NaN", b'{"other": 1, "dataset": ', b'{"other": ' + b"[" * 10_000]
)
def test_a_body_that_is_not_json_is_refused(body: bytes) -> None:
    problem = problem_of(body)
    assert (problem.status, problem.code) == (400, "invalid_json")
