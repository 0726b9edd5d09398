"""The definition of an indicator: a row of the table that the compiler, engines, tests and documentation read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

Series = npt.NDArray[np.float64]

MAX_LOOKBACK: Final = 1_000_000


class Argument(NamedTuple):
    """A numeric argument of an indicator, from `minimum` to `maximum`; required if it has no default."""

    name: str
    default: float | None = None
    minimum: float = 1.0
    maximum: float = float(MAX_LOOKBACK)
    integer: bool = True


def length(name: str = "length", default: int | None = None, maximum: int = MAX_LOOKBACK) -> Argument:
    """A number of bars, at least 1."""
    return Argument(name, None if default is None else float(default), 1.0, float(maximum))


def number(name: str, default: float | None = None, minimum: float = 0.0, maximum: float = 1e6) -> Argument:
    return Argument(name, default, minimum, maximum, integer=False)


class Indicator(NamedTuple):
    """A function of the language.

    A call passes conditions, then series, then arguments. `implied` names further series that it reads: columns of the bars, averages of
    these such as hlc3, and `time` (open time, epoch milliseconds). One of several `outputs` is selected with a dot, as in `macd(close).hist`; the first is the default.

    A primitive has a `reference`: a function of conditions (1, 0 or NaN), series, implied series and arguments that returns one float64[n]
    for each output, known `warm_up(*arguments)` bars after its inputs. A composite has a `formula`: an expression for each output and for
    shared intermediate values, which may use the names of conditions, series, arguments and other entries.
    """

    description: str
    series: tuple[str, ...] = ("series",)
    arguments: tuple[Argument, ...] = ()
    conditions: tuple[str, ...] = ()
    implied: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    reference: Callable[..., Any] | None = None
    warm_up: Callable[..., int] = lambda *arguments: 0
    # Bars after which the value hardly depends on where the data begins: less than 5e-5 of it. None: as `warm_up`.
    settle: Callable[..., int] | None = None
    formula: Mapping[str, str] = MappingProxyType({})
    # Whether it may be unknown even after the warm-up, as before a condition has ever been true.
    may_stay_unknown: bool = False

    @property
    def parameters(self) -> tuple[str, ...]:
        """The parameters of a call, in order."""
        return (*self.conditions, *self.series, *(argument.name for argument in self.arguments))

    @property
    def required(self) -> int:
        """Number of parameters without a default."""
        return len(self.conditions) + len(self.series) + sum(argument.default is None for argument in self.arguments)

    def values(self, numbers: tuple[float, ...]) -> tuple[int | float, ...]:
        """The arguments among the numbers of a plan operation, in the types that `reference` and `warm_up` expect."""
        return tuple(int(x) if argument.integer else x for argument, x in zip(self.arguments, numbers, strict=False))

    def compute(self, inputs: list[Series], numbers: tuple[float, ...]) -> tuple[Series, ...]:
        """All outputs, for the inputs and numbers of a plan operation."""
        assert self.reference is not None
        result = self.reference(*inputs, *self.values(numbers))
        return result if self.outputs else (result,)


def primitive(reference: Callable[..., Any], *arguments: Argument, **fields: Any) -> Indicator:
    """An indicator with its own function, whose docstring is the description."""
    return Indicator(reference.__doc__ or "", arguments=arguments, reference=reference, **fields)


def composite(description: str, *arguments: Argument, formula: str | Mapping[str, str], **fields: Any) -> Indicator:
    """An indicator defined in terms of others."""
    texts = {"value": formula} if isinstance(formula, str) else formula
    return Indicator(description, arguments=arguments, formula=MappingProxyType(dict(texts)), **fields)
