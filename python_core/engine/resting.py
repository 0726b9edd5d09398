"""Entries that rest in the market as limit or stop orders. The twin is `core_rs/src/simulation/resting.rs`."""

from __future__ import annotations

from typing import NamedTuple

from python_core.engine.prices import touches


class RestingEntry(NamedTuple):
    """A limit or stop entry in the market.

    Attributes:
        side: 1.0 for long, -1.0 for short.
        strategy_bar: that of its signal.
        level: its price, in whole ticks.
        placed_at: the base bar at whose open it was placed.
    """

    side: float
    strategy_bar: int
    level: float
    placed_at: int


class RestingEntries:
    """The resting entries, at most one for each side; all are limits or all are stops."""

    def __init__(self, *, are_limits: bool, limit_through: float, expires: int) -> None:
        self.are_limits, self.limit_through, self.expires = are_limits, limit_through if are_limits else 0.0, expires
        self.long: RestingEntry | None = None
        self.short: RestingEntry | None = None

    def all(self) -> list[RestingEntry]:
        """Those there are, long first."""
        return [entry for entry in (self.long, self.short) if entry is not None]

    def place(self, entry: RestingEntry) -> None:
        """Place an entry, in place of an older one of its side."""
        if entry.side > 0:
            self.long = entry
        else:
            self.short = entry

    def remove(self, side: float) -> None:
        """Remove the entry of a side."""
        if side > 0:
            self.long = None
        else:
            self.short = None

    def clear(self) -> None:
        """Remove both."""
        self.long = self.short = None

    def expire(self, due: int) -> int:
        """Remove those that expire as the orders of strategy bar `due` are due; returns their number."""
        expired = [entry for entry in self.all() if due >= entry.strategy_bar + self.expires]
        for entry in expired:
            self.remove(entry.side)
        return len(expired)

    def direction(self, entry: RestingEntry) -> float:
        """Direction of the price that touches it: a buy limit and a sell stop wait for a fall (-1.0), the others for a rise (1.0)."""
        return -entry.side if self.are_limits else entry.side

    def touched(self, entry: RestingEntry, price: float) -> bool:
        """Whether `price` touches it; goes through it, for a limit with `limit_through`."""
        return touches(price, entry.level, self.direction(entry), self.limit_through)
