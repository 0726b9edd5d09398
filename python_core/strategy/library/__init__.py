"""Well-known strategies, one JSON file each: the idea, where it comes from, params with ranges, and rules that suit it.

from python_core import library

turtle = library.load("donchian-turtle")
result = bt.backtest(bars, turtle.strategy, turtle.execution)
"""

from __future__ import annotations

import difflib
from functools import lru_cache
from importlib.resources import files
from typing import Annotated

import msgspec
from msgspec import Meta

from python_core.errors import StrategyError
from python_core.execution import Execution
from python_core.strategy.strategy import Strategy


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A strategy to start from. It shows how an idea is written down; that it ever made money is not implied."""

    name: str
    title: str
    idea: Annotated[str, Meta(description="Why it might work, and how it trades.")]
    source: Annotated[str, Meta(description="Who described it, and where.")]
    strategy: Strategy
    execution: Annotated[Execution, Meta(description="Rules that suit it: stops, size, pyramiding.")]


@lru_cache(maxsize=1)
def names() -> tuple[str, ...]:
    """The names of all strategies of the library, sorted."""
    return tuple(sorted(file.name.removesuffix(".json") for file in files(__name__).iterdir() if file.name.endswith(".json")))


@lru_cache(maxsize=100)
def load(name: str) -> Recipe:
    """One strategy of the library.

    Raises:
        StrategyError: there is none of this name.
    """
    if name not in names():
        nearest = difflib.get_close_matches(str(name)[:60], names(), n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"it has {', '.join(names())}"
        raise StrategyError(f"the library has no {name!r:.60}", where="library", hint=hint, code="unknown_name")
    return msgspec.json.decode(files(__name__).joinpath(f"{name}.json").read_bytes(), type=Recipe)


def every() -> tuple[Recipe, ...]:
    """All strategies of the library, by name."""
    return tuple(map(load, names()))
