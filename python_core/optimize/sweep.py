"""Parameter sweeps: runs of one strategy over a grid of parameters. The twin is `core_rs/src/sweep.rs`."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from python_core.data.bars import Bars
from python_core.data.epoch import Moment
from python_core.engine import compiled, kernel
from python_core.engine.control import Control
from python_core.engine.inputs import GivenSeries, Inputs, select_inputs
from python_core.engine.strategy_bars import check_timeframe
from python_core.errors import StrategyError
from python_core.execution import Execution
from python_core.immutable import FrozenDict, Immutable, freeze
from python_core.metrics import NAMES, RUN_NAMES, TRADE_NAMES, Metrics
from python_core.metrics.periods import period_ends
from python_core.strategy.compile import compile_template, series_levels
from python_core.strategy.params import Param, meet_constraints
from python_core.strategy.strategy import Strategy

if TYPE_CHECKING:
    import polars

MAX_COMBINATIONS: Final = 10_000_000
MAX_THREADS: Final = 1_024
# Metrics of the account that need nothing but its fills, the numbers of trades, and metrics that need every trade's profit; the others need
# the equity of every bar. A sweep does not store trades, which sqn needs.
_OF_FILLS: Final = frozenset(
    ("final_equity", "net_profit", "total_return", "cagr", "exposure", "turnover", "buy_and_hold_return", "alpha_over_buy_and_hold")
)
_COUNTS: Final = frozenset(("trades", "long_trades", "short_trades"))
_OF_TRADES: Final = frozenset({f"{side}{name}" for side in ("", "long_", "short_") for name in TRADE_NAMES}) - _COUNTS - _OF_FILLS
_UNDEFINED: Final = frozenset(("sqn", "long_sqn", "short_sqn"))


class SweepResult(Immutable):
    """Metrics of every combination, in the order of the grid (the last parameter varies fastest).

    Attributes:
        params: values of each parameter, float64[combinations].
        values: float64[combinations, len(metrics.NAMES)], NaN where undefined.
        objective: the metric that `best` maximizes.
        returns: float64[combinations, periods], the return of each UTC day that has bars, or of each bar of a day or longer; NaN after ruin.
            None unless asked for.
        return_times: int64[periods], the open time of each period's last bar, epoch milliseconds; None unless asked for.

    Its arrays are read-only.
    """

    params: Mapping[str, npt.NDArray[np.float64]]
    values: npt.NDArray[np.float64]
    objective: str
    returns: npt.NDArray[np.float64] | None
    return_times: npt.NDArray[np.int64] | None
    _strategy: Strategy

    def __init__(
        self,
        strategy: Strategy,
        params: dict[str, npt.NDArray[np.float64]],
        values: npt.NDArray[np.float64],
        objective: str,
        returns: tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]] | None,
    ) -> None:
        frozen = FrozenDict({name: freeze(column) for name, column in params.items()})
        matrix, times = (None, None) if returns is None else map(freeze, returns)
        vars(self).update(params=frozen, values=freeze(values), objective=objective, returns=matrix, return_times=times, _strategy=strategy)

    def __len__(self) -> int:
        return len(self.values)

    def column(self, metric: str) -> npt.NDArray[np.float64]:
        """One metric of every combination, float64[combinations], NaN where undefined.

        Those of one side have the prefix `long_` or `short_`, as in `long_win_rate`.

        Raises:
            StrategyError: unknown metric.
        """
        return self.values[:, _metric_index(metric)]

    @property
    def best(self) -> int:
        """Index of the combination with the largest objective, the first one if several are equal.

        Raises:
            StrategyError: the objective is undefined for all combinations.
        """
        column = self.column(self.objective)
        if np.isnan(column).all():
            raise StrategyError(
                f"{self.objective} is undefined for every combination", where="objective", hint="check the number of trades"
            )
        return int(np.nanargmax(column))

    def metrics(self, i: int) -> Metrics:
        """Metrics of one combination. `sqn` is None, since a sweep doesn't store trades."""
        return Metrics.from_values(self.values[i].tolist())

    def strategy(self, i: int) -> Strategy:
        """The strategy with the parameters of one combination."""
        return self._strategy.with_params(**{name: _plain(column[i]) for name, column in self.params.items()})

    def to_polars(self) -> polars.DataFrame:
        """A frame with one column for each parameter and metric, null where undefined. Needs polars."""
        import polars

        return polars.DataFrame({**self.params, **{name: self.values[:, i] for i, name in enumerate(NAMES)}}).fill_nan(None)

    def __repr__(self) -> str:
        return f"<SweepResult {len(self):,} combinations of {', '.join(self.params)}>"


def sweep(
    bars: Bars,
    strategy: Strategy,
    grid: Mapping[str, Iterable[float]] | None = None,
    execution: Execution | None = None,
    *,
    start: Moment | None = None,
    warm_up_from: Moment | None = None,
    benchmark: GivenSeries | None = None,
    objective: str = "sharpe",
    metrics: Iterable[str] | None = None,
    returns: bool = False,
    threads: int | None = None,
    engine: compiled.Engine = "auto",
    control: Control | None = None,
) -> SweepResult:
    """Run every combination of the parameters in `grid` that meets the strategy's constraints.

    Args:
        grid: values for some of the strategy's numeric parameters; the others keep their defaults. None: the ranges of its `Param`s.
        execution, start, warm_up_from, benchmark, engine, control: as in `backtest`.
        objective: the metric that `SweepResult.best` maximizes.
        metrics: names of the metrics to compute besides the objective; the others are NaN. The fewer they need, the faster the sweep: most of
            all without drawdowns and metrics of returns, which need the equity of every bar. None: all.
        returns: whether to return the daily returns of every combination, too.
        threads: maximum number of threads; None: one for each processor.

    Raises:
        StrategyError: an unknown parameter or metric, or a combination that can't be run.
        BarsError: an invalid benchmark.
        EngineError: as in `backtest`.
        Cancelled: `control.cancel()` was called.

    Example:
        strategy = bt.Strategy(entry_long="close > sma(close, n)", exit_long="close < sma(close, n)", params={"n": 10})
        found = bt.sweep(bt.synthetic(1_000), strategy, {"n": range(5, 55, 5)}, objective="total_return")
        found.params["n"][found.best]
    """
    _metric_index(objective)
    asked = NAMES if metrics is None else (objective, *_names(metrics))
    kernel.check_strategy(strategy)
    kernel.check_control(control)
    if not isinstance(returns, bool):
        raise StrategyError(f"expected true or false, got {returns!r:.60}", where="returns", hint="use returns=True for daily returns")
    inputs = select_inputs(bars, strategy, execution, start=start, warm_up_from=warm_up_from, benchmark=benchmark)
    check_timeframe(bars.timeframe, strategy.timeframe)
    params = _combinations(strategy, _ranges(strategy) if grid is None else grid)
    count = len(next(iter(params.values())))
    threads = min(os.cpu_count() or 1, MAX_THREADS) if threads is None else threads
    if not isinstance(threads, int | np.integer) or not 1 <= threads <= MAX_THREADS:
        raise StrategyError(f"{threads!r:.60} threads", where="threads", hint=f"use an integer from 1 to {MAX_THREADS:,}")
    time, execution = inputs.bars.time[inputs.first :], inputs.execution
    ends = period_ends(time, bars.timeframe_ms, execution.calendar) if returns else np.empty(0, np.int64)
    equity = np.empty((count, len(ends)))
    if compiled.compiled_module(engine) is None:
        values = _sweep_python(inputs, params, ends, equity, control or Control())
    else:
        template = compile_template(strategy, series_levels(execution), tuple(params), bars.timeframe)
        # If the first combination can't be run, this fails with the expression and the column.
        strategy.with_params(**{name: _plain(column[0]) for name, column in params.items()})
        values = np.empty((count, len(NAMES)))
        needs = returns or any(name not in _OF_FILLS | _COUNTS | _OF_TRADES for name in asked), any(name in _OF_TRADES for name in asked)
        combinations = np.stack(list(params.values()), axis=1)
        compiled.sweep(inputs, template, combinations, needs=needs, threads=threads, values=values, equity=equity, control=control)
    values[:, [name not in asked or name in _UNDEFINED for name in NAMES]] = np.nan
    return SweepResult(strategy, params, values, objective, (_returns(equity, execution), time[ends]) if returns else None)


def _names(metrics: Iterable[str]) -> tuple[str, ...]:
    if not isinstance(metrics, Iterable):
        raise StrategyError(f"expected names, got {metrics!r:.60}", where="metrics", hint='use a list such as ["sharpe", "trades"]')
    names = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    for name in names:
        _metric_index(name, "metrics")
    return names


def _returns(equity: npt.NDArray[np.float64], execution: Execution) -> npt.NDArray[np.float64]:
    """Returns of periods from the equity at their ends, float64[combinations, periods] both."""
    before = np.concatenate((np.full((len(equity), 1), execution.initial_capital), equity[:, :-1]), axis=1)
    with np.errstate(invalid="ignore"):
        returns: npt.NDArray[np.float64] = equity / before - 1.0
    return returns


def _metric_index(name: str, where: str = "objective") -> int:
    if name not in NAMES:
        raise StrategyError(f"unknown metric {name!r:.60}", where=where, hint=f"use one of {', '.join(RUN_NAMES)}", code="unknown_name")
    return NAMES.index(name)


def _plain(value: np.float64) -> int | float:
    number = float(value)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _ranges(strategy: Strategy) -> dict[str, Iterable[float]]:
    """Search values of the numeric parameters that have a range or choices; bools and texts keep their defaults."""
    grid: dict[str, Iterable[float]] = {}
    for name, param in strategy.params.items():
        values = param.search_values() if isinstance(param, Param) else None
        if values is not None and not any(isinstance(value, bool | str) for value in values):
            grid[name] = [float(value) for value in values]
    if not grid:
        hint = 'give a grid, or params such as {"type": "int", "default": 10, "min": 5, "max": 50}'
        raise StrategyError("no parameter has a range", where="grid", hint=hint)
    return grid


def _combinations(strategy: Strategy, grid: Mapping[str, Iterable[float]]) -> dict[str, npt.NDArray[np.float64]]:
    if not isinstance(grid, Mapping) or not grid:
        raise StrategyError("the grid is empty", where="grid", hint='give values for at least one parameter: {"fast": range(5, 55)}')
    axes = []
    for name, values in grid.items():
        where = f"grid[{name!r}]"
        if name not in strategy.params:
            known = ", ".join(strategy.params) or "none"
            raise StrategyError(f"the strategy has no parameter {name!r:.60}", where=where, hint=f"it has {known}", code="unknown_name")
        if isinstance(strategy.values[name], bool | str):
            raise StrategyError("only numeric parameters can be swept", where=where, hint="run one sweep for each value")
        try:
            axis = np.array(list(values))
        except (TypeError, ValueError):
            axis = np.array(None)
        if axis.ndim != 1 or not len(axis) or axis.dtype.kind not in "iuf" or not np.isfinite(axis).all():
            raise StrategyError("expected a list of finite numbers", where=where, hint="give values such as range(5, 55) or [0.1, 0.2]")
        axes.append(axis.astype(np.float64))
        if isinstance(param := strategy.params[name], Param):
            for value in axes[-1]:
                param.check(where, _plain(value))
    count = math.prod(map(len, axes))
    if count > MAX_COMBINATIONS:
        raise StrategyError(f"{count:,} combinations", where="grid", hint=f"use at most {MAX_COMBINATIONS:,}", code="too_large")
    params = dict(zip(grid, (axis.reshape(-1) for axis in np.meshgrid(*axes, indexing="ij")), strict=True))
    if not strategy.constraints:
        return params
    meets = meet_constraints(strategy.constraints, strategy.values, params)
    if not meets.any():
        texts = ", ".join(strategy.constraints)
        raise StrategyError(f"no combination meets {texts}", where="grid", hint="use other values", code="constraint")
    return {name: column[meets] for name, column in params.items()}


def _sweep_python(
    inputs: Inputs,
    params: dict[str, npt.NDArray[np.float64]],
    ends: npt.NDArray[np.int64],
    equity: npt.NDArray[np.float64],
    control: Control,
) -> npt.NDArray[np.float64]:
    """All metrics of every combination; fills `equity` with rows of the equity at the bars `ends`."""
    values = np.empty((len(equity), len(NAMES)))
    strategy = inputs.program
    assert isinstance(strategy, Strategy)
    for i in range(len(values)):
        control.check(i / len(values))
        combination = strategy.with_params(**{name: _plain(column[i]) for name, column in params.items()})
        result = kernel.run(inputs._replace(program=combination), "python", None)
        values[i], equity[i] = result.values, result.equity[ends]
    return values
