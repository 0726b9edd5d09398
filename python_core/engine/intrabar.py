"""What happens between the open and the close of a bar. The twin is `core_rs/src/simulation/intrabar.rs`.

A bar has its extremes but not their order, so `intrabar` decides which side of the open is reached first.
"""

from __future__ import annotations

from typing import NamedTuple

from python_core.engine.fills import Fills
from python_core.engine.position import Position
from python_core.engine.resting import RestingEntry


class Extremes(NamedTuple):
    """The worst and the best price that a position meets in a bar."""

    worst: float
    best: float


class InsideBar:
    """The levels inside one bar."""

    def __init__(self, fills: Fills) -> None:
        self.fills, self.account, self.resting = fills, fills.account, fills.resting
        self.intrabar = fills.execution.intrabar
        self.is_ambiguous = False

    def run(self) -> None:
        """Fill what the bar touches, and count it if it is ambiguous."""
        if (position := self.account.position) is not None:
            self._trade_position(position)
        else:
            self._enter_flat()
        self.fills.ambiguous_bars += self.is_ambiguous

    def _enter_flat(self) -> None:
        touched = [entry for entry in self.resting.all() if self._touched(entry)]
        self.is_ambiguous = len(touched) == 2
        touched.sort(key=lambda entry: abs(entry.level - self.fills.open[self.fills.i]))
        for entry in touched:
            if self.fills.fill_resting_inside(entry):
                self._exits_after(entry)
                return

    def _touched(self, entry: RestingEntry) -> bool:
        """Whether the bar touches a resting entry that can fill."""
        if not self.fills.can_fill(entry):
            return False
        i = self.fills.i
        return self.resting.touched(entry, self.fills.high[i] if self.resting.direction(entry) > 0 else self.fills.low[i])

    def _trade_position(self, position: Position) -> None:
        extremes = Extremes(self.fills.adverse_extreme(position), self.fills.favourable_extreme(position))
        entries = [entry for entry in self.resting.all() if self._touched(entry)]
        against = [entry for entry in entries if self.resting.direction(entry) != position.side]
        in_favour = [entry for entry in entries if self.resting.direction(entry) == position.side]
        adverse = bool(against) or self._touches_exit(position, extremes.worst)
        favourable = bool(in_favour) or self._touches_profit(position, extremes.best)
        self.is_ambiguous = adverse and favourable
        sides = [(self._go_against, against, extremes.worst), (self._go_in_favour, in_favour, extremes.best)]
        if self.intrabar == "optimistic" or (self.intrabar == "path" and self._favourable_is_nearer(extremes)):
            sides.reverse()
        for go, waiting, extreme in sides:
            if not go(position, waiting, extreme):
                return

    def _favourable_is_nearer(self, extremes: Extremes) -> bool:
        open_price = self.fills.open[self.fills.i]
        return abs(extremes.best - open_price) < abs(open_price - extremes.worst)

    def _touches_exit(self, position: Position, worst: float) -> bool:
        """Whether the stop or the liquidation is touched by the worst price."""
        stop, _ = position.stop_level()
        return (stop is not None and position.falls_to(worst, stop)) or self._is_liquidated(position, worst)

    def _is_liquidated(self, position: Position, worst: float) -> bool:
        level = position.liquidation_level
        return level is not None and position.falls_to(self.fills.liquidation_extreme(position, worst), level)

    def _touches_profit(self, position: Position, best: float) -> bool:
        """Whether the next profit level is touched by the best price."""
        level = position.next_profit_level()
        return level is not None and position.reaches_profit(best, level)

    def _go_against(self, position: Position, entries: list[RestingEntry], worst: float) -> bool:
        """Fill levels on the way to the worst price, the nearest first. Returns whether the position is as it was."""
        for entry in sorted(entries, key=lambda entry: -position.side * entry.level):
            if self._exit(position, worst, before=entry.level):
                return False
            if not self._fill(position, entry):
                return False
        return not self._exit(position, worst)

    def _go_in_favour(self, position: Position, entries: list[RestingEntry], best: float) -> bool:
        """Fill levels on the way to the best price, the nearest first. Returns whether the other side can still be reached."""
        for entry in sorted(entries, key=lambda entry: position.side * entry.level):
            if self._take_profits(position, best, before=entry.level):
                return False
            if not self._fill(position, entry):
                return False
        return not self._take_profits(position, best)

    def _fill(self, position: Position, entry: RestingEntry) -> bool:
        """Fill a resting entry. Returns whether it was rejected and has left the position as it was."""
        if self.fills.fill_resting_inside(entry):
            self._exits_after(entry)
            return False
        return self.account.position is position

    def _exit(self, position: Position, worst: float, before: float | None = None) -> bool:
        """Close the position at its stop or by liquidation, whichever is nearer, unless it lies beyond `before`. Returns whether it was."""
        side = position.side
        stop, reason = position.stop_level()
        if stop is not None and not position.falls_to(worst, stop):
            stop = None
        liquidation = position.liquidation_level if self._is_liquidated(position, worst) else None
        if stop is not None and (liquidation is None or side * stop >= side * liquidation):
            if before is not None and side * stop < side * before:
                return False
            self.fills.stop_out(self.fills.inside(stop), reason)
            return True
        if liquidation is None or (before is not None and side * liquidation < side * before):
            return False
        self.fills.liquidate()
        return True

    def _take_profits(self, position: Position, best: float, before: float | None = None) -> bool:
        """Fill the profit levels up to the best price, and up to `before`. Returns whether the whole position was closed."""
        while self.account.position is position:
            level = position.next_profit_level()
            if level is None or not position.reaches_profit(best, level):
                return False
            if before is not None and position.side * level > position.side * before:
                return False
            self.fills.take_profit(level, self.fills.inside(level))
        return True

    def _exits_after(self, entry: RestingEntry) -> None:
        """Exits that follow a resting entry in its bar.

        A price that falls to a buy limit makes its low after the fill, one that rises to a buy stop its high; of the other side only the close
        is certain.
        """
        position = self.account.position
        assert position is not None
        is_limit, close = self.resting.are_limits, self.fills.close[self.fills.i]
        extremes = Extremes(self.fills.adverse_extreme(position), self.fills.favourable_extreme(position))
        certain = Extremes(extremes.worst, close) if is_limit else Extremes(close, extremes.best)
        adverse, favourable = self._touches_exit(position, extremes.worst), self._touches_profit(position, extremes.best)
        if (
            (adverse and favourable)
            or (adverse and not self._touches_exit(position, certain.worst))
            or (favourable and not self._touches_profit(position, certain.best))
        ):
            self.is_ambiguous = True
        if self.intrabar == "pessimistic" or (self.intrabar == "path" and self._favourable_is_nearer(extremes)):
            met = Extremes(extremes.worst, certain.best)
        else:
            met = Extremes(certain.worst, extremes.best)
        adverse_first = self.intrabar == "pessimistic" or (self.intrabar == "path" and is_limit)
        if adverse_first:
            if not self._exit(position, met.worst):
                self._take_profits(position, met.best)
        elif not self._take_profits(position, met.best):
            self._exit(position, met.worst)
