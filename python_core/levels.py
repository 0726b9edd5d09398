"""Levels of price: stops, targets and resting entries, for both sides or for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from python_core.errors import ExecutionError
from python_core.limits import check_integer, check_number, format_value
from python_core.numerics.scalars import plain

Side = Literal["long", "short"]
SIDES: Final[tuple[Side, Side]] = ("long", "short")
MAX_EXPRESSION: Final = 2_000
# A text of the strategy language.
Expression = Annotated[str, Meta(min_length=1, max_length=MAX_EXPRESSION, extra_json_schema={"format": "expression"})]
Fraction = Annotated[float, Meta(gt=0, lt=1)]
Profit = Annotated[float, Meta(gt=0)]


class Atr(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A distance of `multiple` times the average true range (Wilder) over `period` strategy bars, measured at the signal bar."""

    multiple: Annotated[float, Meta(gt=0, description="Multiple of the average true range.", examples=[2.0])]
    period: Annotated[int, Meta(ge=1, le=10_000, description="Period of the average, in strategy bars.")] = 14

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            msgspec.structs.force_setattr(self, name, plain(getattr(self, name)))
        check_number("atr.multiple", self.multiple, above=0)
        check_integer("atr.period", self.period, minimum=1, maximum=10_000)


class PerSide(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A level for long positions and another for short ones: each a number, an `Atr`, an expression, or None for no level on that side.

    Example:
        bt.Execution(stop_loss=bt.PerSide(long="low - atr(14)", short="high + atr(14)"))
    """

    long: Any = None
    short: Any = None

    def __post_init__(self) -> None:
        for side in SIDES:
            msgspec.structs.force_setattr(self, side, parse_level(side, getattr(self, side)))


_LEVEL_HINT: Final = 'use a number, an expression, {"multiple": 2, "period": 14}, or {"long": ..., "short": ...} of these'


def parse_level(where: str, value: Any) -> Any:
    """A level with mappings turned into `Atr` or `PerSide` and NumPy scalars into numbers.

    Raises:
        ExecutionError: a mapping that is neither, or numbers of an `Atr` out of range; `where` names the level.
    """
    if not isinstance(value, Mapping):
        return plain(value)
    names = set(value)
    if names and names <= {"long", "short"}:
        return PerSide(**{side: parse_level(f"{where}.{side}", part) for side, part in value.items()})
    if "multiple" in names and names <= {"multiple", "period"}:
        try:
            return Atr(**value)
        except ExecutionError as error:
            raise ExecutionError(error.message, where=error.where.replace("atr", where, 1), hint=error.hint) from None
    raise ExecutionError(f"{format_value(dict(value))} is not a level", where=where, hint=_LEVEL_HINT)


def check_level(where: str, level: Any, *, below: float | None) -> None:
    """Check a level of an execution; fractions are above 0 and, unless `below` is None, below it.

    Raises:
        ExecutionError: names the field, and the side of a level for each side.
    """
    if isinstance(level, PerSide):
        if level.long is None and level.short is None:
            raise ExecutionError("neither side has a level", where=where, hint="give a level for at least one side, or none at all")
        for side in SIDES:
            if isinstance(part := getattr(level, side), PerSide):
                raise ExecutionError(f"{format_value(part)} is not a level of one side", where=f"{where}.{side}", hint=_LEVEL_HINT)
            check_level(f"{where}.{side}", part, below=below)
    elif isinstance(level, str):
        if not 0 < len(level) <= MAX_EXPRESSION:
            raise ExecutionError(f"the expression has {len(level)} characters", where=where, hint=f"use 1 to {MAX_EXPRESSION}")
    elif level is not None and not isinstance(level, Atr):
        check_number(where, level, above=0, below=below)


def of_side(level: Any, side: Side) -> Any:
    """The level of one side: a number, an `Atr`, an expression or None."""
    return getattr(level, side) if isinstance(level, PerSide) else level


if TYPE_CHECKING:
    FractionLevel = float | str | Atr | PerSide | Mapping[str, Any] | None
    ProfitLevel = FractionLevel
else:
    # msgspec decodes no union of two structs, so objects are decoded as mappings and parsed by Execution.
    _ATR_SCHEMA = msgspec.json.schema_components([Atr], ref_template="{name}")[1]["Atr"]

    def _level_type(number, title):
        parts = msgspec.json.schema_components([number | Expression | None], ref_template="{name}")[0][0]["anyOf"]
        one_side = {"anyOf": [*parts, _ATR_SCHEMA], "examples": [0.02]}
        sides = {
            "title": title,
            "description": "A level for each side; null for none.",
            "type": "object",
            "properties": {side: {"description": f"Level of {side} positions; null: none.", **one_side} for side in SIDES},
            "minProperties": 1,
            "additionalProperties": False,
        }
        return number | Expression | Annotated[dict[str, Any], Meta(extra_json_schema={"anyOf": [_ATR_SCHEMA, sides]})] | None

    FractionLevel = _level_type(Fraction, "FractionPerSide")
    ProfitLevel = _level_type(Profit, "ProfitPerSide")
