"""The `config` of older requests: stops in percent, the direction, and values for the params of the strategy."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, cast

import msgspec

import python_core as bt
from api.http.older.filters import OlderFilter
from api.http.problems import FieldError, ProblemError, invalid_fields
from python_core.errors import StrategyError
from python_core.language.vocabulary import suggest
from python_core.levels import SIDES, Side
from python_core.strategy.params import Value, value_of, with_value

Config = Mapping[str, Any]

# The level of an execution that each percentage sets, and what the percentage must be below.
LEVELS: Final = {"stop_loss_pct": "stop_loss", "take_profit_pct": "take_profit"}
_BELOW: Final = {"stop_loss_pct": 100, "take_profit_pct": 1_000_000}
_OPPOSITE: Final = {"long": "short", "short": "long"}
_SETTINGS: Final = (*LEVELS, "direction")
_FILTER: Final = re.compile(r"(strategy\.)?htf_filters\.(?P<side>long|short)\[(?P<i>\d+)\]")


def check_config(config: Config) -> None:
    """Check what doesn't depend on the strategy.

    Raises:
        ValueError: names the setting.
    """
    for name, below in _BELOW.items():
        value = config.get(name)
        if value is not None and (isinstance(value, bool | str) or not isinstance(value, int | float) or not 0 < value < below):
            raise ValueError(
                f"config.{name}: {_shown(value)} is not a percentage; use a number above 0 and below {below:,}, such as 2 for 2 %"
            )
    if config.get("direction") not in (None, "both", *_OPPOSITE):
        raise ValueError(f"config.direction: {_shown(config['direction'])} is not a direction; use both, long or short")


def levels(config: Config) -> dict[str, float]:
    """The levels of an execution that a config sets, as fractions."""
    # In decimals, so that 0.6 % is 0.006.
    given = {level: config.get(name) for name, level in LEVELS.items()}
    return {level: float(Decimal(str(value)) / 100) for level, value in given.items() if value is not None}


def changes_strategy(config: Config) -> bool:
    return config.get("direction") in _OPPOSITE or any(name not in _SETTINGS for name in config)


def configure(strategy: bt.Strategy, config: Config, filters: tuple[OlderFilter, ...]) -> bt.Strategy:
    """The strategy with the params and the direction of a config, and with filters on all of its entries.

    Raises:
        ProblemError: names the settings, or the filters.
    """
    strategy = _with_direction(_with_params(strategy, config), config.get("direction"))
    if not filters:
        return strategy
    sides = [side for side in SIDES if getattr(strategy, f"entry_{side}").strip()]
    added = tuple(each.to_filter() for each in filters)
    merged = {side: (*strategy.htf_filters.get(side, ()), *added) for side in sides}
    try:
        return msgspec.structs.replace(strategy, htf_filters=merged)
    except StrategyError as error:
        raise _refused(error, f"$.{place_of_filter(error.where, merged, len(added)) or 'htf_filters'}") from error


def place_of_filter(where: str, merged: Mapping[Side, Sequence[Any]], added: int) -> str:
    """What the request calls `where`, if that is in one of the last `added` filters of a side, those of the request; otherwise empty."""
    found = _FILTER.match(where)
    i = int(found["i"]) - len(merged[cast(Side, found["side"])]) + added if found else -1
    return f"htf_filters[{i}]" if i >= 0 else ""


def _with_params(strategy: bt.Strategy, config: Config) -> bt.Strategy:
    known = [*_SETTINGS, *strategy.params]
    errors = [
        FieldError(path=f"$.config.{name:.60}", message="unknown setting", code="unknown_field", hint=suggest(name, known))
        for name in config
        if name not in known
    ]
    given = {name: value for name, value in config.items() if name in strategy.params and name not in _SETTINGS and value is not None}
    for name, value in given.items():
        default = value_of(strategy.params[name])
        if not isinstance(value, int | float | str) or _kind(value) != _kind(default):
            hint = f"the strategy has {default!r:.40}"
            errors.append(FieldError(path=f"$.config.{name}", message=f"expected {_kind(default)}, got {_shown(value)}", hint=hint))
    if errors:
        raise invalid_fields(*errors)
    if not given:
        return strategy
    path = f"$.config.{next(iter(given))}" if len(given) == 1 else "$.config"
    try:
        changed = {name: with_value(name, strategy.params[name], value) for name, value in given.items()}
    except StrategyError as error:  # out of its range
        path = f"$.config.{error.where.removeprefix('params.')}"
        raise invalid_fields(FieldError(path=path, message=error.message, code=error.code, hint=error.hint)) from error
    return _replace(strategy, path, params={**strategy.params, **changed})


def _shown(value: Any) -> str:
    """A value in a message; of one that may be large or deep, only its type."""
    return f"{value!r:.40}" if isinstance(value, int | float | str | None) else "a list" if isinstance(value, list) else "an object"


def _kind(value: Value) -> str:
    return "true or false" if isinstance(value, bool) else "text" if isinstance(value, str) else "a number"


def _with_direction(strategy: bt.Strategy, side: str | None) -> bt.Strategy:
    """The strategy without entries of the other side. Those closed positions of this side, so they are exits now."""
    if side not in _OPPOSITE:
        return strategy
    other = _OPPOSITE[side]
    if not getattr(strategy, f"entry_{side}").strip():
        hint = f"use {other} or both, or another strategy"
        raise invalid_fields(FieldError(path="$.config.direction", message=f"the strategy has no entry_{side}", hint=hint))
    exits = dict.fromkeys(filter(None, (strategy.condition(f"exit_{side}"), strategy.condition(f"entry_{other}"))))
    changes = {f"entry_{other}": "", f"exit_{other}": "", f"exit_{side}": " or ".join(f"({each})" for each in exits)}
    filters = {kept: filters for kept, filters in strategy.htf_filters.items() if kept == side}
    return _replace(strategy, "$.config.direction", htf_filters=filters, **changes)


def _replace(strategy: bt.Strategy, path: str, **changes: Any) -> bt.Strategy:
    """The strategy with other fields; `path` is the part of the request that they come from."""
    try:
        return msgspec.structs.replace(strategy, **changes)
    except StrategyError as error:
        raise _refused(error, path) from error


def _refused(error: StrategyError, path: str) -> ProblemError:
    message = f"{error.where}: {error.message}" if error.where else error.message
    return invalid_fields(FieldError(path=path, message=message, code=error.code, hint=error.hint))
