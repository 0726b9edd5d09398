"""Values of a strategy's expressions, bar by bar."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from typing import Annotated, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from python_core.data import timeframes
from python_core.data.bars import Bars
from python_core.engine.evaluate import evaluate
from python_core.engine.strategy_bars import StrategyBars, check_timeframe
from python_core.errors import StrategyError
from python_core.execution import Fill
from python_core.language.compiler import Compiler
from python_core.language.normalize import at_call, is_at_call
from python_core.language.parser import parse
from python_core.language.plan import PlanBuilder
from python_core.strategy.compile import CONDITIONS, compile_plan
from python_core.strategy.strategy import Strategy

MAX_EXPRESSIONS: Final = 200
# Limits of one answer to a client: strategy bars computed, rows and columns of a plot.
MAX_BARS: Final = 20_000
MAX_PLOT: Final = 5_000
MAX_COLUMNS: Final = 50
# A condition written out with all its filters may be longer than the language allows for one expression.
MAX_TEXT: Final = 100_000


class Values(NamedTuple):
    """Values of expressions, bar by bar.

    Attributes:
        time: int64[k], open times of the strategy bars, epoch milliseconds.
        columns: for each expression float64[k], NaN where not known, or bool[k], false where not known.
    """

    time: npt.NDArray[np.int64]
    columns: dict[str, npt.NDArray[np.float64] | npt.NDArray[np.bool_]]


class Plot(msgspec.Struct, frozen=True, kw_only=True):
    """Values of expressions on a range of strategy bars, for a chart."""

    time: Annotated[tuple[int, ...], Meta(description="Open times of the bars, UTC epoch milliseconds.")]
    columns: Annotated[
        dict[str, tuple[float | bool | None, ...]], Meta(description="Values of each expression, null where a value is not yet defined.")
    ]


def values(bars: Bars, strategy: Strategy, expressions: Iterable[str] | None = None, *, fill: Fill = "next_open") -> Values:
    """Values of expressions on every strategy bar.

    Args:
        expressions: may use the strategy's params, definitions and the names of its conditions (`entry_long`). None: its conditions and
            definitions, and each call of a function that gives a series.
        fill: as in `Execution`; orders that fill at a close see a bar of a higher timeframe only if it ends no later than their own.

    Raises:
        StrategyError: an expression that can't be compiled, or more than 200.

    Example:
        bars = bt.synthetic(500)
        strategy = bt.Strategy(entry_long="close > slow", define={"slow": "sma(close, 20)"})
        bt.diagnostics.values(bars, strategy, ["slow", "close - slow"]).columns["slow"]
    """
    texts = default_expressions(strategy) if expressions is None else {text: text for text in expressions}
    for name in CONDITIONS:
        if name in texts:
            texts[name] = strategy.condition(name) or "False"
    return evaluate_expressions(bars, strategy, texts, fill)


def plot(
    bars: Bars,
    strategy: Strategy,
    expressions: Iterable[str] | None = None,
    *,
    start: int | None = None,
    limit: int = 500,
    fill: Fill = "next_open",
) -> Plot:
    """Values of at most `limit` strategy bars from `start` (epoch milliseconds; None: the last ones), computed over recent history only.

    Raises:
        StrategyError: as `values`, more than 50 expressions, or a limit out of range.
    """
    if not 1 <= limit <= MAX_PLOT:
        raise StrategyError(f"{limit:,} bars", where="limit", hint=f"use 1 to {MAX_PLOT:,}")
    if expressions is not None:
        expressions = tuple(expressions)
        if len(expressions) > MAX_COLUMNS:
            raise StrategyError(
                f"{len(expressions):,} expressions", where="expressions", hint=f"use at most {MAX_COLUMNS}", code="too_large"
            )
    row_ms = strategy_bar_ms(bars, strategy)
    if start is not None:
        start = max(min(start, int(bars.time[-1]) + 1), int(bars.time[0]) - row_ms)
    # Two rows more than the limit, since the first and the last strategy bar may be incomplete.
    end = len(bars) if start is None else int(np.searchsorted(bars.time, start + (limit + 2) * row_ms))
    computed = values(recent_bars(bars, strategy, max(end, 1), MAX_BARS + limit), strategy, expressions, fill=fill)
    first = max(0, len(computed.time) - limit) if start is None else int(np.searchsorted(computed.time, start))
    rows = slice(first, first + limit)
    columns = {name: _plain(column[rows]) for name, column in computed.columns.items()}
    return Plot(time=tuple(computed.time[rows].tolist()), columns=columns)


def default_expressions(strategy: Strategy) -> dict[str, str]:
    """Label to text: conditions, definitions, and each distinct call of a function that gives a series."""
    conditions = conditions_of(strategy)
    texts = {**conditions, **{name: name for name in strategy.define}}
    compiler = expression_compiler(strategy, None)
    for where, text in {**conditions, **strategy.canonical()["define"]}.items():
        for call in map(ast.unparse, _calls(parse(where, text))):
            if len(texts) < MAX_EXPRESSIONS and not compiler.builder.nodes[compiler.expression(where, call)].is_condition:
                texts.setdefault(call, call)
    return texts


def evaluate_expressions(bars: Bars, strategy: Strategy, texts: Mapping[str, str], fill: Fill) -> Values:
    """Values of `texts` (label to expression)."""
    if len(texts) > MAX_EXPRESSIONS:
        raise StrategyError(f"{len(texts):,} expressions", where="expressions", hint=f"use at most {MAX_EXPRESSIONS}", code="too_large")
    check_timeframe(bars.timeframe, strategy.timeframe)
    row_ms = strategy_bar_ms(bars, strategy)
    compiler = expression_compiler(strategy, row_ms)
    positions = {label: compiler.expression(label if label in CONDITIONS else f"{label:.60}", text) for label, text in texts.items()}
    rows = StrategyBars(bars, strategy.timeframe)
    results = evaluate(tuple(compiler.builder.nodes), rows, fill_at_close=fill == "close")
    time = bars.time if row_ms == bars.timeframe_ms else timeframes.bucket_start(bars.time[rows.fills_at - 1], row_ms)
    return Values(time, {label: results[position][0] for label, position in positions.items()})


def conditions_of(strategy: Strategy) -> dict[str, str]:
    """The strategy's conditions in canonical form, with their filters; without those that are empty."""
    return {name: text for name in CONDITIONS if (text := strategy.condition(name))}


def expression_compiler(strategy: Strategy, strategy_ms: int | None) -> Compiler:
    """A compiler for expressions that use the strategy's names."""
    builder = PlanBuilder(strategy_ms=strategy_ms)
    return Compiler(builder, strategy.values, strategy.define, strategy.additional_timeframes, max_length=MAX_TEXT)


def strategy_bar_ms(bars: Bars, strategy: Strategy) -> int:
    """Length of a strategy bar."""
    return bars.timeframe_ms if strategy.timeframe is None else timeframes.milliseconds(strategy.timeframe)


def history_start(bars: Bars, strategy: Strategy, time_ms: int) -> int:
    """The last time at or before `time_ms` from which on the strategy's longest bars are complete.

    Bars that don't fit into the longest, as weeks into months, get one of the longest more, since their first one may be incomplete.
    """
    lengths_ms = {node.timeframe_ms for node in compile_plan(strategy, (), bars.timeframe).nodes} - {0}
    longest_ms = max(strategy_bar_ms(bars, strategy), *lengths_ms, 0)
    start = timeframes.align(time_ms, longest_ms)
    return start if all(timeframes.fits(each, longest_ms) for each in lengths_ms) else timeframes.shift(start, longest_ms, -1)


def warm_up_bars(bars: Bars, strategy: Strategy) -> int:
    """Strategy bars before every signal is known, on these bars."""
    return compile_plan(strategy, (), bars.timeframe).warm_up


def recent_bars(bars: Bars, strategy: Strategy, end: int, rows: int) -> Bars:
    """The base bars of the last `rows` strategy bars before bar `end`, starting with a complete bar of every timeframe.

    If the strategy uses higher timeframes, the bars that these need to warm up come on top.
    """
    check_timeframe(bars.timeframe, strategy.timeframe)
    if compile_plan(strategy, (), bars.timeframe).uses_higher_timeframes:
        rows += min(warm_up_bars(bars, strategy), 2 * MAX_BARS)
    begin = history_start(bars, strategy, int(bars.time[end - 1]) - (rows - 1) * strategy_bar_ms(bars, strategy))
    return bars[int(np.searchsorted(bars.time, begin)) : end]


def _calls(node: ast.expr, frames: tuple[ast.expr, ...] = ()) -> Iterator[ast.expr]:
    """Calls of functions and their outputs, each wrapped in the timeframes around it."""
    call = node.value if isinstance(node, ast.Attribute) else node
    if isinstance(call, ast.Call) and is_at_call(call):
        yield from _calls(call.args[1], (*frames, call.args[0]))
        return
    if isinstance(call, ast.Call):
        yield reduce(lambda inner, frame: at_call(frame, inner), reversed(frames), node)
    for child in ast.iter_child_nodes(call):
        if isinstance(child, ast.expr):
            yield from _calls(child, frames)


def _plain(column: npt.NDArray[np.float64] | npt.NDArray[np.bool_]) -> tuple[float | bool | None, ...]:
    return tuple(value if isinstance(value, bool) or math.isfinite(value) else None for value in column.tolist())
