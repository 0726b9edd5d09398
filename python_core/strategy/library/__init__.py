"""Well-known strategies, one JSON file each: idea, source, params with ranges, and a suitable execution.

Example:
    import python_core as bt

    turtle = bt.library.load("donchian-turtle")
    bt.backtest(bt.synthetic(1_000), turtle.strategy, turtle.execution)
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


class LibraryStrategy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A strategy to start from. It shows how an idea is written down; it doesn't claim to make money."""

    name: Annotated[str, Meta(description="Name in the library.", examples=["bollinger-reversion"])]
    title: Annotated[str, Meta(description="Title to display.")]
    idea: Annotated[str, Meta(description="Why it might work, and how it trades.")]
    source: Annotated[str, Meta(description="Who described it, and where.")]
    strategy: Annotated[Strategy, Meta(description="The strategy.")]
    execution: Annotated[Execution, Meta(description="Stops, size and pyramiding that suit it.")]


@lru_cache(maxsize=1)
def names() -> tuple[str, ...]:
    """Names of the library's strategies, sorted."""
    return tuple(sorted(file.name.removesuffix(".json") for file in files(__name__).iterdir() if file.name.endswith(".json")))


@lru_cache(maxsize=100)
def load(name: str) -> LibraryStrategy:
    """One strategy of the library.

    Raises:
        StrategyError: unknown name.
    """
    if name not in names():
        nearest = difflib.get_close_matches(str(name)[:60], names(), n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"it has {', '.join(names())}"
        raise StrategyError(f"the library has no strategy {name!r:.60}", where="library", hint=hint, code="unknown_name")
    return msgspec.json.decode(files(__name__).joinpath(f"{name}.json").read_bytes(), type=LibraryStrategy)


def load_all() -> tuple[LibraryStrategy, ...]:
    """All strategies of the library, sorted by name."""
    return tuple(map(load, names()))
