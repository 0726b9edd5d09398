"""The alerts use only metrics, labels and values that `/metrics` has, and fire when they should."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

ALERTS = Path(__file__).resolve().parents[2] / "deploy" / "prometheus" / "alerts.yaml"
CASES = Path(__file__).parent / "alerts.yaml"
RULES = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def selectors(expression: str) -> list[Any]:
    """The selectors of series in a PromQL expression."""
    found: list[Any] = []

    def visit(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found


def unknown(selector: Any, families: list[Metric]) -> Iterator[str]:
    """What a selector names and no sample has."""
    samples = [sample for family in families for sample in family.samples if sample.name == selector.name]
    if not samples:
        yield f"metric {selector.name}"
    for matcher in selector.matchers.matchers:
        if samples and not any(sample.labels.get(matcher.name) == matcher.value for sample in samples):
            yield f'{selector.name}{{{matcher.name}="{matcher.value}"}}'


@pytest.fixture(scope="session")
def families(exposition: str) -> list[Metric]:
    return list(text_string_to_metric_families(exposition))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_series_of_an_alert_exists(rule: dict[str, Any], families: list[Metric]) -> None:
    found = selectors(rule["expr"])
    assert found
    assert [text for selector in found for text in unknown(selector, families)] == []


def test_a_series_that_does_not_exist_is_found(families: list[Metric]) -> None:
    found = selectors(
        'rate(barstorm_nonsense_total[5m]) > 0 or on () max(barstorm_queue_jobs{state="nonsense"} offset 1h) > sum(barstorm_runs)'
    )
    assert [text for selector in found for text in unknown(selector, families)] == [
        "metric barstorm_nonsense_total",
        'barstorm_queue_jobs{state="nonsense"}',
    ]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_how_bad(rule: dict[str, Any]) -> None:
    assert rule["alert"].startswith("Barstorm")
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description"}


def test_every_alert_fires_when_it_should_and_only_then() -> None:
    if shutil.which("promtool") is None and "CI" not in os.environ:
        pytest.skip("no promtool: it is in Debian's package prometheus")
    done = subprocess.run(["promtool", "test", "rules", CASES], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    fired = CASES.read_text()
    assert [rule["alert"] for rule in RULES if f'alertname="{rule["alert"]}"' not in fired] == []
