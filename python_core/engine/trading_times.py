"""When entries may fill: hours, days, entries per day, and the cooldown after a loss.

The twins in `core_rs/src/simulation` are `trading_times.rs` (hours and days) and `entries.rs`.
"""

from __future__ import annotations

from python_core.data.timeframes import DAY_MS
from python_core.execution import Execution


class TradingTimes:
    """Times in which entries fill, and the entries that count against the limit of a day."""

    def __init__(self, execution: Execution) -> None:
        self.hours, self.days = execution.hours, execution.trading_days
        self.max_entries, self.cooldown = execution.max_entries_per_day, execution.cooldown
        self.day = -1
        self.entries = 0
        self.cools_until = -1

    def is_open(self, time: int) -> bool:
        """Whether a bar that opens at `time` (epoch milliseconds) is inside the hours and days."""
        day, in_day = divmod(time, DAY_MS)
        if self.days is not None and (day + 3) % 7 not in self.days:  # 1970-01-01 was a Thursday
            return False
        if self.hours is None:
            return True
        minute = in_day // 60_000
        return any(begin <= minute < end if begin < end else minute >= begin or minute < end for begin, end in self.hours)

    def may_enter(self, time: int) -> bool:
        """Whether an entry may fill in the bar that opens at `time`: inside hours and days, with entries left for the day."""
        return self.is_open(time) and (self.max_entries is None or time // DAY_MS != self.day or self.entries < self.max_entries)

    def is_cooling(self, strategy_bar: int) -> bool:
        """Whether a loss makes entries of this strategy bar void."""
        return strategy_bar <= self.cools_until

    def count_entry(self, time: int) -> None:
        """Count an entry that has filled in the bar that opens at `time`."""
        day = time // DAY_MS
        self.entries = self.entries + 1 if day == self.day else 1
        self.day = day

    def start_cooldown(self, last_due: int) -> None:
        """Begin the cooldown of a loss; `last_due` is the last strategy bar whose orders were due by then."""
        self.cools_until = last_due + self.cooldown
