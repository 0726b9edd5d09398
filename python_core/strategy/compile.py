"""Plans: strategies and stop levels compiled to operations that the engines run."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from python_core.data import timeframes
from python_core.execution import LEVELS, Execution
from python_core.language.compiler import Compiler
from python_core.language.plan import Node, PlanBuilder
from python_core.levels import SIDES, Atr
from python_core.strategy.filters import Filters, Side, TimeframeFilter
from python_core.strategy.params import Value, Values

if TYPE_CHECKING:
    from python_core.strategy.strategy import Strategy

CONDITIONS: Final = ("entry_long", "exit_long", "entry_short", "exit_short")
# Positions in a plan's levels: 2 * position in LEVELS, + 0 for long and + 1 for short.
LEVEL_SIDES: Final = tuple((name, side) for name in LEVELS for side in SIDES)
ENTRY_SIDES: Final[dict[str, Side]] = {"entry_long": "long", "entry_short": "short"}
_WORD: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)


class Plan(NamedTuple):
    """A strategy and the stop levels of an execution, compiled to nodes in the order of evaluation.

    Attributes:
        conditions: positions of the nodes of the four signals; -1 for a signal that is not set.
        levels: positions of the nodes of the levels, in the order of `LEVEL_SIDES`; -1 for those that need no series.
        warm_up: strategy bars before every signal is known.
        settle: strategy bars before no signal depends on where the data begins, but for what weighs less than 5e-5.
        uses_higher_timeframes: whether some nodes are evaluated on higher timeframes.
    """

    nodes: tuple[Node, ...]
    conditions: tuple[int, int, int, int]
    levels: tuple[int, ...] = (-1,) * len(LEVEL_SIDES)
    warm_up: int = 0
    settle: int = 0
    uses_higher_timeframes: bool = False


def compile_plan(strategy: Strategy | None, levels: tuple[Atr | str | None, ...], bars_timeframe: str | None = None) -> Plan:
    """Compile a strategy, and the levels that are ATR distances or expressions (`series_levels`, or none). Equal inputs are compiled once.

    `bars_timeframe` is used if the strategy sets no timeframe; only plans with higher timeframes depend on it.

    Raises:
        StrategyError: names the expression, the column and the nearest known name.
    """
    if strategy is None:
        return _compile((), (), (), levels, bars_timeframe, (), ())
    return _compile(
        (strategy.entry_long, strategy.exit_long, strategy.entry_short, strategy.exit_short),
        tuple(strategy.define.items()),
        # With repr, as 1 and True or 0.0 and -0.0 are equal keys of a cache.
        tuple([(name, repr(value), value) for name, value in strategy.values.items()]),
        levels,
        strategy.timeframe or bars_timeframe,
        strategy.additional_timeframes,
        tuple(strategy.htf_filters.items()),
    )


@lru_cache(maxsize=256)
def series_levels(execution: Execution) -> tuple[Atr | str | None, ...]:
    """The levels that need a series (ATR distances and expressions) in the order of `LEVEL_SIDES`, None for the others."""
    return tuple(level if isinstance(level, Atr | str) else None for level in (execution.level(name, side) for name, side in LEVEL_SIDES))


def compile_template(strategy: Strategy, levels: tuple[Atr | str | None, ...], open: tuple[str, ...], bars_timeframe: str) -> Plan:
    """As `compile_plan`, but the parameters in `open` stay open, for a sweep to fill in."""
    return _build(
        PlanBuilder(open, timeframes.milliseconds(strategy.timeframe or bars_timeframe)),
        tuple(getattr(strategy, name) for name in CONDITIONS),
        strategy.define,
        {name: value for name, value in strategy.values.items() if name not in open},
        levels,
        strategy.additional_timeframes,
        strategy.htf_filters,
    )


@lru_cache(maxsize=256)
def _compile(
    texts: tuple[str, ...],
    define: tuple[tuple[str, str], ...],
    params: tuple[tuple[str, str, Value], ...],
    levels: tuple[Atr | str | None, ...],
    timeframe: str | None,
    additional_timeframes: tuple[str, ...],
    filters: tuple[tuple[Side, tuple[TimeframeFilter, ...]], ...],
) -> Plan:
    builder = PlanBuilder((), None if timeframe is None else timeframes.milliseconds(timeframe))
    return _build(builder, texts, dict(define), {name: value for name, _, value in params}, levels, additional_timeframes, dict(filters))


def _build(
    builder: PlanBuilder,
    texts: tuple[str, ...],
    define: dict[str, str],
    params: Values,
    levels: tuple[Atr | str | None, ...],
    additional_timeframes: tuple[str, ...],
    filters: Filters,
) -> Plan:
    compiler = Compiler(builder, params, define, additional_timeframes)
    for name in _in_order_of_use(define):
        compiler.definition(name, define[name])
    conditions = []
    for name, text in zip(CONDITIONS, texts, strict=False):
        conditions.append(compiler.condition(name, text) if text.strip() else -1)
        for i, each in enumerate(filters.get(ENTRY_SIDES[name], ()) if name in ENTRY_SIDES else ()):
            filtered = compiler.condition(f"htf_filters.{ENTRY_SIDES[name]}[{i}]", each.condition, each.timeframe)
            conditions[-1] = builder.add("and", (conditions[-1], filtered))
    numbers = [_level(compiler, levels, i) for i in range(len(levels))]
    roots = [i for i in (*conditions, *numbers) if i >= 0]
    warm_up, settle = (max((bars[i] for i in roots), default=0) for bars in (builder.warm_ups, builder.settles))
    nodes, place = builder.prune((*conditions, *numbers))
    c = [place[i] for i in (*conditions, -1, -1, -1, -1)]
    n = tuple(place[i] for i in numbers) or (-1,) * len(LEVEL_SIDES)
    return Plan(nodes, (c[0], c[1], c[2], c[3]), n, warm_up, settle, any(node.timeframe_ms for node in builder.nodes))


def _level(compiler: Compiler, levels: tuple[Atr | str | None, ...], i: int) -> int:
    """The node of one level, -1 if it needs no series."""
    name, side = LEVEL_SIDES[i]
    level = levels[i]
    where = f"execution.{name}" if level == levels[i ^ 1] else f"execution.{name}.{side}"
    if level is None:
        return -1
    return compiler.number(where, f"atr({level.period})" if isinstance(level, Atr) else level)


def _in_order_of_use(define: dict[str, str]) -> list[str]:
    """Names of definitions in the order of use: compiled so, a long chain of them needs no deep recursion."""
    words = {name: set(_WORD.findall(text)) & define.keys() for name, text in define.items() if isinstance(text, str)}
    done: dict[str, None] = {}
    while ready := [name for name in define if name not in done and words.get(name, set()) <= done.keys()]:
        done.update(dict.fromkeys(ready))
    return [*done, *(name for name in define if name not in done)]
