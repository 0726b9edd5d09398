"""What a strategy does to bars: values to plot, why there are no trades, and whether its signals depend on what they must not.

All of it runs in the Python engine, on one row for each strategy bar.
"""

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
from python_core.engine import kernel
from python_core.engine.evaluate import evaluate
from python_core.engine.strategy_bars import StrategyBars, check_timeframe
from python_core.errors import StrategyError
from python_core.execution import Execution
from python_core.language.compiler import Compiler
from python_core.language.normalize import at, is_at
from python_core.language.parser import parse
from python_core.language.plan import PlanBuilder
from python_core.strategy.compile import CONDITIONS, compile_plan
from python_core.strategy.strategy import Strategy

MAX_EXPRESSIONS: Final = 200
# What one answer to a client may cost: bars reckoned with, rows and columns drawn.
MAX_BARS: Final = 20_000
MAX_PLOT: Final = 5_000
MAX_COLUMNS: Final = 50
# A condition with all its filters written out may be longer than what was given.
MAX_TEXT: Final = 100_000
# So many strategy bars at the end of the data are looked at for dependence on history.
TAIL: Final = 200


class Values(NamedTuple):
    """Expressions bar by bar.

    `time`: int64[k], open times of the strategy bars (epoch milliseconds). `columns`: for each expression float64[k] with NaN where it
    is not known, or bool[k] (false where not known).
    """

    time: npt.NDArray[np.int64]
    columns: dict[str, npt.NDArray[np.float64] | npt.NDArray[np.bool_]]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A condition, or a part of one, and on how many bars it was true."""

    text: str
    true: Annotated[int, Meta(description="Bars on which it was true.")]
    known: Annotated[int, Meta(description="Bars on which all that it needs was warmed up.")]
    blocks: Annotated[int, Meta(description="Bars on which it alone was false among parts joined by `and`.")] = 0
    parts: tuple[Part, ...] = ()


class Activity(msgspec.Struct, frozen=True, kw_only=True):
    """Why a strategy trades as much or as little as it does."""

    bars: Annotated[int, Meta(description="Strategy bars in the data.")]
    warm_up_bars: int
    conditions: dict[str, Part]
    cancelled_entries: Annotated[int, Meta(description="Bars with entries of both sides, which cancel each other.")]
    rejected_orders: int
    trades: int
    findings: Annotated[tuple[str, ...], Meta(description="What stands in the way, in plain words; empty if nothing does.")]


class LookAhead(msgspec.Struct, frozen=True, kw_only=True):
    """An expression whose past values changed when later bars were cut off."""

    expression: str
    cut: Annotated[int, Meta(description="Bars that were left.")]
    time: Annotated[int, Meta(description="Open time of the first strategy bar that changed, epoch milliseconds.")]


class Recursion(msgspec.Struct, frozen=True, kw_only=True):
    """How far an expression depends on where the data begins: recent bars with all the history against the same bars with less."""

    expression: str
    history: Annotated[int, Meta(description="Strategy bars before the first one compared.")]
    difference: Annotated[float | None, Meta(description="Greatest relative difference; none for true and false.")]
    changed: Annotated[int, Meta(description="Bars, among those compared, on which the value differs at all.")]


class Soundness(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of `check`. Signals are sound if nothing looks ahead, and settled if none of them changed with the longest history."""

    sound: bool
    settled: bool
    look_ahead: tuple[LookAhead, ...]
    recursion: tuple[Recursion, ...]


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """All that can be told of a strategy on some bars: why it trades as it does, and whether its signals can be trusted."""

    activity: Activity
    check: Soundness


class Plot(msgspec.Struct, frozen=True, kw_only=True):
    """Expressions on a stretch of strategy bars, to be drawn; None where a value is not known."""

    time: Annotated[tuple[int, ...], Meta(description="Open times, epoch milliseconds.")]
    columns: dict[str, tuple[float | bool | None, ...]]


def diagnose(bars: Bars, strategy: Strategy, execution: Execution | None = None) -> Diagnosis:
    """`activity` and `check` in one, of the last `MAX_BARS` strategy bars: an answer in about a second, however long the data."""
    recent = _history(bars, strategy, len(bars), MAX_BARS)
    return Diagnosis(activity=activity(recent, strategy, execution), check=check(recent, strategy))


def plot(bars: Bars, strategy: Strategy, expressions: Iterable[str] | None = None, *, start: int | None = None, limit: int = 500) -> Plot:
    """`values` of at most `limit` strategy bars from `start` (epoch milliseconds; None: the last ones).

    They are reckoned with `MAX_BARS` strategy bars of history at most.

    Raises:
        StrategyError: as `values`; or `limit` is out of range.
    """
    if not 1 <= limit <= MAX_PLOT:
        raise StrategyError(f"{limit:,} bars", where="limit", hint=f"use 1 to {MAX_PLOT:,}")
    if expressions is not None:
        expressions = tuple(expressions)
        if len(expressions) > MAX_COLUMNS:
            raise StrategyError(
                f"{len(expressions):,} expressions", where="expressions", hint=f"use at most {MAX_COLUMNS}", code="too_large"
            )
    if start is not None:
        start = max(min(start, int(bars.time[-1]) + 1), int(bars.time[0]) - _row_ms(bars, strategy))
    # Two rows more than asked for, since the first and the last strategy bar may be cut.
    end = len(bars) if start is None else int(np.searchsorted(bars.time, start + (limit + 2) * _row_ms(bars, strategy)))
    found = values(_history(bars, strategy, max(end, 1), MAX_BARS + limit), strategy, expressions)
    first = max(0, len(found.time) - limit) if start is None else int(np.searchsorted(found.time, start))
    rows = slice(first, first + limit)
    return Plot(time=tuple(found.time[rows].tolist()), columns={name: _plain(column[rows]) for name, column in found.columns.items()})


def _row_ms(bars: Bars, strategy: Strategy) -> int:
    return bars.timeframe_ms if strategy.timeframe is None else timeframes.milliseconds(strategy.timeframe)


def _warm_up(bars: Bars, strategy: Strategy) -> int:
    return compile_plan(strategy, (), bars.timeframe).warm_up


def _coarsest_ms(bars: Bars, strategy: Strategy) -> int:
    """The length of the longest bars that the strategy looks at."""
    return max(_row_ms(bars, strategy), *(node.frame for node in compile_plan(strategy, (), bars.timeframe).nodes))


def _history(bars: Bars, strategy: Strategy, end: int, rows: int) -> Bars:
    """The bars before `end` that `rows` strategy bars are made of, beginning with whole ones of every timeframe.

    Where higher timeframes are used, what these need to warm up comes before.
    """
    check_timeframe(bars, strategy.timeframe)
    row_ms, coarsest_ms = _row_ms(bars, strategy), _coarsest_ms(bars, strategy)
    if coarsest_ms > row_ms:
        rows += min(_warm_up(bars, strategy), 2 * MAX_BARS)
    begin = timeframes.bucket_start(bars.time[end - 1 : end] - (rows - 1) * row_ms, coarsest_ms)[0]
    return bars[int(np.searchsorted(bars.time, begin)) : end]


def _plain(column: npt.NDArray[np.float64] | npt.NDArray[np.bool_]) -> tuple[float | bool | None, ...]:
    return tuple(value if isinstance(value, bool) or math.isfinite(value) else None for value in column.tolist())


def values(bars: Bars, strategy: Strategy, expressions: Iterable[str] | None = None) -> Values:
    """The values of expressions on every strategy bar; none given: all series, definitions and conditions of the strategy.

    An expression may use the strategy's params and definitions, and the names of its conditions (`entry_long`).

    Raises:
        StrategyError: an expression that can't be compiled, or too many of them.
    """
    asked = _expressions(strategy) if expressions is None else {text: text for text in expressions}
    for name in CONDITIONS:
        if name in asked:
            asked[name] = strategy.condition(name) or "False"
    return _values(bars, strategy, asked)


def activity(bars: Bars, strategy: Strategy, execution: Execution | None = None) -> Activity:
    """How often each condition and each of its parts was true, and what keeps the strategy from trading."""
    texts = _conditions(strategy)
    tallies = _Tally(bars, strategy, texts)
    conditions = {name: tallies.part(parse(name, text)) for name, text in texts.items()}
    result = kernel.backtest(bars, strategy, execution)
    long, short = (tallies.values.get(texts.get(f"entry_{side}", ""), np.zeros(tallies.bars, dtype=bool)) for side in ("long", "short"))
    activity = Activity(
        bars=tallies.bars,
        warm_up_bars=_warm_up(bars, strategy),
        conditions=conditions,
        cancelled_entries=int((long & short).sum()),
        rejected_orders=result.rejected_orders,
        trades=len(result.trades),
        findings=(),
    )
    return msgspec.structs.replace(activity, findings=tuple(_findings(activity)))


def check(bars: Bars, strategy: Strategy, *, cuts: int = 10, seed: int = 0) -> Soundness:
    """Cut and shift the data and compare.

    Look-ahead: the last bars are cut off at `cuts` random places; nothing before may change, to the last bit. Recursion: the first bars
    are cut off; an exponential average remembers them for a while, and signals that depend on it change with the start of the data.
    """
    asked = _expressions(strategy)
    whole = _values(bars, strategy, asked)
    random = np.random.default_rng(seed)
    places = sorted({int(place) for place in random.integers(1, max(len(bars), 2), size=cuts)} - {len(bars)})
    ahead = [found for place in places for found in _look_ahead(bars, strategy, asked, whole, place)]
    recursion = list(_recursion(bars, strategy, asked, whole))
    longest = max((row.history for row in recursion), default=0)
    settled = all(not row.changed for row in recursion if row.history == longest and row.expression in CONDITIONS)
    return Soundness(sound=not ahead, settled=settled, look_ahead=tuple(ahead), recursion=tuple(recursion))


def _expressions(strategy: Strategy) -> dict[str, str]:
    """Label to text: conditions, definitions, and each distinct call of a function that gives a series."""
    texts = _conditions(strategy)
    asked = {**texts, **{name: name for name in strategy.define}}
    compiler = _compiler(strategy, None)
    for where, text in {**texts, **strategy.canonical()["define"]}.items():
        for call in map(ast.unparse, _calls(parse(where, text))):
            if len(asked) < MAX_EXPRESSIONS and not compiler.builder.nodes[compiler.either(where, call)].is_truth:
                asked.setdefault(call, call)
    return asked


def _conditions(strategy: Strategy) -> dict[str, str]:
    """The conditions that there are, each in its one spelling and with its filters."""
    return {name: text for name in CONDITIONS if (text := strategy.condition(name))}


def _compiler(strategy: Strategy, strategy_ms: int | None) -> Compiler:
    builder = PlanBuilder(strategy_ms=strategy_ms)
    return Compiler(builder, strategy.values, strategy.define, strategy.additional_timeframes, longest=MAX_TEXT)


def _calls(node: ast.expr, frames: tuple[ast.expr, ...] = ()) -> Iterator[ast.expr]:
    """Calls and outputs of functions, each with the timeframes that it stands in."""
    call = node.value if isinstance(node, ast.Attribute) else node
    if isinstance(call, ast.Call) and is_at(call):
        yield from _calls(call.args[1], (*frames, call.args[0]))
        return
    if isinstance(call, ast.Call):
        yield reduce(lambda inner, frame: at(frame, inner), reversed(frames), node)
    for child in ast.iter_child_nodes(call):
        if isinstance(child, ast.expr):
            yield from _calls(child, frames)


def _values(bars: Bars, strategy: Strategy, asked: Mapping[str, str]) -> Values:
    if len(asked) > MAX_EXPRESSIONS:
        raise StrategyError(f"{len(asked):,} expressions", where="expressions", hint=f"use at most {MAX_EXPRESSIONS}", code="too_large")
    check_timeframe(bars, strategy.timeframe)
    compiler = _compiler(strategy, _row_ms(bars, strategy))
    positions = {label: compiler.either(label if label in CONDITIONS else f"{label:.60}", text) for label, text in asked.items()}
    rows = StrategyBars(bars, strategy.timeframe)
    results = evaluate(tuple(compiler.builder.nodes), rows)
    row_ms = _row_ms(bars, strategy)
    time = bars.time if row_ms == bars.timeframe_ms else timeframes.bucket_start(bars.time[rows.fills_at - 1], row_ms)
    return Values(time, {label: results[position][0] for label, position in positions.items()})


class _Tally:
    """Counts how often the parts of conditions were true."""

    def __init__(self, bars: Bars, strategy: Strategy, texts: Mapping[str, str]) -> None:
        compiler = _compiler(strategy, _row_ms(bars, strategy))
        parts = {ast.unparse(part) for name, text in texts.items() for part in _parts(parse(name, text))}
        positions = {text: compiler.either("condition", text) for text in sorted(parts)}
        rows = StrategyBars(bars, strategy.timeframe)
        results = evaluate(tuple(compiler.builder.nodes), rows)
        self.bars = len(rows)
        self.values = {text: results[position][0].astype(bool) for text, position in positions.items()}
        self._known = {text: int(results[position][1].sum()) for text, position in positions.items()}

    def part(self, node: ast.expr, blocks: int = 0) -> Part:
        text = ast.unparse(node)
        inner: list[Part] = []
        joined, nodes = _within(node)
        masks = [self.values[ast.unparse(each)] for each in nodes]
        for i, each in enumerate(nodes):
            alone = 0
            if joined is ast.And:
                others = np.logical_and.reduce([mask for k, mask in enumerate(masks) if k != i])
                alone = int((others & ~masks[i]).sum())
            inner.append(self.part(each, alone))
        return Part(text=text, true=int(self.values[text].sum()), known=self._known[text], blocks=blocks, parts=tuple(inner))


def _parts(node: ast.expr) -> Iterator[ast.expr]:
    yield node
    for inner in _within(node)[1]:
        yield from _parts(inner)


def _within(node: ast.expr) -> tuple[type | None, list[ast.expr]]:
    """What joins the parts of a condition (and, or, not), and the parts; those on a higher timeframe stay there one by one."""
    if isinstance(node, ast.BoolOp):
        return type(node.op), node.values
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return ast.Not, [node.operand]
    if isinstance(node, ast.Call) and is_at(node):
        joined, inner = _within(node.args[1])
        return joined, [at(node.args[0], each) for each in inner]
    return None, []


def _findings(activity: Activity) -> Iterator[str]:
    entries = {name: part for name, part in activity.conditions.items() if name.startswith("entry")}
    if activity.bars <= activity.warm_up_bars:
        yield f"the data has {activity.bars:,} bars, and the first {activity.warm_up_bars:,} give no signal: use more data"
        return
    for name, condition in entries.items():
        yield from _never(name, condition)
    signals = sum(part.true for part in entries.values())
    if signals and activity.cancelled_entries * len(entries) == signals:
        yield "entries of both sides come on the same bars and cancel each other"
    if signals and not activity.trades and activity.rejected_orders:
        yield f"{activity.rejected_orders:,} orders were too large for the account or too small for the market: look at size, step and min_notional"
    elif signals and not activity.trades and activity.cancelled_entries * len(entries) != signals:
        yield "the signals come on the last bar, or before the level of a stop is known"


def _never(name: str, part: Part) -> Iterator[str]:
    """The innermost reasons why a part was never true."""
    if part.true:
        return
    inner = [each for each in part.parts if not each.true]
    joined = _within(parse(name, part.text))[0]
    if joined in (ast.And, ast.Or) and inner:
        for each in inner:
            yield from _never(name, each)
    elif joined in (ast.And, ast.Or):
        often = ", ".join(f"{each.text} on {each.true:,}" for each in part.parts)
        yield f"{name}: the parts of {part.text} were never true together ({often} bars)"
    elif not part.known:
        yield f"{name}: {part.text} was never known: it needs more bars"
    else:
        yield f"{name}: {part.text} was never true on {part.known:,} bars"


def _look_ahead(bars: Bars, strategy: Strategy, asked: Mapping[str, str], whole: Values, place: int) -> Iterator[LookAhead]:
    cut = _values(bars[:place], strategy, asked)
    for label, column in cut.columns.items():
        changed = np.flatnonzero(~_same(column, whole.columns[label][: len(column)]))
        if len(changed):
            yield LookAhead(expression=label, cut=place, time=int(cut.time[changed[0]]))


def _recursion(bars: Bars, strategy: Strategy, asked: Mapping[str, str], whole: Values) -> Iterator[Recursion]:
    warm_up, rows = max(_warm_up(bars, strategy), 1), len(whole.time)
    tail = min(TAIL, rows // 4)
    for factor in (1, 2, 4, 8, 16):
        history = warm_up * factor
        if not tail or history + tail >= rows:
            return
        start = timeframes.bucket_start(whole.time[rows - tail - history], _coarsest_ms(bars, strategy))
        first = int(np.searchsorted(bars.time, start))
        late = _values(bars[first:], strategy, asked)
        for label, column in late.columns.items():
            a, b = whole.columns[label][-tail:], column[-tail:]
            changed = int((~_same(a, b)).sum())
            yield Recursion(expression=label, history=history, difference=_difference(a, b), changed=changed)


def _same(a: npt.NDArray[np.generic], b: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    if a.dtype == np.bool_:
        return np.asarray(a == b)
    return np.asarray((a == b) | (np.isnan(a) & np.isnan(b)))


def _difference(a: npt.NDArray[np.generic], b: npt.NDArray[np.generic]) -> float | None:
    if a.dtype == np.bool_:
        return None
    x, y = a.astype(np.float64), b.astype(np.float64)
    known = np.isfinite(x) & np.isfinite(y)
    scale = np.maximum(np.maximum(np.abs(x), np.abs(y))[known], np.finfo(np.float64).tiny)
    return float((np.abs(x - y)[known] / scale).max(initial=0.0))
