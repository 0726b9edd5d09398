"""What a client posts: a strategy written as data, or ready-made signals."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Annotated, Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from python_core.data import timeframes
from python_core.errors import StrategyError
from python_core.execution import Atr, Execution
from python_core.language.compiler import Compiler
from python_core.language.normalize import canonical
from python_core.language.plan import Node, PlanBuilder
from python_core.language.vocabulary import FUNCTIONS, SERIES
from python_core.strategy.filters import MAX_FILTERS, Condition, Filter, Filters, Side, checked_filters, checked_timeframes, filtered
from python_core.strategy.params import MAX_CONSTRAINTS, Param, Value, Values, check_constraints, checked, replaced, value_of

CONDITIONS: Final = ("entry_long", "exit_long", "entry_short", "exit_short")
LEVELS: Final = ("stop_loss", "take_profit", "trailing_stop")
MAX_NAMES: Final = 100
_SIDES: Final[dict[str, Side]] = {"entry_long": "long", "entry_short": "short"}
_WORD: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)


class Plan(NamedTuple):
    """A strategy and the levels of an execution, compiled: operations in an order that can be run from first to last.

    `conditions` are positions of the four signals' nodes (-1: never), `levels` of the stop, target and trailing distance (-1: not
    from a series). `warm_up` bars pass before every signal is known. `higher`: whether some operations run on higher timeframes.
    """

    nodes: tuple[Node, ...]
    conditions: tuple[int, int, int, int]
    levels: tuple[int, int, int]
    warm_up: int
    higher: bool = False


class Strategy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When to be long, short or out, as expressions over a bar's series.

    Series: `open high low close volume hl2 hlc3 ohlc4 hour weekday minute`, `x[1]` for the bar before; functions such as `sma(close, 20)`;
    comparisons, arithmetic, `and or not`, `a if condition else b`; names from `params` and `define`. docs/strategies.md lists them all.
    A parameter is a plain value, or a `Param` with type, default and range; `constraints` such as `fast < slow` must hold for every run
    and are kept by a search.

    Higher timeframes: `at('4h', condition)` or `ema(close, 50, tf="4h")`. With "4h" among `additional_timeframes`, a series, definition
    or function with `_4h` behind its name is the same on it: `close_4h`, `ema_4h(close, 50)`. `htf_filters` must be true on a higher
    timeframe for entries of their side.

    Raises:
        StrategyError: names the expression, the column and the nearest known name.
    """

    entry_long: Condition = ""
    exit_long: Condition = ""
    entry_short: Condition = ""
    exit_short: Condition = ""
    define: Annotated[dict[str, str], Meta(max_length=MAX_NAMES, description="Named expressions that the others may use.")] = {}
    params: Annotated[
        dict[str, Value | Param],
        Meta(max_length=MAX_NAMES, description="Named numbers that the expressions may use: plain, or with a range."),
    ] = {}
    constraints: Annotated[
        tuple[Annotated[str, Meta(max_length=2_000)], ...],
        Meta(max_length=MAX_CONSTRAINTS, description="What must hold among the params, such as fast < slow."),
    ] = ()
    timeframe: Annotated[
        str | None, Meta(description="Timeframe of the signals; none: that of the bars. Orders fill and stops are checked on the bars.")
    ] = None
    additional_timeframes: Annotated[
        tuple[str, ...], Meta(max_length=24, description="Timeframes that may stand behind a name, as in close_4h and ema_4h(close, 50).")
    ] = ()
    htf_filters: Annotated[
        dict[Side, Annotated[tuple[Filter, ...], Meta(max_length=MAX_FILTERS)]],
        Meta(description="What must be true on higher timeframes for entries of each side."),
    ] = {}

    def __post_init__(self) -> None:
        if self.timeframe is not None:
            msgspec.structs.force_setattr(self, "timeframe", timeframes.parse(self.timeframe))
        msgspec.structs.force_setattr(self, "additional_timeframes", checked_timeframes(self.additional_timeframes))
        msgspec.structs.force_setattr(self, "htf_filters", checked_filters(self.htf_filters))
        for kind in ("define", "params"):
            names = getattr(self, kind)
            if not isinstance(names, dict) or len(names) > MAX_NAMES:
                raise StrategyError("too many names or no mapping", where=kind, hint=f"use at most {MAX_NAMES} names")
            for name in names:
                _check_name(kind, name, self.additional_timeframes)
            msgspec.structs.force_setattr(self, kind, dict(names))
        for name in self.params:
            if name in self.define:
                raise StrategyError(f"{name!r} is a definition, too", where="params", hint="use two names")
            self.params[name] = checked(name, self.params[name])
        constraints = self.constraints
        if not isinstance(constraints, tuple | list) or len(constraints) > MAX_CONSTRAINTS:
            hint = f'use a list of at most {MAX_CONSTRAINTS}, such as ["fast < slow"]'
            raise StrategyError("no list, or too long", where="constraints", hint=hint)
        msgspec.structs.force_setattr(self, "constraints", tuple(constraints))
        for name in CONDITIONS:
            if not isinstance(text := getattr(self, name), str):
                raise StrategyError(f"{text!r:.60} is no text", where=name, hint="give an expression such as 'close > sma(close, 20)'")
        if not self.entry_long.strip() and not self.entry_short.strip():
            raise StrategyError("there is no entry", where="entry_long", hint="give entry_long, entry_short or both")
        for side in self.htf_filters:
            if not getattr(self, f"entry_{side}").strip():
                raise StrategyError(
                    f"there is no entry_{side} to filter", where=f"htf_filters.{side}", hint="give one, or leave the filters out"
                )
        compile_plan(self, ())
        check_constraints(self.constraints, self.values)

    @property
    def values(self) -> dict[str, Value]:
        """The parameters' values in a single run."""
        return {name: value_of(param) for name, param in self.params.items()}

    @property
    def warm_up_bars(self) -> int:
        """Bars of the strategy's timeframe that pass before every signal is known.

        Where it uses higher timeframes and has none of its own, the most it can be: reckoned in minutes.
        """
        return compile_plan(self, ()).warm_up

    def condition(self, name: str) -> str:
        """A condition (`entry_long`) in its one spelling, together with its filters; empty if there is none."""
        filters = self.htf_filters.get(_SIDES[name], ()) if name in _SIDES else ()
        return filtered(name, getattr(self, name), filters, self.additional_timeframes, self.define)

    def with_params(self, **params: Value) -> Strategy:
        """The same strategy with other values of its parameters; ranges stay, and must hold."""
        for name in params:
            if name not in self.params:
                known = ", ".join(self.params) or "none"
                raise StrategyError(f"the strategy has no parameter {name!r}", where="params", hint=f"it has {known}", code="unknown_name")
        changed = {name: replaced(name, self.params[name], value) for name, value in params.items()}
        return msgspec.structs.replace(self, params={**self.params, **changed})

    def explain(self) -> str:
        """What the strategy does, in plain words."""
        from python_core.strategy.explain import explain

        return explain(self)

    def canonical(self) -> dict[str, Any]:
        """What decides the results, in one spelling.

        Spacing, needless brackets, the order of `define` and `params`, the way of writing a number (10, 10.0, 1e1), ranges and
        constraints make no difference; names and the order of terms do.
        """
        return {
            **{name: self.condition(name) for name in CONDITIONS},
            "define": {
                name: canonical(f"define.{name}", text, self.additional_timeframes, self.define)
                for name, text in sorted(self.define.items())
            },
            "params": {name: value if isinstance(value, bool | str) else float(value) for name, value in sorted(self.values.items())},
            "timeframe": self.timeframe,
        }

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of `canonical()`: strategies with one hash give one result on any bars."""
        return hashlib.sha256(msgspec.json.encode(self.canonical(), order="deterministic")).hexdigest()


class Signals:
    """Your own signals: boolean arrays, one value for each bar; left out means never. A signal of bar i becomes an order for bar i + 1."""

    def __init__(
        self,
        entry_long: npt.ArrayLike | None = None,
        exit_long: npt.ArrayLike | None = None,
        entry_short: npt.ArrayLike | None = None,
        exit_short: npt.ArrayLike | None = None,
    ) -> None:
        self.masks: tuple[npt.NDArray[np.bool_] | None, ...] = tuple(
            None if mask is None else _mask(name, mask)
            for name, mask in zip(CONDITIONS, (entry_long, exit_long, entry_short, exit_short), strict=True)
        )
        lengths = {name: len(mask) for name, mask in zip(CONDITIONS, self.masks, strict=True) if mask is not None}
        if not lengths:
            raise StrategyError("there are no signals", where="signals", hint="give at least one boolean array")
        if len(set(lengths.values())) > 1:
            raise StrategyError(f"the arrays differ in length: {lengths}", where="signals", hint="give one value for each bar")
        self.length = next(iter(lengths.values()))
        # As the compiled engine takes them: any byte but 0 is true.
        self.bytes = tuple(None if mask is None else mask.view(np.uint8) for mask in self.masks)


def compile_plan(strategy: Strategy | None, levels: tuple[Atr | str | None, ...], bars_timeframe: str | None = None) -> Plan:
    """The plan of a strategy and of the stop levels that are ATR distances or expressions; equal ones are compiled once.

    `bars_timeframe` stands in where the strategy has no timeframe of its own; it matters to a plan with higher timeframes only.
    """
    if strategy is None:
        return _compile((), (), (), levels, bars_timeframe, (), ())
    return _compile(
        (strategy.entry_long, strategy.exit_long, strategy.entry_short, strategy.exit_short),
        tuple(strategy.define.items()),
        tuple([(name, repr(value), value) for name, value in strategy.values.items()]),
        levels,
        strategy.timeframe or bars_timeframe,
        strategy.additional_timeframes,
        tuple(strategy.htf_filters.items()),
    )


@lru_cache(maxsize=256)
def series_levels(execution: Execution) -> tuple[Atr | str | None, ...]:
    """The levels of an execution that need a series: ATR distances and expressions; None for plain fractions."""
    return tuple(level if isinstance(level, Atr | str) else None for level in (getattr(execution, name) for name in LEVELS))


def compile_template(strategy: Strategy, levels: tuple[Atr | str | None, ...], open: tuple[str, ...], bars_timeframe: str) -> Plan:
    """As `compile_plan`, with the parameters in `open` left to be filled in by a sweep."""
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
    filters: tuple[tuple[Side, tuple[Filter, ...]], ...],
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
    for name in _by_use(define):
        compiler.definition(name, define[name])
    conditions = []
    for name, text in zip(CONDITIONS, texts, strict=False):
        conditions.append(compiler.condition(name, text) if text.strip() else -1)
        for i, each in enumerate(filters.get(_SIDES[name], ()) if name in _SIDES else ()):
            seen = compiler.condition(f"htf_filters.{_SIDES[name]}[{i}]", each.condition, each.timeframe)
            conditions[-1] = builder.add("and", (conditions[-1], seen))
    numbers = []
    for name, level in zip(LEVELS, levels, strict=False):
        if isinstance(level, Atr):
            numbers.append(compiler.number(f"execution.{name}", f"atr({level.period})"))
        else:
            numbers.append(-1 if level is None else compiler.number(f"execution.{name}", level))
    warm_up = max((builder.warm_ups[i] for i in (*conditions, *numbers) if i >= 0), default=0)
    nodes, place = builder.used((*conditions, *numbers))
    c, n = ([place[i] for i in (*each, -1, -1, -1, -1)] for each in (conditions, numbers))
    return Plan(nodes, (c[0], c[1], c[2], c[3]), (n[0], n[1], n[2]), warm_up, any(node.frame for node in builder.nodes))


def _by_use(define: dict[str, str]) -> list[str]:
    """The names of definitions, each after those that it uses, so that a long chain is no deep nesting."""
    words = {name: set(_WORD.findall(text)) & define.keys() for name, text in define.items() if isinstance(text, str)}
    done: dict[str, None] = {}
    while ready := [name for name in define if name not in done and words.get(name, set()) <= done.keys()]:
        done.update(dict.fromkeys(ready))
    return [*done, *(name for name in define if name not in done)]


def _check_name(kind: str, name: str, additional_timeframes: tuple[str, ...]) -> None:
    taken = {*SERIES, *FUNCTIONS}
    taken |= {f"{word}_{timeframe}" for timeframe in additional_timeframes for word in taken}
    if not isinstance(name, str) or not name.isidentifier() or not name.isascii() or len(name) > 60 or name in taken:
        why = "is a name of the language" if name in taken else "is no name"
        raise StrategyError(f"{name!r:.60} {why}", where=kind, hint="use letters, digits and _, such as fast")


def _mask(name: str, values: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise StrategyError(f"bar {int(np.ma.getmaskarray(values).argmax())} is masked", where=name, hint="give true or false for each bar")
    try:
        array = np.asarray(values)
    except Exception as error:  # whatever an object's own conversion raises
        raise StrategyError(f"not an array ({error})", where=name, hint="give true or false for each bar") from error
    if array.ndim != 1:
        raise StrategyError(f"the shape is {array.shape}", where=name, hint="give one dimension, one value for each bar")
    if array.dtype != np.bool_:
        raise StrategyError(f"the dtype is {array.dtype}", where=name, hint="give booleans, as in close > average")
    array = np.ascontiguousarray(array)
    # A view of other bytes as booleans may hold more than 0 and 1, which NumPy's operators don't agree about.
    return array if array.view(np.uint8).max(initial=0) <= 1 else array.view(np.uint8) != 0
