"""Backtests by the compiled engine or by the Python reference, with the same bits. The twin is `core_rs/src/backtest.rs`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from python_core.data.bars import Bars
from python_core.data.epoch import Moment
from python_core.engine import compiled
from python_core.engine import simulate as reference
from python_core.engine.compiled import Engine, compiled_module
from python_core.engine.control import Control
from python_core.engine.evaluate import evaluate
from python_core.engine.inputs import GivenSeries, Inputs, select_inputs
from python_core.engine.orders import make_orders
from python_core.engine.result import Result
from python_core.engine.strategy_bars import StrategyBars, check_timeframe
from python_core.errors import EngineError, StrategyError
from python_core.execution import Execution
from python_core.metrics.compute import compute
from python_core.metrics.definitions import nan_to_none
from python_core.strategy.compile import Plan, compile_plan, series_levels
from python_core.strategy.signals import Signals
from python_core.strategy.strategy import Strategy
from python_core.trades import Trades


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
    check_control(control)
    inputs = select_inputs(bars, strategy, execution, start=start, warm_up_from=warm_up_from, benchmark=benchmark)
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
    check_control(control)
    inputs = select_inputs(bars, signals, execution, start=start, warm_up_from=warm_up_from, benchmark=benchmark)
    return run(inputs, engine, control)


def run(inputs: Inputs, engine: Engine, control: Control | None) -> Result:
    """Run inputs that have been checked."""
    plan = compile_run(inputs.program, inputs.execution, inputs.bars.timeframe)
    return _run_python(inputs, plan, control) if compiled_module(engine) is None else compiled.run(inputs, plan, control)


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


def check_control(control: Control | None) -> None:
    """Check that it is a `Control` or None.

    Raises:
        EngineError: it isn't.
    """
    if control is not None and not isinstance(control, Control):
        raise EngineError(f"expected Control, got {type(control).__name__}", where="control", hint="use bt.Control()")


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
    return compiled.node_values(bars, plan, positions, timeframe, fill_at_close=fill_at_close)


def _run_python(inputs: Inputs, plan: Plan, control: Control | None) -> Result:
    bars, program, execution, first, benchmark = inputs
    orders = make_orders(bars, inputs.timeframe, plan, execution, program if isinstance(program, Signals) else None, control)
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
        trades=Trades(outcome.trades.view(np.int64), None),
        equity=outcome.equity,
        counts=outcome.counts,
    )
