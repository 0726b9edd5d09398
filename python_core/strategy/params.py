"""Parameters of a strategy: a value to run with, the range to search, and constraints between them."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from python_core.errors import StrategyError
from python_core.language.compiler import Compiler
from python_core.language.parser import parse
from python_core.language.plan import Node, PlanBuilder
from python_core.numerics.elementwise import BINARY, COMPARISONS, UNARY, Operation

MAX_CHOICES: Final = 10_000
# A constraint is a relation of a few numbers; what the search must evaluate for each combination stays small.
MAX_CONSTRAINTS: Final = 20

Value = bool | int | float | str
Values = Mapping[str, Value]
Columns = Mapping[str, npt.NDArray[np.float64]]


class Param(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A parameter with its type, its default and what a search may try.

    A single run uses `default`. A search tries `min` to `max` by `step` (an int's step is 1 if not given), both values of a bool,
    or all `choices`. A value outside is refused everywhere.

    Raises:
        StrategyError: names the field and what would be right.
    """

    type: Literal["int", "float", "bool", "choice"]
    default: Value
    min: int | float | None = None
    max: int | float | None = None
    step: int | float | None = None
    choices: Annotated[tuple[Value, ...], Meta(max_length=MAX_CHOICES)] = ()

    def __post_init__(self) -> None:
        if self.type not in ("int", "float", "bool", "choice"):
            raise StrategyError(f"unknown type {self.type!r:.40}", where="type", hint="use int, float, bool or choice")
        limits = {name: value for name in ("min", "max", "step") if (value := getattr(self, name)) is not None}
        if limits and self.type not in ("int", "float"):
            raise StrategyError(f"a {self.type} has none", where=next(iter(limits)), hint="use it with int or float")
        for name, limit in limits.items():
            _check_number(self.type, name, limit)
        if self.min is not None and self.max is not None and self.min > self.max:
            raise StrategyError(f"{self.min} is above the max {self.max}", where="min", hint="exchange them")
        if self.step is not None and self.step <= 0:
            raise StrategyError(f"{self.step} is no step", where="step", hint="use a number above 0")
        msgspec.structs.force_setattr(self, "choices", tuple(self.choices))
        if bool(self.choices) != (self.type == "choice") or len(self.choices) > MAX_CHOICES:
            hint = f"give 1 to {MAX_CHOICES:,}" if self.type == "choice" else "use the type choice"
            raise StrategyError(f"{len(self.choices):,} choices for a {self.type}", where="choices", hint=hint)
        for choice in self.choices:
            _check_plain("choices", choice)
        self.check("default", self.default)

    def check(self, where: str, value: Value) -> None:
        """Refuse a value of another type or outside the range."""
        if self.type == "bool":
            if not isinstance(value, bool):
                raise StrategyError(f"{value!r:.40} is neither true nor false", where=where, hint="use true or false")
        elif self.type == "choice":
            if not any(value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in self.choices):
                known = ", ".join(map(str, self.choices[:10]))
                raise StrategyError(f"{value!r:.40} is not among the choices", where=where, hint=f"use one of {known}")
        else:
            number = _check_number(self.type, where, value)
            low, high = self.min, self.max
            if (low is not None and number < low) or (high is not None and number > high):
                allowed = f"at least {low}" if high is None else f"at most {high}" if low is None else f"{low} to {high}"
                raise StrategyError(f"{value} is out of range", where=where, hint=f"use {allowed}", code="out_of_range")

    def search_values(self) -> tuple[Value, ...] | None:
        """What a search tries; None if the parameter says nothing of it.

        Raises:
            StrategyError: a float has a range and no step.
        """
        if self.type == "bool":
            return False, True
        if self.type == "choice":
            return self.choices
        if self.min is None or self.max is None:
            return None
        if self.type == "float" and self.step is None:
            raise StrategyError("a float's range needs a step to be searched", where="step", hint="give a step, such as 0.5")
        # In decimals, so that 0.1 in steps of 0.1 comes by 0.3 and not by 0.30000000000000004.
        low, high, step = (Decimal(str(number)) for number in (self.min, self.max, self.step or 1))
        count = int((high - low) / step) + 1
        if count > MAX_CHOICES:
            raise StrategyError(f"{count:,} values", where="step", hint=f"use at most {MAX_CHOICES:,}: a greater step", code="too_large")
        return tuple(int(v) if self.type == "int" else float(v) for v in (low + step * i for i in range(count)))


def _check_number(type: str, where: str, value: Value) -> int | float:
    _check_plain(where, value)
    if isinstance(value, bool | str):
        raise StrategyError(f"{value!r:.40} is no number", where=where, hint="use a number")
    if type == "int" and value != math.floor(value):
        raise StrategyError(f"{value} is not whole", where=where, hint="use a whole number, or the type float")
    return value


def _check_plain(where: str, value: Any) -> None:
    if not isinstance(value, bool | int | float | str):
        raise StrategyError(f"{value!r:.60} is no number", where=where, hint="use a number, true or false")
    try:
        finite = isinstance(value, str) or math.isfinite(value)
    except OverflowError:
        finite = False
    if not finite:
        raise StrategyError("the number is not finite or too large", where=where, hint="use a finite number")


def checked(name: str, value: Any) -> Value | Param:
    """A strategy's parameter as given: a `Param`, a mapping of a Param's fields, or a plain value."""
    if isinstance(value, Param):
        return value
    if isinstance(value, Mapping):
        try:
            return msgspec.convert(value, Param)
        except msgspec.ValidationError as error:
            raise StrategyError(
                str(error), where=f"params.{name}", hint='as in {"type": "int", "default": 10, "min": 5, "max": 50}'
            ) from None
    _check_plain(f"params.{name}", value)
    plain: Value = value
    return plain


def value_of(param: Value | Param) -> Value:
    """What a single run uses."""
    return param.default if isinstance(param, Param) else param


def replaced(name: str, param: Value | Param, value: Value) -> Value | Param:
    """The parameter with another value, which must be in its range."""
    if not isinstance(param, Param):
        return value
    param.check(f"params.{name}", value)
    return msgspec.structs.replace(param, default=value)


def check_constraints(constraints: tuple[str, ...], values: Values) -> None:
    """Refuse values that break a constraint.

    Raises:
        StrategyError: the constraint can't be evaluated, or does not hold.
    """
    for i, text in enumerate(constraints):
        if not _holds(i, text, values, {})[0]:
            where = f"constraints[{i}]"
            used = {node.id for node in ast.walk(parse(where, text)) if isinstance(node, ast.Name)}
            state = " and ".join(f"{name} is {value}" for name, value in values.items() if name in used)
            raise StrategyError(f"{text} does not hold where {state}", where=where, hint="choose other params", code="constraint")


def allowed(constraints: tuple[str, ...], values: Values, columns: Columns) -> npt.NDArray[np.bool_]:
    """Which combinations keep all constraints: bool[combinations]. `columns` are the searched parameters, the others are in `values`."""
    count = len(next(iter(columns.values())))
    keep = np.ones(count, dtype=bool)
    for i, text in enumerate(constraints):
        keep &= _holds(i, text, values, columns)
    return keep


_LOGIC: Final[dict[str, Operation]] = {"and": np.logical_and, "or": np.logical_or, "not": np.logical_not, "select": np.where}
_OPERATIONS: Final[dict[str, Operation]] = {**UNARY, **BINARY, **COMPARISONS, **_LOGIC}


def _holds(i: int, text: str, values: Values, columns: Columns) -> npt.NDArray[np.bool_]:
    fixed = tuple((name, repr(value), value) for name, value in values.items() if name not in columns)
    nodes, last = _compile(i, text, tuple(columns), fixed)
    count = len(next(iter(columns.values()), (0,)))
    results: list[npt.NDArray[Any]] = []
    with np.errstate(all="ignore"):
        for node in nodes:
            if node.op == "param":
                results.append(columns[tuple(columns)[int(node.args[0])]])
            elif node.op in ("const", "truth"):
                results.append(np.full(count, bool(node.args[0]) if node.op == "truth" else node.args[0]))
            else:
                results.append(_OPERATIONS[node.op](*(results[k] for k in node.inputs)))
    holds: npt.NDArray[np.bool_] = results[last]
    return holds


@lru_cache(maxsize=256)
def _compile(i: int, text: str, open: tuple[str, ...], fixed: tuple[tuple[str, str, Value], ...]) -> tuple[tuple[Node, ...], int]:
    where = f"constraints[{i}]"
    builder = PlanBuilder(open)
    last = Compiler(builder, {name: value for name, _, value in fixed}, {}).condition(where, text)
    for node in builder.nodes:
        if node.op not in _OPERATIONS and node.op not in ("param", "const", "truth"):
            raise StrategyError(f"{node.op} is not known before a run", where=where, hint="compare params and numbers, as in fast < slow")
    return tuple(builder.nodes), last
