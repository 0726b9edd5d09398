"""The series that a run is compared with. The twin is `core_rs/src/metrics/benchmark.rs`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from python_core.data.columns import Floats, Integers, float_column, integer_column, iso
from python_core.data.timeframes import bar_end
from python_core.errors import BarsError


class Benchmark(NamedTuple):
    """Prices of another market, an index or a rate.

    Attributes:
        time: when each price was known, UTC epoch milliseconds, int64[m], strictly increasing. The close of a bar is known at its end.
        price: float64[m], finite and > 0.
    """

    time: Integers
    price: Floats


def check_benchmark(given: Any, first_open_ms: int) -> Benchmark:
    """A pair of times and prices as a `Benchmark` that has a value at the first open of a run.

    Raises:
        BarsError: not two series of one length, times that do not increase, a price that is not finite and > 0, or no value at or before the
            first open.
    """
    try:
        times, prices = given
    except (TypeError, ValueError):
        raise BarsError(f"expected a pair, got {type(given).__name__}", where="benchmark", hint="pass (times, prices)") from None
    time, price = integer_column("benchmark time", times), float_column("benchmark price", prices)
    if len(time) != len(price):
        raise BarsError(f"{len(price):,} values for {len(time):,} times", where="benchmark price", hint="pass one price for each time")
    if not len(time):
        raise BarsError("it is empty", where="benchmark", hint="pass (times, prices)")
    if not (ordered := time[1:] > time[:-1]).all():
        i = int((~ordered).argmax()) + 1
        raise BarsError(
            f"row {i} ({iso(time[i])}) is not after the row before", where="benchmark time", hint="times must be strictly increasing"
        )
    if not (valid := np.isfinite(price) & (price > 0)).all():
        i = int((~valid).argmax())
        raise BarsError(f"row {i} is {price[i]!s}", where="benchmark price", hint="prices must be finite and greater than 0")
    if time[0] > first_open_ms:
        raise BarsError(
            f"its first value is at {iso(time[0])}, after the first open at {iso(first_open_ms)}",
            where="benchmark",
            hint="pass values from the first open or before, or start the run later",
        )
    return Benchmark(time, price)


def benchmark_returns(
    benchmark: Benchmark | None, time_ms: Integers, timeframe_ms: int, ends: Integers, first_open: float, close: Floats
) -> list[float]:
    """Returns of the benchmark, or else of the closes, over each period; the first is relative to its value at the first open.

    Args:
        time_ms, close: of all bars.
        ends: positions of the last bars of periods.
    """
    if benchmark is None:
        values = np.append(first_open, close[ends])
    else:
        moments = np.append(time_ms[0], bar_end(time_ms[ends], timeframe_ms))
        values = benchmark.price[np.searchsorted(benchmark.time, moments, side="right") - 1]
    with np.errstate(over="ignore"):
        returns: list[float] = (values[1:] / values[:-1] - 1.0).tolist()
    return returns
