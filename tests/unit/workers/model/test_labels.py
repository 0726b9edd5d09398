"""Labels and filters are checked when they are made."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from python_core.metrics import RUN_NAMES
from workers.model.labels import LabelChanges, RunLabels
from workers.model.run_filter import MetricCondition, RunFilter, parse_condition
from workers.model.runs import BacktestRequest


def test_tags_are_sorted_and_each_once() -> None:
    assert RunLabels(tags=("b", "a", "b")).tags == ("a", "b")
    assert msgspec.json.decode(b'{"tags": ["x/2", "x:1", "x/2"]}', type=LabelChanges).given() == {"tags": ("x/2", "x:1")}


@pytest.mark.parametrize("kind", [RunLabels, LabelChanges])
@pytest.mark.parametrize(
    ("labels", "field"),
    [
        ({"name": "x" * 121}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": " a"}, "name"),
        ({"tags": ["x" * 41]}, "tags"),
        ({"tags": ["a b"]}, "tags"),
        ({"tags": ["a,b"]}, "tags"),
        ({"tags": ["a\n"]}, "tags"),
        ({"tags": [""]}, "tags"),
        ({"tags": ["-a"]}, "tags"),
        ({"tags": [f"t{i}" for i in range(21)]}, "tags"),
        ({"notes": "x" * 10_001}, "notes"),
        ({"notes": "a\0b"}, "notes"),
    ],
)
def test_invalid_labels_are_refused(kind: type[msgspec.Struct], labels: dict[str, Any], field: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(msgspec.json.encode(labels), type=kind)
    assert field in str(caught.value)
    with pytest.raises(ValueError, match=f"^{field}: "):
        kind(**labels)


def test_a_request_has_a_part_that_determines_the_result_and_labels() -> None:
    body = b'{"dataset": "d", "strategy": "s", "name": "n", "tags": ["t"], "notes": "line\\nline"}'
    request = msgspec.json.decode(body, type=BacktestRequest)
    assert request.labels == RunLabels(name="n", tags=("t",), notes="line\nline")
    assert request.backtest == BacktestRequest(dataset="d", strategy="s").backtest


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("sharpe>=1", ("sharpe", ">=", 1.0)),
        ("sharpe<=-1.5e-3", ("sharpe", "<=", -0.0015)),
        ("trades = 0", ("trades", "=", 0.0)),
        ("max_drawdown<.2", ("max_drawdown", "<", 0.2)),
        ("calmar>2", ("calmar", ">", 2.0)),
    ],
)
def test_a_condition_is_a_metric_a_comparison_and_a_number(text: str, condition: tuple[str, str, float]) -> None:
    assert parse_condition(text) == MetricCondition(*condition)
    assert condition[0] in RUN_NAMES


@pytest.mark.parametrize(
    "text", ["sharpe", "sharpe>", ">1", "sharpe>>1", "sharpe==1", "sharpe>x", "sharpe>1,trades>2", "sharpe>nan", "sharpe>1\0"]
)
def test_other_texts_are_no_conditions(text: str) -> None:
    with pytest.raises(ValueError, match="is not a condition"):
        RunFilter(metrics=(text,))


def test_an_unknown_metric_is_named_with_the_nearest_known() -> None:
    with pytest.raises(ValueError, match="unknown metric 'sharp'; did you mean 'sharpe'"):
        RunFilter(metrics=("sharp>1",))


@pytest.mark.parametrize(
    "condition", [{"ids": ["a\0"]}, {"name": "a\0"}, {"owner": "\n"}, {"tags": ["a b"]}, {"symbol": ""}, {"state": "done"}, {"nam": "a"}]
)
def test_invalid_conditions_are_refused(condition: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(condition), type=RunFilter)


def test_a_filter_is_empty_only_without_conditions() -> None:
    assert RunFilter().is_empty
    for condition in ({"owner": ""}, {"created_since": 0}, {"tags": ("a",)}, {"ids": ("a",)}, {"metrics": ("trades=0",)}):
        assert not RunFilter(**condition).is_empty, condition  # type: ignore[arg-type]
