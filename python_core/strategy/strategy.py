"""A strategy written as data, in the language of docs/strategies.md."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from python_core.data import timeframes
from python_core.errors import StrategyError
from python_core.immutable import FrozenDict
from python_core.language.normalize import canonical
from python_core.language.vocabulary import FUNCTIONS, SERIES
from python_core.levels import MAX_EXPRESSION
from python_core.strategy.compile import CONDITIONS, ENTRY_SIDES, compile_plan
from python_core.strategy.explain import explain
from python_core.strategy.filters import (
    MAX_FILTERS,
    MAX_TIMEFRAMES,
    Condition,
    Side,
    TimeframeFilter,
    join_filters,
    parse_filters,
    parse_timeframes,
)
from python_core.strategy.params import MAX_CONSTRAINTS, Param, Value, check_constraints, parse_param, value_of, with_value

MAX_NAMES: Final = 100
# Characters of all expressions together. Compiling takes microseconds for each, in whichever thread makes the strategy.
MAX_TEXT: Final = 20_000

# The rules of names and definitions are checked by hand, for messages that say more.
_Name = Annotated[str, Meta(extra_json_schema={"pattern": "^[A-Za-z_][A-Za-z0-9_]{0,59}$"})]
_Definition = Annotated[str, Meta(extra_json_schema={"format": "expression", "minLength": 1, "maxLength": MAX_EXPRESSION})]


class Strategy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Conditions for being long, short or out of the market, as expressions over the series of a bar.

    Expressions use the series `open high low close volume hl2 hlc3 ohlc4 hour weekday minute`, `x[1]` for the bar before, functions such
    as `sma(close, 20)`, comparisons, arithmetic, `and or not`, `a if condition else b`, and the names in `params` and `define`.
    A parameter is a plain value, or has a type, a default and a range; `constraints` such as `fast < slow` must hold for every run, and a
    search skips combinations that break them.

    On a higher timeframe, write `at('4h', condition)` or `ema(close, 50, tf="4h")`. With "4h" in `additional_timeframes`, `_4h` can be
    appended to the name of a series, definition or function: `close_4h`, `ema_4h(close, 50)`. `htf_filters` must be true on a higher
    timeframe for entries of their side.

    Raises:
        StrategyError: names the expression, the column and the nearest known name.

    Example:
        bt.Strategy(entry_long="crossover(sma(close, 10), slow)", exit_long="close < slow", define={"slow": "sma(close, 30)"})
    """

    entry_long: Condition = ""
    exit_long: Condition = ""
    entry_short: Condition = ""
    exit_short: Condition = ""
    define: Annotated[
        dict[_Name, _Definition],
        Meta(max_length=MAX_NAMES, description="Named expressions for use in the others.", examples=[{"slow_average": "sma(close, 30)"}]),
    ] = {}
    params: Annotated[
        dict[_Name, Value | Param],
        Meta(
            max_length=MAX_NAMES,
            description="Named values for use in expressions: plain, or with a range for a search.",
            examples=[{"fast": 10, "slow": {"type": "int", "default": 30, "min": 20, "max": 200}}],
        ),
    ] = {}
    constraints: Annotated[
        tuple[Annotated[str, Meta(max_length=MAX_EXPRESSION)], ...],
        Meta(max_length=MAX_CONSTRAINTS, description="Conditions that the params must meet.", examples=[["fast < slow"]]),
    ] = ()
    timeframe: Annotated[
        timeframes.Timeframe | None,
        Meta(
            description="Timeframe of the signals, such as 45m, 4h, 3d or 1M (a month; 1m is a minute); null: that of the bars. Orders fill and stops are checked on the bars themselves."
        ),
    ] = None
    additional_timeframes: Annotated[
        tuple[timeframes.Timeframe, ...],
        Meta(
            max_length=MAX_TIMEFRAMES,
            description="Timeframes that can be appended to names, as in close_4h and ema_4h(close, 50).",
            examples=[["4h"]],
        ),
    ] = ()
    htf_filters: Annotated[
        dict[Side, Annotated[tuple[TimeframeFilter, ...], Meta(max_length=MAX_FILTERS)]],
        Meta(description="Conditions on higher timeframes that must be true for entries of each side."),
    ] = {}

    def __post_init__(self) -> None:
        # The struct is frozen, so fields in canonical form are set by force; copies leave the caller's mappings unchanged.
        if self.timeframe is not None:
            msgspec.structs.force_setattr(self, "timeframe", timeframes.parse(self.timeframe))
        msgspec.structs.force_setattr(self, "additional_timeframes", parse_timeframes(self.additional_timeframes))
        msgspec.structs.force_setattr(self, "htf_filters", FrozenDict(parse_filters(self.htf_filters)))
        for kind in ("define", "params"):
            names = getattr(self, kind)
            if not isinstance(names, dict) or len(names) > MAX_NAMES:
                raise StrategyError("too many names, or not a mapping", where=kind, hint=f"use at most {MAX_NAMES} names")
            for name in names:
                _check_name(kind, name, self.additional_timeframes)
        for name in self.params:
            if name in self.define:
                raise StrategyError(f"{name!r} is also a definition", where="params", hint="use different names")
        params = {name: parse_param(name, value) for name, value in self.params.items()}
        msgspec.structs.force_setattr(self, "params", FrozenDict(params))
        msgspec.structs.force_setattr(self, "define", FrozenDict(self.define))
        constraints = self.constraints
        if not isinstance(constraints, tuple | list) or len(constraints) > MAX_CONSTRAINTS:
            hint = f'use a list of at most {MAX_CONSTRAINTS}, such as ["fast < slow"]'
            raise StrategyError("not a list, or too long", where="constraints", hint=hint)
        msgspec.structs.force_setattr(self, "constraints", tuple(constraints))
        for name in CONDITIONS:
            if not isinstance(text := getattr(self, name), str):
                raise StrategyError(
                    f"expected text, got {text!r:.60}", where=name, hint="give an expression such as 'close > sma(close, 20)'"
                )
        if not self.entry_long.strip() and not self.entry_short.strip():
            raise StrategyError("the strategy has no entry", where="entry_long", hint="give entry_long, entry_short or both")
        for side in self.htf_filters:
            if not getattr(self, f"entry_{side}").strip():
                raise StrategyError(
                    f"the strategy has no entry_{side} to filter", where=f"htf_filters.{side}", hint="give one, or leave the filters out"
                )
        texts = (*(getattr(self, name) for name in CONDITIONS), *self.define.values(), *self.constraints)
        filters = (filter_.condition for side in self.htf_filters.values() for filter_ in side)
        if (length := sum(len(text) for text in (*texts, *filters) if isinstance(text, str))) > MAX_TEXT:
            hint = f"use at most {MAX_TEXT:,}: give what is repeated a name in define"
            raise StrategyError(f"the expressions have {length:,} characters together", where="define", hint=hint, code="too_large")
        # Every expression is compiled here, so that errors are raised when the strategy is made, not when it runs.
        compile_plan(self, ())
        check_constraints(self.constraints, self.values)

    @property
    def values(self) -> dict[str, Value]:
        """Values of the parameters in a single run."""
        return {name: value_of(param) for name, param in self.params.items()}

    @property
    def warm_up_bars(self) -> int:
        """Bars of the strategy's timeframe before every signal is known.

        If the strategy uses higher timeframes but sets no `timeframe`, it is a number of minutes.
        """
        return compile_plan(self, ()).warm_up

    @property
    def settle_bars(self) -> int:
        """As `warm_up_bars`, with each `ema` counted as 5 lengths and each `rma` (in `rsi`, `atr`, `adx`, `supertrend`) as 10.

        After that, what came before the first bar weighs less than 5e-5 in them.
        """
        return compile_plan(self, ()).settle

    def condition(self, name: str) -> str:
        """A condition such as `entry_long` in canonical form, joined with its filters; empty if there is none."""
        filters = self.htf_filters.get(ENTRY_SIDES[name], ()) if name in ENTRY_SIDES else ()
        return join_filters(name, getattr(self, name), filters, self.additional_timeframes, self.define)

    def with_params(self, /, **params: Value) -> Strategy:
        """A copy with other values of its parameters, which must be within their ranges.

        Raises:
            StrategyError: an unknown parameter, a value out of range or a broken constraint.
        """
        for name in params:
            if name not in self.params:
                known = ", ".join(self.params) or "none"
                raise StrategyError(f"the strategy has no parameter {name!r}", where="params", hint=f"it has {known}", code="unknown_name")
        changed = {name: with_value(name, self.params[name], value) for name, value in params.items()}
        return msgspec.structs.replace(self, params={**self.params, **changed})

    def explain(self) -> str:
        """Describe in plain words what the strategy does, one sentence a line."""
        return explain(self)

    def canonical(self) -> dict[str, Any]:
        """The parts that decide results, in canonical form.

        Spacing, redundant brackets, the order of `define` and `params`, the spelling of a number (10, 10.0, 1e1), ranges and constraints
        make no difference. Names and the order of terms do.
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
        """SHA-256 (hex) of `canonical()`. Strategies with equal hashes give equal results on any bars."""
        return hashlib.sha256(msgspec.json.encode(self.canonical(), order="deterministic")).hexdigest()


def _check_name(kind: str, name: str, additional_timeframes: tuple[str, ...]) -> None:
    taken = _taken_names(additional_timeframes)
    if not isinstance(name, str) or not name.isidentifier() or not name.isascii() or len(name) > 60 or name in taken:
        why = "is reserved by the language" if name in taken else "is not a valid name"
        raise StrategyError(f"{name!r:.60} {why}", where=kind, hint="use letters, digits and _, such as fast")


@lru_cache(maxsize=256)
def _taken_names(additional_timeframes: tuple[str, ...]) -> frozenset[str]:
    words = {*SERIES, *FUNCTIONS}
    return frozenset(words | {f"{word}_{timeframe}" for timeframe in additional_timeframes for word in words})
