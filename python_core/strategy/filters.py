"""The multi-timeframe fields of a strategy, which are shorthands for calls of `at` in its expressions."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec import Meta

from python_core.data import timeframes
from python_core.errors import BarstormError, StrategyError
from python_core.language.normalize import at_call, desugar, normalize
from python_core.levels import MAX_EXPRESSION, Expression

MAX_FILTERS: Final = 20
MAX_TIMEFRAMES: Final = 2 * len(timeframes.MILLISECONDS)

Condition = Annotated[
    str,
    Meta(
        max_length=MAX_EXPRESSION,
        description="True on the bars that give this signal; empty: never.",
        examples=["crossover(sma(close, fast), sma(close, slow))"],
        extra_json_schema={"format": "expression"},
    ),
]
Side = Literal["long", "short"]


class TimeframeFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A condition on a higher timeframe that must be true for entries of a side: a shorthand for `and at(timeframe, condition)`."""

    timeframe: Annotated[timeframes.Timeframe, Meta(description="Timeframe of the condition, such as 4h or 1M (a month).", examples=["4h"])]
    condition: Annotated[
        Expression, Meta(description="Condition, evaluated on the bars of this timeframe.", examples=["close > ema(close, 50)"])
    ]

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "timeframe", timeframes.parse(self.timeframe))


Filters = dict[Side, tuple[TimeframeFilter, ...]]
# msgspec's own schema of such a mapping allows any key.
FILTERS_SCHEMA: Final = {
    "title": "TimeframeFilters",
    "properties": {
        side: {
            "description": f"Filters of {side} entries.",
            "type": "array",
            "items": msgspec.json.schema_components([TimeframeFilter], ref_template="{name}")[1]["TimeframeFilter"],
            "maxItems": MAX_FILTERS,
        }
        for side in get_args(Side)
    },
    "additionalProperties": False,
}


def parse_timeframes(given: Any) -> tuple[str, ...]:
    """Canonical names of additional timeframes, without duplicates.

    Raises:
        StrategyError: not a list, or an unknown timeframe.
    """
    if isinstance(given, str) or not isinstance(given, tuple | list) or len(given) > MAX_TIMEFRAMES:
        raise StrategyError(
            f"not a list, or too long: {given!r:.60}", where="additional_timeframes", hint='use a list such as ["4h", "1d"]'
        )
    try:
        return tuple(dict.fromkeys(timeframes.parse(value) for value in given))
    except BarstormError as error:
        raise StrategyError(error.message, where="additional_timeframes", hint=error.hint, code=error.code) from None


def parse_filters(given: Any) -> Filters:
    """Filters of each side, from structs or from mappings.

    Raises:
        StrategyError: names the side, the filter and the field.
    """
    if not isinstance(given, Mapping) or any(side not in ("long", "short") for side in given):
        raise StrategyError(
            f"expected a mapping of sides, got {given!r:.60}", where="htf_filters", hint='use {"long": [...], "short": [...]}'
        )
    result: Filters = {}
    for side, filters in given.items():
        where = f"htf_filters.{side}"
        hint = 'use a list such as [{"timeframe": "4h", "condition": "close > ema(close, 50)"}]'
        if not isinstance(filters, tuple | list):
            raise StrategyError(f"expected a list, got {filters!r:.60}", where=where, hint=hint)
        if len(filters) > MAX_FILTERS:
            raise StrategyError(f"{len(filters):,} filters", where=where, hint=f"use at most {MAX_FILTERS}", code="too_large")
        try:
            result[side] = tuple(each if isinstance(each, TimeframeFilter) else msgspec.convert(each, TimeframeFilter) for each in filters)
        except (msgspec.ValidationError, UnicodeError) as error:  # a lone surrogate
            raise StrategyError(str(error), where=where, hint=hint) from None
        except BarstormError as error:
            raise StrategyError(error.message, where=where, hint=error.hint, code=error.code) from None
    return {side: filters for side, filters in result.items() if filters}


def join_filters(
    where: str, text: str, filters: tuple[TimeframeFilter, ...], timeframes: tuple[str, ...], define: Mapping[str, str]
) -> str:
    """A condition joined with its filters, in canonical form."""
    return _join_filters(where, text, filters, timeframes, tuple(define)) if text.strip() else ""


# Every fingerprint needs it, and most runs share their conditions with others.
@lru_cache(maxsize=1024)
def _join_filters(where: str, text: str, filters: tuple[TimeframeFilter, ...], timeframes: tuple[str, ...], names: tuple[str, ...]) -> str:
    tree = desugar(where, text, timeframes, names)
    parts = [at_call(each.timeframe, desugar("htf_filters", each.condition, timeframes, names)) for each in filters]
    return ast.unparse(normalize(ast.BoolOp(ast.And(), [tree, *parts]) if parts else tree))
