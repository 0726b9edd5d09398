"""The boundary of the compiled kernel. Not for users: `python_core.engine.kernel` checks inputs and wraps every function.

Arrays are one-dimensional and C-contiguous; they are borrowed for one call and never copied. An array of another dtype or layout raises
a TypeError, any other failure a ValueError or `python_core.errors.Cancelled`, a subclass of it. The interpreter's lock is released while
a call runs, and Ctrl-C ends the call.

`timeframe_ms` is the length of a bar, `strategy_ms` that of a strategy bar, as in `timeframes.MILLISECONDS`.
"""

from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CONTRACT",
    "INDICATORS",
    "Execution",
    "Flag",
    "Plan",
    "Template",
    "__version__",
    "fill_excursions",
    "node_values",
    "run",
    "sweep",
]

__version__: str
CONTRACT: int
# The indicators: name, number of inputs, arguments (name, minimum, maximum, integer), number of outputs.
INDICATORS: list[tuple[str, int, list[tuple[str, float, float, bool]], int]]

_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]
_Columns = tuple[_Integers, _Floats, _Floats, _Floats, _Floats, _Floats]
_Series = tuple[_Integers, _Floats]
_Signals = tuple[Sequence[NDArray[np.uint8] | None], Sequence[_Floats | None], _Floats | None]
_Node = tuple[str, tuple[int, ...], tuple[float, ...], int]

@final
class Flag:
    """Shared with a running call, without locks: setting `cancelled` ends it within milliseconds, `progress` is the fraction done."""

    cancelled: bool
    progress: float
    def __new__(cls) -> Flag: ...

@final
class Plan:
    """The nodes of a `python_core.strategy.compile.Plan`, decoded and checked; a position of -1 means none."""

    def __new__(cls, nodes: Sequence[_Node], conditions: tuple[int, int, int, int], levels: tuple[int, ...]) -> Plan: ...

@final
class Template:
    """A `Plan` with `params` open parameters; the arguments of an indicator are its last inputs."""

    def __new__(cls, nodes: Sequence[_Node], conditions: tuple[int, int, int, int], levels: tuple[int, ...], params: int) -> Template: ...

@final
class Execution:
    """`python_core.Execution`, with each level as a pair of a kind (none, fraction, multiple, series) and a number, in the order of `LEVEL_SIDES`."""

    def __new__(
        cls,
        *,
        initial_capital: float,
        commission: float,
        maker_fee: float,
        order_fee: float,
        slippage: float,
        sizing: str,
        size: float,
        step: float,
        tick: float,
        min_notional: float,
        leverage: float,
        maintenance_margin: float,
        pyramiding: int,
        fill: str,
        intrabar: str,
        levels: Sequence[tuple[str, float]],
        entry_expires: int,
        limit_through: float,
        trailing_activation: float | None,
        break_even_at: float | None,
        max_bars: int | None,
        partial_exits: Sequence[tuple[float, float]],
        trading_hours: Sequence[tuple[int, int]],
        trading_days: Sequence[int] | None,
        flat_outside: bool,
        max_entries_per_day: int | None,
        cooldown: int,
        risk_free: float,
        calendar: str,
    ) -> Execution: ...

def run(
    columns: _Columns,
    funding: _Series | None,
    mark: tuple[_Floats, _Floats] | None,
    timeframe_ms: int,
    plan: Plan,
    signals: _Signals | None,
    strategy_ms: int,
    execution: Execution,
    first_bar: int,
    equity: _Floats,
    flag: Flag | None,
    benchmark: _Series | None,
) -> tuple[_Integers, bool, list[float | None], tuple[int, int, int, int, int, bool]]:
    """Run a plan over bars and fill `equity` (float64[n - first_bar]); bars before `first_bar` are warm-up.

    `signals`, if given, replace the plan's conditions and levels: four masks (uint8[n] each; 0 is false, None never), the levels of
    `LEVEL_SIDES` and sizes (float64[n] each, None for none). `benchmark` are times and prices, None for the closes.

    Returns trades (words to view as `TRADE_DTYPE`), whether `fill_excursions` must still fill in their mae and mfe, the metrics in the order of
    `NAMES` (None if undefined, int if counts), and the fields of `python_core.engine.result.Counts`.
    """

def node_values(
    columns: _Columns, timeframe_ms: int, plan: Plan, positions: Sequence[int], strategy_ms: int, fill_at_close: bool
) -> list[_Floats]:
    """Values of the operations at `positions`, which must give numbers, on every strategy bar (NaN where not known)."""

def fill_excursions(trades: _Integers, low: _Floats, high: _Floats) -> None:
    """Fill in mae and mfe of trades whose excursions `run` left pending."""

def sweep(
    columns: _Columns,
    funding: _Series | None,
    mark: tuple[_Floats, _Floats] | None,
    timeframe_ms: int,
    template: Template,
    combinations: _Floats,
    strategy_ms: int,
    execution: Execution,
    first_bar: int,
    needs: tuple[bool, bool],
    threads: int,
    values: _Floats,
    equity: _Floats,
    flag: Flag | None,
    benchmark: _Series | None,
) -> None:
    """Run every combination (row-major float64[combinations * params]) and fill `values`, one row of metrics for each.

    `needs` are whether metrics need the equity of every bar, and sums over trades; others are not for use. `equity`, if not empty, is filled
    with one row of equity at the ends of periods for each combination.
    """
