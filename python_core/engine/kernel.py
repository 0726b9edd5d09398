"""Backtests by the compiled engine or by the Python reference, with the same bits. The twin is `core_rs/src/backtest.rs`."""

from __future__ import annotations

import os
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from python_core.data import timeframes
from python_core.data.bars import Bars
from python_core.data.epoch import Moment
from python_core.engine import simulate as reference
from python_core.engine.control import Control
from python_core.engine.evaluate import evaluate
from python_core.engine.inputs import CONTRACT, GivenSeries, Inputs, select_inputs
from python_core.engine.orders import make_orders
from python_core.engine.result import Result
from python_core.engine.strategy_bars import StrategyBars, check_timeframe
from python_core.errors import BarstormError, EngineError, StrategyError
from python_core.execution import DEFAULT, LEVELS, Execution
from python_core.levels import SIDES, Atr
from python_core.metrics.compute import compute
from python_core.metrics.definitions import nan_to_none
from python_core.strategy.compile import Plan, compile_plan, series_levels
from python_core.strategy.signals import Signals
from python_core.strategy.strategy import Strategy
from python_core.trades import Trades
from python_core.version import VERSION

Engine = Literal["auto", "rust", "python"]


def _load() -> tuple[ModuleType | None, str]:
    if os.environ.get("BARSTORM_ENGINE") == "python":
        return None, "BARSTORM_ENGINE=python is set"
    try:
        module = import_module("python_core._core_rs")
    except ModuleNotFoundError:
        return None, "the compiled module python_core._core_rs is not installed (the package was built without cargo)"
    found = getattr(module, "__version__", None), getattr(module, "CONTRACT", None)
    if found != (VERSION, CONTRACT):
        raise ImportError(
            f"python_core._core_rs is version {found[0]} (contract {found[1]}), but the package is version {VERSION} "
            f"(contract {CONTRACT}): rebuild it with `make install`, or reinstall the wheel"
        )
    return module, "the compiled module python_core._core_rs is installed"


_core_rs, engine_reason = _load()
engine: Literal["rust", "python"] = "python" if _core_rs is None else "rust"


def backtest(
    bars: Bars,
    strategy: Strategy,
    execution: Execution | None = None,
    *,
    start: Moment | None = None,
    warm_up_from: Moment | None = None,
    benchmark: GivenSeries | None = None,
    engine: Engine = "auto",
    control: Control | None = None,
) -> Result:
    """Run a strategy over bars.

    Args:
        bars: history in the strategy's timeframe or in a shorter one that fits into it.
        execution: capital, costs, size and stops; the default is `bt.Execution()`.
        start: the run begins with the first bar at or after it; bars before it warm up the strategy. Epoch milliseconds, ISO 8601 text such as
            "2012-01-01", a datetime or a date, in UTC unless it has an offset. Default: the first bar.
        warm_up_from: bars before it are not used. Default: the first bar.
        benchmark: (times, prices) to compare with, with a value at or before the first open. Default: the closes of the bars.
        engine: "rust", "python", or "auto" for the compiled engine where it is installed. Both give the same bits.
        control: cancels the call from another thread and reports its progress.

    Raises:
        StrategyError: an expression that can't be run on these bars, or a timeframe that they don't fit into.
        ExecutionError: rules that contradict each other.
        BarsError: an invalid benchmark.
        EngineError: an argument of another type, a start outside the bars, or `engine="rust"` where the compiled module isn't installed.
        Cancelled: `control.cancel()` was called.

    Example:
        bars = bt.synthetic(10_000, timeframe="1h")
        strategy = bt.Strategy(entry_long="crossover(sma(close, 10), sma(close, 30))", exit_long="close < sma(close, 30)")
        bt.backtest(bars, strategy, bt.Execution(commission=0.001)).metrics.sharpe
    """
    check_strategy(strategy)
    inputs = select_inputs(bars, strategy, check_inputs(bars, execution, control), start, warm_up_from, benchmark)
    return run(inputs, engine, control)


def simulate(
    bars: Bars,
    signals: Signals,
    execution: Execution | None = None,
    *,
    start: Moment | None = None,
    warm_up_from: Moment | None = None,
    benchmark: GivenSeries | None = None,
    engine: Engine = "auto",
    control: Control | None = None,
) -> Result:
    """Run ready-made signals over bars.

    Args:
        signals: arrays with one value for each bar.
        execution, start, warm_up_from, benchmark, engine, control: as in `backtest`.

    Raises:
        StrategyError: not one signal for each bar.
        ExecutionError, BarsError, EngineError, Cancelled: as in `backtest`.

    Example:
        bars = bt.synthetic(1_000)
        bt.simulate(bars, bt.Signals(entry_long=bars.close > bars.open, exit_long=bars.close < bars.open))
    """
    if not isinstance(signals, Signals):
        raise StrategyError(f"expected Signals, got {type(signals).__name__}", where="signals", hint="use bt.Signals(entry_long=mask, ...)")
    if isinstance(bars, Bars) and signals.length != len(bars):
        raise StrategyError(f"got {signals.length:,} values for {len(bars):,} bars", where="signals", hint="give one value for each bar")
    inputs = select_inputs(bars, signals, check_inputs(bars, execution, control), start, warm_up_from, benchmark)
    return run(inputs, engine, control)


def run(inputs: Inputs, engine: Engine, control: Control | None) -> Result:
    """Run inputs that have been checked."""
    plan = compile_run(inputs.program, inputs.execution, inputs.bars.timeframe)
    timeframe = inputs.program.timeframe if isinstance(inputs.program, Strategy) else None
    run_engine = _run_python if compiled_module(engine) is None else _run_rust
    return run_engine(inputs, plan, timeframe, control)


def compile_run(program: Strategy | Signals, execution: Execution, bars_timeframe: str) -> Plan:
    """The plan of a run over bars of a timeframe.

    Raises:
        StrategyError: an expression that can't be run on these bars, or a timeframe that they don't fit into.
    """
    strategy = program if isinstance(program, Strategy) else None
    timeframe = None if strategy is None else strategy.timeframe
    check_timeframe(bars_timeframe, timeframe)
    plan = compile_plan(strategy, series_levels(execution))
    if plan.uses_higher_timeframes and timeframe is None:
        plan = compile_plan(strategy, series_levels(execution), bars_timeframe)
    return plan


def check_inputs(bars: Bars, execution: Execution | None, control: Control | None) -> Execution:
    """Check the types of the inputs, and return the execution or the default one.

    Raises:
        EngineError: an input of another type.
    """
    if not isinstance(bars, Bars):
        raise EngineError(f"expected Bars, got {type(bars).__name__}", where="bars", hint="use bt.Bars(...) or bt.read_bars(path)")
    if execution is not None and not isinstance(execution, Execution):
        raise EngineError(
            f"expected Execution, got {type(execution).__name__}", where="execution", hint="use bt.Execution(commission=0.001, ...)"
        )
    if control is not None and not isinstance(control, Control):
        raise EngineError(f"expected Control, got {type(control).__name__}", where="control", hint="use bt.Control()")
    return DEFAULT if execution is None else execution


def check_strategy(strategy: Strategy) -> None:
    """Check that it is a `Strategy`.

    Raises:
        StrategyError: it isn't.
    """
    if not isinstance(strategy, Strategy):
        raise StrategyError(
            f"expected Strategy, got {type(strategy).__name__}", where="strategy", hint="use bt.Strategy, or bt.simulate for signals"
        )


def node_values(
    bars: Bars,
    plan: Plan,
    positions: tuple[int, ...],
    timeframe: str | None,
    engine: Engine = "auto",
    *,
    fill_at_close: bool = False,
) -> list[npt.NDArray[np.float64]]:
    """Numeric values of the plan's nodes at `positions`, float64[strategy bars] each, NaN where not known."""
    if compiled_module(engine) is None:
        evaluated = evaluate(plan.nodes, StrategyBars(bars, timeframe), fill_at_close=fill_at_close)
        return [evaluated[i][0] for i in positions]
    assert _core_rs is not None
    columns = (bars.time, bars.open, bars.high, bars.low, bars.close, bars.volume)
    strategy_ms = bars.timeframe_ms if timeframe is None else timeframes.MILLISECONDS[timeframe]
    results: list[npt.NDArray[np.float64]] = _core_rs.node_values(
        columns, bars.timeframe_ms, _native_plan(plan), positions, strategy_ms, fill_at_close
    )
    return results


def compiled_module(engine: Engine) -> ModuleType | None:
    """The compiled module, or None for the Python engine.

    Raises:
        EngineError: an unknown engine, or "rust" where the compiled module isn't installed.
    """
    if engine == "auto":
        return _core_rs
    if engine == "python":
        return None
    if engine != "rust":
        raise EngineError(f"unknown engine {engine!r}", where="engine", hint="use auto, rust or python")
    if _core_rs is None:
        raise EngineError(
            f"the Rust engine is not available: {engine_reason}", where="engine", hint="install a wheel that has it, or use auto"
        )
    return _core_rs


def _run_python(inputs: Inputs, plan: Plan, timeframe: str | None, control: Control | None) -> Result:
    bars, program, execution, first, benchmark = inputs
    orders = make_orders(bars, timeframe, plan, execution, program if isinstance(program, Signals) else None, control)
    outcome = reference.simulate(bars, orders, execution, control or Control(), first)
    metrics = compute(
        equity=outcome.equity,
        time_ms=bars.time[first:],
        timeframe_ms=bars.timeframe_ms,
        trades=outcome.trades,
        capital=float(execution.initial_capital),
        calendar=execution.calendar,
        exposed_bars=outcome.exposed_bars,
        traded_notional=outcome.traded_notional,
        first_open=float(bars.open[first]),
        close=bars.close[first:],
        risk_free=float(execution.risk_free),
        benchmark=benchmark,
    )
    return Result(
        inputs,
        engine="python",
        metrics=nan_to_none(metrics),
        trades=Trades(outcome.trades, None),
        equity=outcome.equity,
        counts=outcome.counts,
    )


def _run_rust(inputs: Inputs, plan: Plan, timeframe: str | None, control: Control | None) -> Result:
    assert _core_rs is not None
    bars, program, execution, first = inputs.bars, inputs.program, inputs.execution, inputs.first
    equity = np.empty(len(bars) - first)
    trades, excursions_pending, metrics, counts = _core_rs.run(
        (bars.time, bars.open, bars.high, bars.low, bars.close, bars.volume),
        bars.funding,
        bars.mark,
        bars.timeframe_ms,
        _native_plan(plan),
        program.native if isinstance(program, Signals) else None,
        bars.timeframe_ms if timeframe is None else timeframes.MILLISECONDS[timeframe],
        _native_execution(execution),
        first,
        equity,
        None if control is None else control.flag,
        inputs.benchmark,
    )

    def fill(words: npt.NDArray[np.int64]) -> None:
        assert _core_rs is not None
        _core_rs.fill_excursions(words, bars.low[first:], bars.high[first:])

    return Result(
        inputs, engine="rust", metrics=metrics, trades=Trades(trades, fill if excursions_pending else None), equity=equity, counts=counts
    )


def run_sweep(
    inputs: Inputs,
    template: Plan,
    combinations: npt.NDArray[np.float64],
    needs: tuple[bool, bool],
    threads: int,
    values: npt.NDArray[np.float64],
    equity: npt.NDArray[np.float64],
    control: Control | None,
) -> None:
    """Run all combinations on the compiled engine.

    Args:
        combinations: float64[combinations, params].
        needs: whether metrics need the equity of every bar, and sums over trades.
        values: float64[combinations, len(NAMES)], filled with metrics.
        equity: float64[combinations, periods], filled with the equity at the ends of periods; no periods: not needed.
    """
    assert _core_rs is not None
    bars, program = inputs.bars, inputs.program
    timeframe = program.timeframe if isinstance(program, Strategy) else None
    try:
        _core_rs.sweep(
            (bars.time, bars.open, bars.high, bars.low, bars.close, bars.volume),
            bars.funding,
            bars.mark,
            bars.timeframe_ms,
            _core_rs.Template(template.nodes, template.conditions, template.levels, combinations.shape[1]),
            np.ascontiguousarray(combinations).reshape(-1),
            bars.timeframe_ms if timeframe is None else timeframes.MILLISECONDS[timeframe],
            _native_execution(inputs.execution),
            inputs.first,
            needs,
            threads,
            values.reshape(-1),
            equity.reshape(-1),
            None if control is None else control.flag,
            inputs.benchmark,
        )
    except BarstormError:
        raise
    except ValueError as error:
        raise StrategyError(str(error), where="grid") from None


@lru_cache(maxsize=256)
def _native_plan(plan: Plan) -> Any:
    assert _core_rs is not None
    return _core_rs.Plan(plan.nodes, plan.conditions, plan.levels)


@lru_cache(maxsize=256)
def _native_execution(execution: Execution) -> Any:
    """The execution for the compiled module, where levels are pairs of a kind and a number, long and short of each."""
    assert _core_rs is not None
    fields = {name: getattr(execution, name) for name in execution.__struct_fields__ if name not in LEVELS}
    fields["maker_fee"] = execution.commission if execution.maker_fee is None else execution.maker_fee
    fields["trading_hours"] = execution.trading_hours or ()
    fields["levels"] = [_native_level(execution.level(name, side)) for name in LEVELS for side in SIDES]
    return _core_rs.Execution(**fields)


def _native_level(level: float | str | Atr | None) -> tuple[str, float]:
    if level is None:
        return "none", 0.0
    if isinstance(level, Atr):
        return "multiple", level.multiple
    return ("series", 0.0) if isinstance(level, str) else ("fraction", level)
