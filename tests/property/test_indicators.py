"""Properties of every indicator in the table, over random series; new indicators are covered automatically."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

import python_core as bt
from python_core.data.timeframes import MILLISECONDS
from python_core.engine import kernel
from python_core.engine.compiled import Engine, compiled_module
from python_core.indicators import FUNCTIONS, INDICATORS, Argument, Indicator
from python_core.language.compiler import Compiler, PlanBuilder
from python_core.strategy.compile import Plan
from tests.support.cases import CASES
from tests.support.marks import needs_rust

PER_ROW = max(5, CASES // 25)
thorough = settings(max_examples=PER_ROW, suppress_health_check=list(HealthCheck))
functions = pytest.mark.parametrize("name", FUNCTIONS)

# Series without unknown values, and series with gaps, infinities, constants and extremes; most have many ties.
COMPLETE = [
    "close",
    "open",
    "hl2",
    "hlc3",
    "ohlc4",
    "volume",
    "close - 50",
    "close * 1e300",
    "close * 1e-320",
    "volume * 1e306",
    "1",
    "close * volume * 1e-9",
]
BROKEN = [
    "(close - open) / (close - open)",
    "1 / (close - open)",
    "close[1] / (volume - 1)",
    "sma(close, 7)",
    "close[40]",
    "0 / (close - close)",
]
CONDITIONS = ["close > open", "close > close[1]", "volume > 3", "close > 1e9", "close == close", "close / (close - open) > 0"]


def random_bars(seed: int, n: int, style: str, base: str) -> bt.Bars:
    """Bars of whole ticks, of plain floats, or flat; with gaps in time for some seeds."""
    rng = np.random.default_rng(seed)
    close = {"ticks": 50.0, "flat": 5.0}.get(style, 7_000.0) * np.exp(np.cumsum(rng.standard_normal(n) * 0.01))
    if style == "jumps":
        close = close * np.where(rng.random(n) < 0.05, rng.uniform(1e-9, 1e9, n), 1.0)
    open_ = np.where(rng.random(n) < 0.3, close, np.concatenate((close[:1], close[:-1])))
    high, low = np.maximum(open_, close) * (1 + rng.random(n) * 0.01), np.minimum(open_, close) * (1 - rng.random(n) * 0.01)
    if style in ("ticks", "flat"):
        open_, high, low, close = (np.maximum(np.round(column), 1.0) for column in (open_, high, low, close))
    volume = rng.integers(0, 5, n).astype(float) * (rng.random(n) if seed % 2 else 1.0)
    length = MILLISECONDS[base]
    steps = np.where(rng.random(n) < 0.02 * (seed % 3), rng.integers(2, 50, n), 1)
    return bt.Bars((20_000_000 // (length // 60_000) + np.cumsum(steps)) * length, open_, high, low, close, volume, timeframe=base)


bars = st.builds(
    random_bars,
    st.integers(0, 2**32 - 1),
    st.one_of(st.integers(1, 60), st.sampled_from([1023, 1024, 1025, 2300])),
    st.sampled_from(["ticks", "flat", "plain", "jumps"]),
    st.sampled_from(["1m", "1h", "1d"]),
)


def arguments(row: Argument) -> st.SearchStrategy[float]:
    if not row.integer:
        return st.one_of(st.floats(row.minimum, min(row.maximum, row.minimum + 5)), st.sampled_from([row.minimum, row.maximum]))
    values = [value for value in (1, 2, 3, 5, 14, 40, 200, 1100, int(row.maximum)) if row.minimum <= value <= row.maximum]
    return st.one_of(st.sampled_from(values), st.integers(int(row.minimum), min(int(row.maximum), 30)))


@st.composite
def calls(draw: st.DrawFn, indicator: Indicator, name: str, series: list[str], conditions: list[str] = CONDITIONS) -> str:
    """A call of a function, with one of its outputs if it has several."""
    given: list[Any] = [draw(st.sampled_from(conditions)) for _ in indicator.conditions]
    given += [draw(st.sampled_from(series)) for _ in indicator.series]
    given += [draw(arguments(row)) for row in indicator.arguments]
    output = draw(st.sampled_from(indicator.outputs)) if indicator.outputs else ""
    return f"{name}({', '.join(map(str, given))})" + (f".{output}" if output else "")


def compiled(*texts: str) -> tuple[Plan, tuple[int, ...], tuple[int, ...]]:
    """A plan, and each text's position and warm-up."""
    compiler = Compiler(PlanBuilder(), {}, {})
    wanted = tuple(compiler.number("text", text) for text in texts)
    warm_ups = tuple(compiler.builder.warm_ups[i] for i in wanted)
    return Plan(tuple(compiler.builder.nodes), (-1, -1, -1, -1)), wanted, warm_ups


def values(bars: bt.Bars, text: str, engine: Engine = "python") -> np.ndarray:
    plan, wanted, _ = compiled(text)
    return kernel.node_values(bars, plan, wanted, None, engine)[0]


@needs_rust
@functions
@thorough
@given(data=st.data(), bars=bars)
def test_both_engines_give_the_same_bits(name: str, data: st.DataObject, bars: bt.Bars) -> None:
    texts = [data.draw(calls(INDICATORS[name], name, COMPLETE + BROKEN)) for _ in range(3)]
    coarse = {"1m": "5m", "1h": "1d", "1d": "1w"}[bars.timeframe]
    texts[0] = f"at('{coarse}', {texts[0]})" if data.draw(st.booleans()) else texts[0]
    note(str(texts))
    plan, wanted, _ = compiled(*texts)
    timeframe = coarse if data.draw(st.booleans()) else None
    for text, rust, python in zip(
        texts, *(kernel.node_values(bars, plan, wanted, timeframe, engine) for engine in ("rust", "python")), strict=True
    ):
        unequal = np.flatnonzero(~((rust.view(np.int64) == python.view(np.int64)) | (np.isnan(rust) & np.isnan(python))))
        assert not len(unequal), f"{text}: bar {unequal[0]} of {len(bars)}: {rust[unequal[0]]!r} is not {python[unequal[0]]!r}"


@functions
@thorough
@given(data=st.data(), bars=bars, cut=st.integers(1, 2300))
def test_later_bars_change_nothing(name: str, data: st.DataObject, bars: bt.Bars, cut: int) -> None:
    text = data.draw(calls(INDICATORS[name], name, COMPLETE + BROKEN))
    cut = 1 + cut % len(bars)
    np.testing.assert_array_equal(values(bars[:cut], text), values(bars, text)[:cut])


@functions
@thorough
@given(data=st.data(), bars=bars)
def test_values_are_unknown_during_the_warm_up_and_known_after_it(name: str, data: st.DataObject, bars: bt.Bars) -> None:
    text = data.draw(calls(INDICATORS[name], name, ["close", "open", "hl2", "close - 50"]))
    note(text)
    _, _, (warm_up,) = compiled(text)
    known = ~np.isnan(values(bars, text))
    assert not known[:warm_up].any()
    if not INDICATORS[name].may_stay_unknown:
        assert known[warm_up:].all()


@functions
@thorough
@given(data=st.data(), bars=bars, gap=st.integers(0, 2300))
def test_an_indicator_restarts_after_unknown_values(name: str, data: st.DataObject, bars: bt.Bars, gap: int) -> None:
    """After unknown values, an indicator gives what it gives over the bars after them alone."""
    indicator = INDICATORS[name]
    gap %= len(bars)
    if not indicator.series or indicator.implied or gap + 1 == len(bars):
        return
    text = data.draw(calls(indicator, name, ["SERIES"], ["volume > 2", "close == close"]))
    if all(node.op == "shift" or node.op not in INDICATORS for node in compiled(text.replace("SERIES", "close"))[0].nodes):
        return  # it reads single bars, so gaps between them don't matter
    close = bars.close.copy()
    open_ = close.copy()
    open_[gap] += 1  # 0 / 0 where open is the close: known on this bar only
    marked = bt.Bars(bars.time, open_, np.maximum(open_, close), close, close, bars.volume, timeframe=bars.timeframe)
    broken = values(marked, text.replace("SERIES", "close + 0 * (1 / (1 - (open - close)))"))
    fresh = values(marked[gap + 1 :], text.replace("SERIES", "close + 0 * 1"))
    np.testing.assert_array_equal(broken[gap + 1 :], fresh)


@needs_rust
def test_the_compiled_table_equals_python_s() -> None:
    """Except for the indicators that have operations of their own in plans."""
    own = {"sma", "ema", "rma", "rsi", "true_range", "shift"}
    compiled_table = {row[0]: row[1:] for row in compiled_module("rust").INDICATORS}  # type: ignore[union-attr]
    table = {
        name: (
            len(row.conditions) + len(row.series) + len(row.implied),
            [(each.name, each.minimum, each.maximum, each.integer) for each in row.arguments],
            max(1, len(row.outputs)),
        )
        for name, row in INDICATORS.items()
        if row.reference and name not in own
    }
    assert compiled_table == table


@needs_rust
@functions
def test_a_sweep_computes_indicators_as_a_single_run_does(name: str) -> None:
    indicator = INDICATORS[name]
    if not indicator.arguments:
        return
    given = [
        *(["close > open"] * len(indicator.conditions)),
        *(["close"] * len(indicator.series)),
        *(row.name for row in indicator.arguments),
    ]
    call = f"{name}({', '.join(given)})" + (f".{indicator.outputs[-1]}" if indicator.outputs else "")
    names = [row.name for row in indicator.arguments]
    values = [
        [row.minimum + 1, row.minimum + 4] if row.integer else [row.minimum + 0.125, row.minimum + 0.5] for row in indicator.arguments
    ]
    strategy = bt.Strategy(
        entry_long=f"{call} > {call}[1]", exit_long=f"{call} < {call}[2]", params={n: v[0] for n, v in zip(names, values, strict=True)}
    )
    bars = bt.synthetic(1500, seed=3)
    swept = bt.sweep(bars, strategy, dict(zip(names, values, strict=True)), engine="rust")
    hidden = [i for i, metric in enumerate(bt.metrics.NAMES) if metric.endswith("sqn")]
    for i in range(len(swept)):
        single = bt.backtest(bars, swept.strategy(i), engine="rust").values.copy()
        single[hidden] = np.nan
        np.testing.assert_array_equal(swept.values[i], single)
