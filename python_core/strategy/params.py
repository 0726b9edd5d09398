"""Parameters of a strategy: default values, ranges to search, and constraints."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from python_core.errors import StrategyError
from python_core.language.compiler import Compiler
from python_core.language.parser import parse
from python_core.language.plan import Node, PlanBuilder
from python_core.numerics.elementwise import BINARY, COMPARISONS, UNARY, Operation
from python_core.numerics.scalars import plain

MAX_CHOICES: Final = 10_000
# A search evaluates every constraint for every combination.
MAX_CONSTRAINTS: Final = 20

Value = bool | int | float | str
ParamType = Literal["int", "float", "bool", "choice"]
Values = Mapping[str, Value]
Columns = Mapping[str, npt.NDArray[np.float64]]


class Param(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A parameter of a strategy: its type, its default and the range of a search.

    A single run uses `default`. A search tries `min` to `max` in steps of `step` (1 by default for an int), both values of a bool, or all
    `choices`. Values outside the range are rejected everywhere.

    Raises:
        StrategyError: names the field and what would be right.

    Example:
        bt.Param(type="int", default=10, min=5, max=50, step=5)
    """

    type: Annotated[ParamType, Meta(description="Type of its values.")]
    default: Annotated[Value, Meta(description="Value that a single run uses.")]
    min: Annotated[int | float | None, Meta(description="Smallest value, a number; only of int and float.")] = None
    max: Annotated[int | float | None, Meta(description="Largest value, a number; only of int and float.")] = None
    step: Annotated[int | float | None, Meta(description="Step of a search from `min` to `max`, a number; default of an int: 1.")] = None
    choices: Annotated[tuple[Value, ...], Meta(max_length=MAX_CHOICES, description="Values of a choice.")] = ()

    def __post_init__(self) -> None:
        for name in ("default", "min", "max", "step"):
            msgspec.structs.force_setattr(self, name, plain(getattr(self, name)))
        if self.type not in get_args(ParamType):
            raise StrategyError(f"unknown type {self.type!r:.40}", where="type", hint="use int, float, bool or choice")
        limits = {name: value for name in ("min", "max", "step") if (value := getattr(self, name)) is not None}
        if limits and self.type not in ("int", "float"):
            raise StrategyError(f"a {self.type} has no {(name := next(iter(limits)))}", where=name, hint="use it with int or float")
        for name, limit in limits.items():
            _check_number(self.type, name, limit)
        if self.min is not None and self.max is not None and self.min > self.max:
            raise StrategyError(f"{self.min} is above max {self.max}", where="min", hint="swap them")
        if self.step is not None and self.step <= 0:
            raise StrategyError(f"{self.step} is not positive", where="step", hint="use a number above 0")
        msgspec.structs.force_setattr(self, "choices", tuple(map(plain, self.choices)))
        if bool(self.choices) != (self.type == "choice") or len(self.choices) > MAX_CHOICES:
            hint = f"give 1 to {MAX_CHOICES:,}" if self.type == "choice" else "use the type choice"
            raise StrategyError(f"{len(self.choices):,} choices for the type {self.type}", where="choices", hint=hint)
        for choice in self.choices:
            _check_plain("choices", choice)
        self.check("default", self.default)

    def check(self, where: str, value: Value) -> None:
        """Check a value's type and range.

        Raises:
            StrategyError: a value of another type or out of range, with `where` as its place.
        """
        if self.type == "bool":
            if not isinstance(value, bool):
                raise StrategyError(f"expected true or false, got {value!r:.40}", where=where, hint="use true or false")
        elif self.type == "choice":
            if not any(value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in self.choices):
                known = ", ".join(map(str, self.choices[:10]))
                raise StrategyError(f"{value!r:.40} is not one of the choices", where=where, hint=f"use one of {known}")
        else:
            number = _check_number(self.type, where, value)
            low, high = self.min, self.max
            if (low is not None and number < low) or (high is not None and number > high):
                allowed = f"at least {low}" if high is None else f"at most {high}" if low is None else f"{low} to {high}"
                raise StrategyError(f"{value} is out of range", where=where, hint=f"use {allowed}", code="out_of_range")

    def search_values(self) -> tuple[Value, ...] | None:
        """Values that a search tries; None if the parameter has no range.

        Raises:
            StrategyError: a float's range without a step, or too many values.
        """
        if self.type == "bool":
            return False, True
        if self.type == "choice":
            return self.choices
        if self.min is None or self.max is None:
            return None
        if self.type == "float" and self.step is None:
            raise StrategyError("a search over floats needs a step", where="step", hint="give one, such as 0.5")
        # In decimals, so that 0.1 in steps of 0.1 gives 0.3 and not 0.30000000000000004.
        low, high, step = (Decimal(str(number)) for number in (self.min, self.max, self.step or 1))
        count = int((high - low) / step) + 1
        if count > MAX_CHOICES:
            raise StrategyError(
                f"the range has {count:,} values", where="step", hint=f"use at most {MAX_CHOICES:,}, with a larger step", code="too_large"
            )
        return tuple(int(v) if self.type == "int" else float(v) for v in (low + step * i for i in range(count)))


def _check_number(type: str, where: str, value: Value) -> int | float:
    _check_plain(where, value)
    if isinstance(value, bool | str):
        raise StrategyError(f"expected a number, got {value!r:.40}", where=where, hint="use a number")
    if type == "int" and value != math.floor(value):
        raise StrategyError(f"{value} is not an integer", where=where, hint="use an integer, or the type float")
    return value


def _check_plain(where: str, value: Any) -> None:
    if not isinstance(value, bool | int | float | str):
        raise StrategyError(f"expected a plain value, got {value!r:.60}", where=where, hint="use a number, text, true or false")
    try:
        finite = isinstance(value, str) or math.isfinite(value)
    except OverflowError:
        finite = False
    if not finite:
        raise StrategyError("the number is not finite or too large", where=where, hint="use a finite number")


def parse_param(name: str, value: Any) -> Value | Param:
    """A parameter from a `Param`, a mapping of its fields, or a plain value.

    Raises:
        StrategyError: names the parameter and what would be right.
    """
    if isinstance(value, Param):
        return value
    if isinstance(value, Mapping):
        try:
            return msgspec.convert(value, Param)
        except msgspec.ValidationError as error:
            raise StrategyError(
                str(error), where=f"params.{name}", hint='use fields such as {"type": "int", "default": 10, "min": 5, "max": 50}'
            ) from None
    value = plain(value)
    _check_plain(f"params.{name}", value)
    given: Value = value
    return given


def value_of(param: Value | Param) -> Value:
    """The value in a single run."""
    return param.default if isinstance(param, Param) else param


def with_value(name: str, param: Value | Param, value: Value) -> Value | Param:
    """The parameter with another value, which must be within its range."""
    value = plain(value)
    if not isinstance(param, Param):
        return value
    param.check(f"params.{name}", value)
    return msgspec.structs.replace(param, default=value)


def check_constraints(constraints: tuple[str, ...], values: Values) -> None:
    """Check that values meet all constraints.

    Raises:
        StrategyError: a constraint that can't be evaluated, or that doesn't hold.
    """
    for i, text in enumerate(constraints):
        if not _evaluate_constraint(i, text, values, {})[0]:
            where = f"constraints[{i}]"
            used = {node.id for node in ast.walk(parse(where, text)) if isinstance(node, ast.Name)}
            state = " and ".join(f"{name} is {value}" for name, value in values.items() if name in used)
            raise StrategyError(f"{text} does not hold: {state}", where=where, hint="choose other params", code="constraint")


def meet_constraints(constraints: tuple[str, ...], values: Values, columns: Columns) -> npt.NDArray[np.bool_]:
    """Which combinations meet all constraints, bool[combinations]. `columns` holds the searched parameters, `values` the others."""
    count = len(next(iter(columns.values())))
    meets = np.ones(count, dtype=bool)
    for i, text in enumerate(constraints):
        meets &= _evaluate_constraint(i, text, values, columns)
    return meets


_LOGIC: Final[dict[str, Operation]] = {"and": np.logical_and, "or": np.logical_or, "not": np.logical_not, "select": np.where}
_OPERATIONS: Final[dict[str, Operation]] = {**UNARY, **BINARY, **COMPARISONS, **_LOGIC}


def _evaluate_constraint(i: int, text: str, values: Values, columns: Columns) -> npt.NDArray[np.bool_]:
    fixed = tuple((name, repr(value), value) for name, value in values.items() if name not in columns)
    nodes, last = _compile(i, text, tuple(columns), fixed)
    count = len(next(iter(columns.values()), (0,)))
    results: list[npt.NDArray[Any]] = []
    with np.errstate(all="ignore"):
        for node in nodes:
            if node.op == "param":
                results.append(columns[tuple(columns)[int(node.args[0])]])
            elif node.op in ("const", "const_condition"):
                results.append(np.full(count, bool(node.args[0]) if node.op == "const_condition" else node.args[0]))
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
        if node.op not in _OPERATIONS and node.op not in ("param", "const", "const_condition"):
            raise StrategyError(
                f"{node.op} is not known before a run", where=where, hint="compare params and numbers only, as in fast < slow"
            )
    return tuple(builder.nodes), last
