"""Random expressions of the whole language: both engines agree to the bit, and nothing looks ahead.

The texts are generated from the compiler's own tables, so new functions are covered automatically.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

import python_core as bt
from python_core.data.timeframes import MILLISECONDS, fits
from python_core.engine import kernel
from python_core.engine.strategy_bars import StrategyBars
from python_core.indicators import INDICATORS
from python_core.language.compiler import Compiler
from python_core.language.normalize import canonical
from python_core.language.plan import CROSSINGS, STREAKS, PlanBuilder
from python_core.language.vocabulary import ELEMENTWISE, FUNCTIONS, PARAMETERS, SERIES
from python_core.strategy.compile import Plan
from tests.support.cases import CASES
from tests.support.marks import needs_rust

BLOCK = 8
EXPRESSIONS = min(CASES, 10_000)
FILES = "adabtc-5m ethbtc-5m eurusd-1h goog-1d ltcbtc-5m unittest-btc-1m xmrbtc-5m xrpusdt-perp-1h xrpusdt-perp-5m".split()


class Writer:
    """Writes random expressions that are valid on bars of `timeframe`."""

    def __init__(self, random: Random, timeframe: str) -> None:
        self.random = random
        self.frames = [timeframe]

    def number(self, depth: int) -> str:
        choose = self.random.choice
        if depth <= 0:
            return choose([*SERIES, "close", "close", str(choose([0, 1, 2, 0.5, -1, 1e-9, 100]))])
        kind = self.random.random()
        if kind < 0.2:
            return f"({self.number(depth - 1)} {choose('+-*/')} {self.number(depth - 1)})"
        if kind < 0.3:
            name = choose(ELEMENTWISE)
            count = choose([2, 3]) if name in ("min", "max") else 1
            return f"{name}({', '.join(self.number(depth - 1) for _ in range(count))})"
        if kind < 0.75:
            return self.call(choose([name for name in FUNCTIONS if name in INDICATORS]), depth)
        if kind < 0.82:
            return f"{self.number(depth - 1)}[{choose([0, 1, 2, 7])}]"
        if kind < 0.9:
            return f"({self.number(depth - 1)} if {self.condition(depth - 1)} else {self.number(depth - 1)})"
        return self.higher(depth, self.number)

    def condition(self, depth: int) -> str:
        choose = self.random.choice
        kind = self.random.random() if depth > 0 else 0.0
        if kind < 0.5:
            more = f" {choose(['<', '>='])} {self.number(depth - 1)}" if self.random.random() < 0.1 else ""
            return f"{self.number(depth - 1)} {choose(['<', '<=', '>', '>=', '==', '!='])} {self.number(depth - 1)}{more}"
        if kind < 0.65:
            return f"{choose(CROSSINGS)}({self.number(depth - 1)}, {self.number(depth - 1)})"
        if kind < 0.72:
            return f"{choose(STREAKS)}({self.number(depth - 1)}, {choose([1, 2, 4])})"
        if kind < 0.86:
            return f"({self.condition(depth - 1)} {choose(['and', 'or'])} {self.condition(depth - 1)})"
        if kind < 0.92:
            return f"(not {self.condition(depth - 1)})"
        return self.higher(depth, self.condition)

    def higher(self, depth: int, write: Any) -> str:
        around = MILLISECONDS[self.frames[-1]]
        self.frames.append(self.random.choice([name for name, length in MILLISECONDS.items() if fits(around, length)]))
        try:
            return f"at('{self.frames[-1]}', {write(depth - 1)})"
        finally:
            self.frames.pop()

    def call(self, name: str, depth: int, output: str | None = None) -> str:
        """A call of an indicator with arguments within their bounds, by position or by name; defaults are sometimes left out."""
        row = INDICATORS[name]
        inputs = [self.condition(depth - 1) for _ in row.conditions] + [self.number(depth - 1) for _ in row.series]
        numbers = []
        for argument in row.arguments:
            if argument.default is not None and self.random.random() < 0.3:
                break
            maximum = min(argument.maximum, argument.minimum + (12 if argument.integer else 3))
            value = (
                self.random.randint(int(argument.minimum), int(maximum))
                if argument.integer
                else self.random.uniform(argument.minimum, maximum)
            )
            numbers.append((argument.name, value))
        by_name = self.random.random() < 0.2
        written = [f"{key}={value!r}" if by_name else repr(value) for key, value in numbers]
        output = output or (self.random.choice(row.outputs) if row.outputs else None)
        return f"{name}({', '.join([*inputs, *written])})" + (f".{output}" if output else "")


def values(bars: bt.Bars, texts: Sequence[str], timeframe: str | None, engine: str, *, fill_at_close: bool = False) -> list[np.ndarray]:
    """The values of numbers, and of conditions as 1 and 0; NaN where unknown."""
    if len(texts) > 60:  # so that no plan is too large
        parts = (texts[:60], texts[60:])
        return [column for part in parts for column in values(bars, part, timeframe, engine, fill_at_close=fill_at_close)]
    builder = PlanBuilder(strategy_ms=MILLISECONDS[timeframe or bars.timeframe])
    compiler = Compiler(builder, {}, {}, max_length=100_000)
    wanted = tuple(compiler.expression(text, text) for text in texts)
    wanted = tuple(
        builder.add("select", (i, builder.add("const", (), (1.0,)), builder.add("const", (), (0.0,))))
        if builder.nodes[i].is_condition
        else i
        for i in wanted
    )
    plan = Plan(tuple(builder.nodes), (-1, -1, -1, -1))
    return kernel.node_values(bars, plan, wanted, timeframe, engine=engine, fill_at_close=fill_at_close)  # type: ignore[arg-type]


def assert_same(texts: Iterable[str], one: Iterable[np.ndarray], other: Iterable[np.ndarray], what: str) -> None:
    for text, a, b in zip(texts, one, other, strict=True):
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b), f"{what}: where {text} is known")
        known = ~np.isnan(a)
        np.testing.assert_array_equal(a[known].view(np.int64), b[known].view(np.int64), f"{what}: {text}")


@cache
def read(path: Path) -> bt.Bars:
    return bt.read_bars(path)


def random_bars(random: Random, files: Path) -> bt.Bars:
    """Part of a real market, with its ticks and gaps, or of a synthetic one with bars or hours left out."""
    if random.random() < 0.5:
        bars = read(files / f"{random.choice(FILES)}.parquet")
        start = random.randrange(max(1, len(bars) - 1_200))
        return bars[start : start + random.choice([40, 300, 1_200])]
    whole = bt.synthetic(
        random.choice([30, 400, 1_300]), seed=random.randrange(10**6), timeframe=random.choice(["1s", "45m", "1m", "5m", "1h", "1d", "1M"])
    )
    keep = np.array([random.random() > 0.03 for _ in range(len(whole))])
    if random.random() < 0.3:  # closed hours
        period = random.choice([5, 7, 24])
        keep &= np.arange(len(whole)) % period < random.randint(1, period)
    keep[:2] = True
    columns = (whole.time, whole.open, whole.high, whole.low, whole.close, whole.volume)
    return bt.Bars(*(column[keep] for column in columns), timeframe=whole.timeframe)


@needs_rust
@settings(max_examples=max(1, EXPRESSIONS // BLOCK))
@given(seed=st.integers(0, 2**32 - 1))
def test_expressions_give_the_same_bits_in_both_engines_and_never_look_ahead(seed: int, market_data: Path) -> None:
    random = Random(seed)
    bars = random_bars(random, market_data)
    coarser = [name for name, length in MILLISECONDS.items() if fits(bars.timeframe_ms, length)]
    timeframe = random.choice([None, None, None, *coarser[:4]])
    writer = Writer(random, timeframe or bars.timeframe)
    texts = [random.choice([writer.number, writer.condition])(random.choice([1, 2, 3])) for _ in range(BLOCK)]
    note(f"{bars} on {timeframe}: {texts}")
    fill_at_close = random.random() < 0.5
    rust = values(bars, texts, timeframe, "rust", fill_at_close=fill_at_close)
    assert_same(texts, rust, values(bars, texts, timeframe, "python", fill_at_close=fill_at_close), "engines")
    cut = random.randint(1, len(bars))
    assert_same_before(cut, bars, texts, rust, timeframe, fill_at_close=fill_at_close)
    for text in texts:
        normalized = canonical("e", text)
        assert canonical("e", normalized) == normalized
    normalized_values = values(bars, [canonical("e", text) for text in texts], timeframe, "rust", fill_at_close=fill_at_close)
    assert_same(texts, rust, normalized_values, "normalized")


def assert_same_before(
    cut: int, bars: bt.Bars, texts: Sequence[str], whole: list[np.ndarray], timeframe: str | None, *, fill_at_close: bool
) -> None:
    """Values without the bars from `cut` on are those of the whole, but for the row whose orders need a bar after the cut to fill."""
    early = values(bars[:cut], texts, timeframe, "rust", fill_at_close=fill_at_close)
    rows = len(early[0]) if fill_at_close else int((StrategyBars(bars[:cut], timeframe).fills_at < cut).sum())
    assert_same(texts, [column[:rows] for column in early], [column[:rows] for column in whole], f"cut at {cut}")


def every_call(timeframes: Iterable[str]) -> list[str]:
    """Each output of each function over plain series, on the bars' timeframe and on higher ones."""
    writer = Writer(Random(1), "1m")
    texts = [*SERIES, "close[3]", "crossover(close, open)", "crossunder(hl2, close[2])", "rising(close, 2)", "falling(volume, 1)"]
    texts += [f"{name}(close, open)" if PARAMETERS.get(name) is None else f"{name}(close - open)" for name in ELEMENTWISE]
    for name in FUNCTIONS:
        if name in INDICATORS:
            texts += [writer.call(name, 1, output) for output in INDICATORS[name].outputs or (None,)]
    return [*texts, *(f"at('{timeframe}', {text})" for timeframe in timeframes for text in texts)]


CUTS = [pytest.param(6, id="some cuts"), pytest.param(50, id="50 cuts", marks=pytest.mark.long)]


@needs_rust
@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize("file", FILES)
def test_cutting_real_data_changes_no_earlier_value_of_any_function_on_any_timeframe(file: str, cuts: int, market_data: Path) -> None:
    bars = read(market_data / f"{file}.parquet")
    coarser = [name for name, length in MILLISECONDS.items() if length > bars.timeframe_ms and fits(bars.timeframe_ms, length)]
    random = Random(f"{file} {cuts}")
    texts = every_call(coarser if cuts == 50 else random.sample(coarser, min(2, len(coarser))))
    whole = {fill_at_close: values(bars, texts, None, "rust", fill_at_close=fill_at_close) for fill_at_close in (False, True)}
    for i, cut in enumerate(random.sample(range(1, len(bars)), cuts)):
        assert_same_before(cut, bars, texts, whole[i % 2 == 1], None, fill_at_close=i % 2 == 1)


@needs_rust
@pytest.mark.parametrize("file", ["ethbtc-5m", "xrpusdt-perp-1h"])
def test_every_function_gives_the_same_bits_on_real_data(file: str, market_data: Path) -> None:
    bars = read(market_data / f"{file}.parquet")[:1_500]
    texts = every_call(["4h", "1d"])
    assert_same(texts, values(bars, texts, None, "rust"), values(bars, texts, None, "python"), file)
