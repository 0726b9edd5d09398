"""Selected fields: paths are checked against the fields of a run, and picked from it."""

from __future__ import annotations

import pytest

import workers
from workers.runs.fields import parse, pick

RUN = {
    "id": "1",
    "stages": None,
    "request": {"strategy": {"params": {"fast": 5, "slow": 20}, "entry_long": "a"}, "execution": {"leverage": 2}},
    "metrics": {"sharpe": 1.5, "trades": 3, "calmar": None},
}


@pytest.mark.parametrize(
    ("paths", "picked"),
    [
        ("id", {"id": "1"}),
        ("metrics.sharpe,id,metrics.calmar", {"metrics": {"sharpe": 1.5, "calmar": None}, "id": "1"}),
        (
            "request.strategy.params.fast,request.execution",
            {"request": {"strategy": {"params": {"fast": 5}}, "execution": {"leverage": 2}}},
        ),
        ("request.strategy.params.other", {"request": {"strategy": {"params": {"other": None}}}}),
        ("request.strategy,request.strategy.params.fast", {"request": {"strategy": RUN["request"]["strategy"]}}),  # type: ignore[index]
        ("request.strategy.params.fast,request.strategy", {"request": {"strategy": RUN["request"]["strategy"]}}),  # type: ignore[index]
        ("stages.kernel_ms", {"stages": None}),
    ],
)
def test_only_the_selected_fields_are_picked(paths: str, picked: dict[str, object]) -> None:
    assert pick(RUN, parse(paths.split(","))) == picked


def test_the_metrics_are_those_of_lists_and_any_other_can_be_selected() -> None:
    headline: dict[str, object] = {name: {} for name in workers.HeadlineMetrics.__struct_fields__}
    assert parse(["metrics"]) == {"metrics": headline}
    assert parse(["metrics.ulcer_index", "metrics"]) == {"metrics": {"ulcer_index": {}} | headline}


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("nam", "did you mean 'name'"),
        ("metrics.sharp", "did you mean 'metrics.sharpe'"),
        ("request.strateg.params", "did you mean 'request.strategy'"),
        ("request.execution.levrage", "did you mean 'request.execution.leverage'"),
        ("stages.kernel", "did you mean 'stages.kernel_ms'"),
        ("id.x", "'id' has no fields"),
        ("metrics.sharpe.x", "'metrics.sharpe' has no fields"),
        ("", "use one of"),
        ("id,name", "did you mean"),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest_known(path: str, hint: str) -> None:
    with pytest.raises(workers.Invalid) as caught:
        parse(["id", path])
    assert (caught.value.code, caught.value.where) == ("unknown_field", "fields")
    assert hint in caught.value.hint


def test_the_number_of_fields_is_limited() -> None:
    with pytest.raises(workers.Invalid):
        parse(["id"] * 101)
    with pytest.raises(workers.Invalid):
        parse([])
