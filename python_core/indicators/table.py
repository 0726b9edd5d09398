"""What an indicator is: one row of the table from which compiler, engines, tests and documentation take all they know of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

Series = npt.NDArray[np.float64]

MAX_LOOKBACK: Final = 1_000_000


class Argument(NamedTuple):
    """A number that an indicator takes, between `least` and `most`; without a default it must be given."""

    name: str
    default: float | None = None
    least: float = 1.0
    most: float = float(MAX_LOOKBACK)
    whole: bool = True


def length(name: str = "length", default: int | None = None, most: int = MAX_LOOKBACK) -> Argument:
    """A whole number of bars, from 1."""
    return Argument(name, None if default is None else float(default), 1.0, float(most))


def number(name: str, default: float | None = None, least: float = 0.0, most: float = 1e6) -> Argument:
    return Argument(name, default, least, most, whole=False)


class Indicator(NamedTuple):
    """A function of the language.

    A call gives conditions, then series, then arguments. `implied` are series that it reads besides: columns of the bars and `time`
    (open time, epoch milliseconds). Several `outputs` are written with a point and a name, as in `macd(close).hist`; the first is meant
    without.

    Either `reference` computes it: conditions (1, 0 or NaN), series, implied series and arguments to one float64[n] for each output,
    known `warm_up(*arguments)` bars after its inputs. Or it is made of others: `formula` has a text in the language for each output,
    and for what they share; in it stand the names of conditions, series, arguments and texts.
    """

    description: str
    series: tuple[str, ...] = ("series",)
    arguments: tuple[Argument, ...] = ()
    conditions: tuple[str, ...] = ()
    implied: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    reference: Callable[..., Any] | None = None
    warm_up: Callable[..., int] = lambda *arguments: 0
    formula: Mapping[str, str] = MappingProxyType({})
    # Whether it may not be known after the warm-up, either: what it asks for may not have been there yet.
    may_stay_unknown: bool = False

    @property
    def parameters(self) -> tuple[str, ...]:
        """What a call writes, in order."""
        return (*self.conditions, *self.series, *(argument.name for argument in self.arguments))

    @property
    def required(self) -> int:
        """How many of them have no default."""
        return len(self.conditions) + len(self.series) + sum(argument.default is None for argument in self.arguments)

    def values(self, numbers: tuple[float, ...]) -> tuple[int | float, ...]:
        """The arguments among a plan operation's numbers, as `reference` and `warm_up` take them."""
        return tuple(int(x) if argument.whole else x for argument, x in zip(self.arguments, numbers, strict=False))

    def compute(self, inputs: list[Series], numbers: tuple[float, ...]) -> tuple[Series, ...]:
        """Every output, for a plan operation's inputs and numbers."""
        assert self.reference is not None
        result = self.reference(*inputs, *self.values(numbers))
        return result if self.outputs else (result,)


def primitive(reference: Callable[..., Any], *arguments: Argument, **fields: Any) -> Indicator:
    """An indicator with a function of its own, described by its docstring."""
    return Indicator(reference.__doc__ or "", arguments=arguments, reference=reference, **fields)


def composite(description: str, *arguments: Argument, formula: str | Mapping[str, str], **fields: Any) -> Indicator:
    """An indicator made of others."""
    texts = {"value": formula} if isinstance(formula, str) else formula
    return Indicator(description, arguments=arguments, formula=MappingProxyType(dict(texts)), **fields)
