"""docs/strategies.md: its examples compile, and its table and limits are the compiler's."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

import python_core as bt
from python_core.data.timeframes import MILLISECONDS
from python_core.indicators import INDICATORS, MAX_LOOKBACK
from python_core.language import reference
from python_core.language.compiler import MAX_DEPTH, MAX_LENGTH, Compiler
from python_core.language.plan import MAX_NODES, MAX_SERIES, MAX_TOTAL_LOOKBACK, MAX_WARM_UP, PlanBuilder
from python_core.language.vocabulary import DESCRIPTIONS, FUNCTIONS, SERIES
from python_core.strategy.filters import MAX_FILTERS
from python_core.strategy.params import MAX_CONSTRAINTS
from python_core.strategy.strategy import MAX_NAMES, MAX_TEXT

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "strategies.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    found = re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found


def test_the_table_of_functions_is_the_compilers() -> None:
    assert reference.update_page(PAGE) == PAGE, "run: python -m python_core.language.reference docs/strategies.md"


def test_every_function_is_described() -> None:
    assert set(FUNCTIONS) == {*DESCRIPTIONS, *INDICATORS} - {"shift"}
    for name in FUNCTIONS:
        assert f"\n| `{name}(" in PAGE
        assert DESCRIPTIONS.get(name) or INDICATORS[name].description.strip()


def test_every_series_and_timeframe_is_named() -> None:
    words = set(re.findall(r"\w+", PAGE))
    assert words >= {*SERIES, *MILLISECONDS}


@pytest.mark.parametrize("text", blocks("json"))
def test_a_strategy_on_the_page_runs(text: str) -> None:
    strategy = msgspec.json.decode(text, type=bt.Strategy)
    assert len(bt.backtest(bt.synthetic(10_000, timeframe="15m"), strategy).trades) > 3


@pytest.mark.parametrize("text", [line for block in blocks("expressions") for line in block.splitlines()])
def test_an_expression_on_the_page_is_a_condition(text: str) -> None:
    Compiler(PlanBuilder(), {}, {}).condition("page", text)


def test_the_limits_on_the_page_hold() -> None:
    limits = PAGE[PAGE.index("## Limits") :]
    numbers = [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\d|\d", limits[: limits.index("Each limit")])]
    assert numbers == [
        *(MAX_LENGTH, MAX_DEPTH, MAX_TEXT, MAX_NAMES, MAX_NAMES, MAX_CONSTRAINTS, MAX_FILTERS),
        *(MAX_NODES, MAX_SERIES, MAX_LOOKBACK, MAX_TOTAL_LOOKBACK, MAX_WARM_UP),
    ]
