"""Parameter sweeps: runs of one strategy over a grid of parameters. The twin is `core_rs/src/sweep.rs`."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from python_core.data import timeframes
from python_core.data.bars import Bars
from python_core.engine import kernel
from python_core.engine.control import Control
from python_core.engine.inputs import GivenSeries, Inputs, select_inputs
from python_core.engine.strategy_bars import check_timeframe
from python_core.errors import StrategyError
from python_core.execution import Execution
from python_core.immutable import FrozenDict, Immutable, freeze
from python_core.metrics import NAMES, RUN_NAMES, Metrics
from python_core.strategy.compile import compile_template, series_levels
from python_core.strategy.params import Param, meet_constraints
from python_core.strategy.strategy import Strategy

if TYPE_CHECKING:
    import polars

MAX_COMBINATIONS: Final = 10_000_000
MAX_THREADS: Final = 1_024
# Metrics that need only a run's fills; the others need its equity on every bar.
WITHOUT_RISK: Final = frozenset(
    name
    for name in NAMES
    if not name.endswith("sqn")
    and name
    not in (
        *("volatility", "sharpe", "sortino", "calmar", "omega", "max_drawdown", "max_drawdown_duration", "average_drawdown", "ulcer_index"),
        *("recovery_factor", "value_at_risk_95", "conditional_value_at_risk_95", "tail_ratio", "skew", "kurtosis"),
        *("beta", "alpha", "tracking_error", "information_ratio"),
    )
)


class SweepResult(Immutable):
    """Metrics of every combination, in the order of the grid (the last parameter varies fastest).

    Attributes:
        params: values of each parameter, float64[combinations].
        values: float64[combinations, len(metrics.NAMES)], NaN where undefined.
        objective: the metric that `best` maximizes.

    Its arrays are read-only.
    """

    params: Mapping[str, npt.NDArray[np.float64]]
    values: npt.NDArray[np.float64]
    objective: str
    _strategy: Strategy

    def __init__(
        self, strategy: Strategy, params: dict[str, npt.NDArray[np.float64]], values: npt.NDArray[np.float64], objective: str
    ) -> None:
        frozen = FrozenDict({name: freeze(column) for name, column in params.items()})
        vars(self).update(params=frozen, values=freeze(values), objective=objective, _strategy=strategy)

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
    start: int | None = None,
    warm_up_from: int | None = None,
    benchmark: GivenSeries | None = None,
    objective: str = "sharpe",
    risk: bool = True,
    threads: int | None = None,
    engine: kernel.Engine = "auto",
    control: Control | None = None,
) -> SweepResult:
    """Run every combination of the parameters in `grid` that meets the strategy's constraints.

    Args:
        grid: values for some of the strategy's numeric parameters; the others keep their defaults. None: the ranges of its `Param`s.
        execution, start, warm_up_from, benchmark, engine, control: as in `backtest`.
        objective: the metric that `SweepResult.best` maximizes.
        risk: whether to compute equity on every bar. Without it the sweep is faster, but drawdowns and metrics of returns are NaN.
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
    if not risk and objective not in WITHOUT_RISK:
        raise StrategyError(
            f"{objective} needs equity on every bar", where="objective", hint="use risk=True, or another objective such as final_equity"
        )
    kernel.check_strategy(strategy)
    execution = kernel.check_inputs(bars, execution, control)
    check_timeframe(bars.timeframe, strategy.timeframe)
    inputs = select_inputs(bars, strategy, execution, start, warm_up_from, benchmark)
    params = _combinations(strategy, _ranges(strategy) if grid is None else grid)
    count = len(next(iter(params.values())))
    threads = min(os.cpu_count() or 1, MAX_THREADS) if threads is None else threads
    if not isinstance(threads, int | np.integer) or not 1 <= threads <= MAX_THREADS:
        raise StrategyError(f"{threads!r:.60} threads", where="threads", hint=f"use an integer from 1 to {MAX_THREADS:,}")
    if kernel.compiled_module(engine) is None:
        values = _sweep_python(inputs, params, risk, control or Control())
    else:
        template = compile_template(strategy, series_levels(execution), tuple(params), bars.timeframe)
        # If the first combination can't be run, this fails with the expression and the column.
        strategy.with_params(**{name: _plain(column[0]) for name, column in params.items()})
        values = np.empty(count * len(NAMES))
        strategy_ms = bars.timeframe_ms if strategy.timeframe is None else timeframes.MILLISECONDS[strategy.timeframe]
        combinations = np.ascontiguousarray(np.stack(list(params.values()), axis=1)).reshape(-1)
        kernel.run_sweep(inputs, template, combinations, len(params), strategy_ms, bool(risk), threads, values, control)
        values = values.reshape(count, len(NAMES))
    return SweepResult(strategy, params, values, objective)


def _metric_index(name: str) -> int:
    if name not in NAMES:
        raise StrategyError(
            f"unknown metric {name!r:.60}", where="objective", hint=f"use one of {', '.join(RUN_NAMES)}", code="unknown_name"
        )
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


def _sweep_python(inputs: Inputs, params: dict[str, npt.NDArray[np.float64]], risk: bool, control: Control) -> npt.NDArray[np.float64]:
    values = np.empty((len(next(iter(params.values()))), len(NAMES)))
    undefined = [i for i, name in enumerate(NAMES) if name.endswith("sqn") or (not risk and name not in WITHOUT_RISK)]
    strategy = inputs.program
    assert isinstance(strategy, Strategy)
    for i in range(len(values)):
        control.check(i / len(values))
        combination = strategy.with_params(**{name: _plain(column[i]) for name, column in params.items()})
        values[i] = kernel.run(inputs._replace(program=combination), "python", None).values
        values[i, undefined] = np.nan
    return values
