"""Bars of a longer timeframe as runs of shorter bars."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from python_core.data import timeframes
from python_core.data.columns import Floats, Integers


class Buckets(NamedTuple):
    """The complete bars of a longer timeframe, int64[k] each.

    Attributes:
        start, end: epoch milliseconds.
        first, last: positions of the first and the last shorter bar of each.
    """

    start: Integers
    end: Integers
    first: Integers
    last: Integers

    @classmethod
    def of(cls, time: Integers, timeframe_ms: int, length_ms: int) -> Buckets:
        """The bars of `length_ms` that bars of `timeframe_ms` make up. A last one that ends after the last of these is left out."""
        start = timeframes.bucket_start(time, length_ms)
        first = np.flatnonzero(np.concatenate(([True], start[1:] != start[:-1])))
        last = np.append(first[1:], len(time)) - 1
        end = timeframes.bar_end(start[first], length_ms)
        complete = slice(None) if end[-1] <= timeframes.bar_end(time[-1:], timeframe_ms)[0] else slice(-1)
        return cls(start[first][complete], end[complete], first[complete], last[complete])

    def highest(self, values: Floats) -> Floats:
        return self._reduce(np.maximum, values)

    def lowest(self, values: Floats) -> Floats:
        return self._reduce(np.minimum, values)

    def sums(self, values: Floats) -> Floats:
        """Sums from left to right, as in the compiled engine; `add.reduceat` adds in another order."""
        lengths = self.last - self.first + 1
        if len(lengths) < lengths.max(initial=0):
            return np.array([np.add.accumulate(values[a : b + 1])[-1] for a, b in zip(self.first, self.last, strict=True)])
        total = values[self.first].copy()
        for offset in range(1, int(lengths.max(initial=0))):
            within = offset < lengths
            total[within] += values[self.first[within] + offset]
        return total

    def _reduce(self, choose: np.ufunc, values: Floats) -> Floats:
        if not len(self.first):
            return np.empty(0)
        reduced: Floats = choose.reduceat(values[: self.last[-1] + 1], self.first)
        return reduced
