"""Real prices as bars that move one way, so that none is ambiguous."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

import python_core as bt

MINUTE, START = 60_000, 1_704_067_200_000


def one_way_bars(prices: np.ndarray, most: float, tick: float = 0.0) -> bt.Bars:
    """Bars of a minute along open, high, low, close of `prices` (float64[4, n]), each up or down by a fraction of at most about `most`.

    A bar opens away from the close before it only where bars of `prices` do, so gaps are as large as they were. With `tick` all prices are
    whole ticks.
    """
    opens, closes = [], []
    for bar in prices.T:
        for a, b in pairwise(bar):
            points = np.geomspace(a, b, int(np.ceil(abs(np.log(b / a)) / most)) + 1)
            points[[0, -1]] = a, b
            opens.append(points[:-1])
            closes.append(points[1:])
    open_, close = np.concatenate(opens), np.concatenate(closes)
    if tick:
        open_, close = (np.round(column / tick) / round(1 / tick) for column in (open_, close))
    time = START + MINUTE * np.arange(len(open_))
    return bt.Bars(time, open_, np.maximum(open_, close), np.minimum(open_, close), close, np.ones(len(open_)), timeframe="1m")
