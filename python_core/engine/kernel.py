"""The engine port: one call, run by the compiled engine or by the Python reference with the same bits."""

from __future__ import annotations

import os
from functools import lru_cache, partial
from importlib import import_module
from types import ModuleType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from python_core.data import timeframes
from python_core.data.bars import Bars
from python_core.engine import signals as reference_signals
from python_core.engine import simulate as reference
from python_core.engine.control import Control
from python_core.engine.result import CONTRACT, Result
from python_core.errors import BarstormError, EngineError, StrategyError
from python_core.execution import DEFAULT, Atr, Execution
from python_core.metrics import compute
from python_core.strategy.strategy import LEVELS, Plan, Signals, Strategy, compile_plan, series_levels
from python_core.version import VERSION

Engine = Literal["auto", "rust", "python"]


def _load() -> tuple[ModuleType | None, str]:
    if os.environ.get("BARSTORM_ENGINE") == "python":
        return None, "BARSTORM_ENGINE=python asks for it"
    try:
        module = import_module("python_core._core_rs")
    except ModuleNotFoundError:
        return None, "the compiled module python_core._core_rs is not installed (it was built without cargo)"
    found = getattr(module, "__version__", None), getattr(module, "CONTRACT", None)
    if found != (VERSION, CONTRACT):
        raise ImportError(
            f"python_core._core_rs is version {found[0]} (contract {found[1]}), the package {VERSION} "
            f"(contract {CONTRACT}): build it again with `make install` or `pip install --force-reinstall barstorm`"
        )
    return module, "the compiled module python_core._core_rs is installed"


_core_rs, engine_reason = _load()
engine: Literal["rust", "python"] = "python" if _core_rs is None else "rust"


def backtest(
    bars: Bars, strategy: Strategy, execution: Execution | None = None, *, engine: Engine = "auto", control: Control | None = None
) -> Result:
    """Run a strategy over bars.

    Raises:
        StrategyError, ExecutionError: what was wrong and where.
        Cancelled: `control.cancel()` was called.
        EngineError: `engine="rust"` where the compiled module isn't installed.
    """
    check_strategy(strategy)
    return _run(bars, strategy, execution, engine, control)


def simulate(
    bars: Bars, signals: Signals, execution: Execution | None = None, *, engine: Engine = "auto", control: Control | None = None
) -> Result:
    """Run ready-made signals over bars; errors as in `backtest`."""
    if not isinstance(signals, Signals):
        raise StrategyError(f"{type(signals).__name__} is no Signals", where="signals", hint="use bt.Signals(entry_long=mask, ...)")
    if isinstance(bars, Bars) and signals.length != len(bars):
        raise StrategyError(f"{signals.length:,} values for {len(bars):,} bars", where="signals", hint="give one value for each bar")
    return _run(bars, signals, execution, engine, control)


def _run(bars: Bars, program: Strategy | Signals, execution: Execution | None, engine: Engine, control: Control | None) -> Result:
    rules = checked(bars, execution, control)
    strategy = program if isinstance(program, Strategy) else None
    timeframe = None if strategy is None else strategy.timeframe
    reference_signals.check_multiple(bars, timeframe)
    plan = compile_plan(strategy, series_levels(rules))
    if plan.higher and timeframe is None:
        plan = compile_plan(strategy, series_levels(rules), bars.timeframe)
    run = _run_python if chosen(engine) is None else _run_rust
    return run(bars, program, plan, timeframe, rules, control)


def checked(bars: Bars, execution: Execution | None, control: Control | None) -> Execution:
    """The execution, or the default one.

    Raises:
        EngineError: one of them is of another type.
    """
    if not isinstance(bars, Bars):
        raise EngineError(f"{type(bars).__name__} is no Bars", where="bars", hint="use bt.Bars(...) or bt.read_bars(path)")
    if execution is not None and not isinstance(execution, Execution):
        raise EngineError(f"{type(execution).__name__} is no Execution", where="execution", hint="use bt.Execution(commission=0.001, ...)")
    if control is not None and not isinstance(control, Control):
        raise EngineError(f"{type(control).__name__} is no Control", where="control", hint="use bt.Control()")
    return DEFAULT if execution is None else execution


def check_strategy(strategy: Strategy) -> None:
    if not isinstance(strategy, Strategy):
        raise StrategyError(
            f"{type(strategy).__name__} is no Strategy", where="strategy", hint="use bt.Strategy, or bt.simulate for signals"
        )


def values(
    bars: Bars, plan: Plan, wanted: tuple[int, ...], timeframe: str | None, engine: Engine = "auto"
) -> list[npt.NDArray[np.float64]]:
    """The values of a plan's operations at the positions `wanted`, which give numbers, on every strategy bar (NaN: not known)."""
    if chosen(engine) is None:
        rows = reference_signals.StrategyBars(bars, timeframe)
        results = reference_signals.evaluate(plan.nodes, rows)
        return [results[i][0] for i in wanted]
    assert _core_rs is not None
    columns = (bars.time, bars.open, bars.high, bars.low, bars.close, bars.volume)
    strategy_ms = bars.timeframe_ms if timeframe is None else timeframes.MILLISECONDS[timeframe]
    found: list[npt.NDArray[np.float64]] = _core_rs.values(columns, bars.timeframe_ms, _native_plan(plan), wanted, strategy_ms)
    return found


def chosen(engine: Engine) -> ModuleType | None:
    """The compiled module, or none for the Python engine."""
    if engine == "auto":
        return _core_rs
    if engine == "python":
        return None
    if engine != "rust":
        raise EngineError(f"unknown engine {engine!r}", where="engine", hint="use auto, rust or python")
    if _core_rs is None:
        raise EngineError(f"the Rust engine can't be used: {engine_reason}", where="engine", hint="install a wheel with it, or use auto")
    return _core_rs


def _run_python(
    bars: Bars, program: Strategy | Signals, plan: Plan, timeframe: str | None, rules: Execution, control: Control | None
) -> Result:
    orders = reference_signals.orders(bars, timeframe, plan, program if isinstance(program, Signals) else None, control)
    outcome = reference.simulate(bars, orders, rules, control or Control())
    values = compute.compute(
        equity=outcome.equity,
        time_ms=bars.time,
        timeframe_ms=bars.timeframe_ms,
        trades=outcome.trades,
        capital=float(rules.capital),
        calendar=rules.calendar,
        exposed_bars=outcome.exposed_bars,
        traded_notional=outcome.traded_notional,
        first_open=float(bars.open[0]),
        last_close=float(bars.close[-1]),
    )
    return Result(
        bars,
        program,
        rules,
        engine="python",
        metrics=compute.known(values),
        trades=outcome.trades,
        complete=None,
        equity=outcome.equity,
        counts=(outcome.rejected_orders, outcome.ambiguous_bars, outcome.ruined),
    )


def _run_rust(
    bars: Bars, program: Strategy | Signals, plan: Plan, timeframe: str | None, rules: Execution, control: Control | None
) -> Result:
    assert _core_rs is not None
    equity = np.empty(len(bars))
    words, pending, known, rejected, ambiguous, ruined = _core_rs.run(
        (bars.time, bars.open, bars.high, bars.low, bars.close, bars.volume),
        bars.funding,
        bars.mark,
        bars.timeframe_ms,
        _native_plan(plan),
        program.bytes if isinstance(program, Signals) else None,
        bars.timeframe_ms if timeframe is None else timeframes.MILLISECONDS[timeframe],
        _native_rules(rules),
        equity,
        None if control is None else control.flag,
    )
    return Result(
        bars,
        program,
        rules,
        engine="rust",
        metrics=known,
        trades=words,
        complete=partial(_core_rs.excursions, words, bars.low, bars.high) if pending else None,
        equity=equity,
        counts=(rejected, ambiguous, ruined),
    )


def run_sweep(
    bars: Bars,
    template: Plan,
    rows: npt.NDArray[np.float64],
    params: int,
    strategy_ms: int,
    rules: Execution,
    risk: bool,
    threads: int,
    values: npt.NDArray[np.float64],
    control: Control | None,
) -> None:
    """Run all combinations in `rows` by the compiled engine and fill `values`, one row of metrics each."""
    assert _core_rs is not None
    try:
        _core_rs.sweep(
            (bars.time, bars.open, bars.high, bars.low, bars.close, bars.volume),
            bars.funding,
            bars.mark,
            bars.timeframe_ms,
            _core_rs.Template(template.nodes, template.conditions, template.levels, params),
            rows,
            strategy_ms,
            _native_rules(rules),
            risk,
            threads,
            values,
            None if control is None else control.flag,
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
def _native_rules(rules: Execution) -> Any:
    """The execution as the compiled module takes it; levels are pairs of a kind and a number."""
    assert _core_rs is not None
    fields = {name: getattr(rules, name) for name in rules.__struct_fields__}
    for name in LEVELS:
        level = fields[name]
        if level is None:
            fields[name] = ("none", 0.0)
        elif isinstance(level, Atr):
            fields[name] = ("multiple", level.multiple)
        else:
            fields[name] = ("series", 0.0) if isinstance(level, str) else ("fraction", level)
    return _core_rs.Rules(**fields)
