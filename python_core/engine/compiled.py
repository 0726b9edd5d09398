"""The compiled engine: whether it is installed, and calls of it. What it takes and gives is in `_core_rs.pyi`."""

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
from python_core.engine.control import Control
from python_core.engine.inputs import CONTRACT, Inputs
from python_core.engine.result import Result
from python_core.errors import BarstormError, EngineError, StrategyError
from python_core.execution import LEVELS, Execution
from python_core.levels import SIDES, Atr
from python_core.strategy.compile import Plan
from python_core.strategy.signals import Signals
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


def run(inputs: Inputs, plan: Plan, control: Control | None) -> Result:
    """Run inputs that have been checked."""
    assert _core_rs is not None
    bars, program, execution, first = inputs.bars, inputs.program, inputs.execution, inputs.first
    equity = np.empty(len(bars) - first)
    trades, excursions_pending, metrics, counts = _core_rs.run(
        _columns(bars),
        bars.funding,
        bars.mark,
        bars.timeframe_ms,
        _native_plan(plan),
        program.native if isinstance(program, Signals) else None,
        _strategy_ms(bars, inputs.timeframe),
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


def sweep(
    inputs: Inputs,
    template: Plan,
    combinations: npt.NDArray[np.float64],
    *,
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
    bars = inputs.bars
    try:
        _core_rs.sweep(
            _columns(bars),
            bars.funding,
            bars.mark,
            bars.timeframe_ms,
            _core_rs.Template(template.nodes, template.conditions, template.levels, combinations.shape[1]),
            np.ascontiguousarray(combinations).reshape(-1),
            _strategy_ms(bars, inputs.timeframe),
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


def node_values(
    bars: Bars, plan: Plan, positions: tuple[int, ...], timeframe: str | None, *, fill_at_close: bool
) -> list[npt.NDArray[np.float64]]:
    """Numeric values of the plan's nodes at `positions`, as `kernel.node_values`."""
    assert _core_rs is not None
    results: list[npt.NDArray[np.float64]] = _core_rs.node_values(
        _columns(bars), bars.timeframe_ms, _native_plan(plan), positions, _strategy_ms(bars, timeframe), fill_at_close
    )
    return results


def _columns(bars: Bars) -> tuple[npt.NDArray[Any], ...]:
    return bars.time, bars.open, bars.high, bars.low, bars.close, bars.volume


def _strategy_ms(bars: Bars, timeframe: str | None) -> int:
    return bars.timeframe_ms if timeframe is None else timeframes.MILLISECONDS[timeframe]


@lru_cache(maxsize=256)
def _native_plan(plan: Plan) -> Any:
    assert _core_rs is not None
    return _core_rs.Plan(plan.nodes, plan.conditions, plan.levels)


@lru_cache(maxsize=256)
def _native_execution(execution: Execution) -> Any:
    """The execution for the compiled module, where levels are pairs of a kind and a number, long and short of each."""
    assert _core_rs is not None
    fields = {name: getattr(execution, name) for name in execution.__struct_fields__ if name not in LEVELS}
    fields["maker_fee"] = execution.maker_rate
    fields["trading_hours"] = execution.trading_hours or ()
    fields["levels"] = [_native_level(execution.level(name, side)) for name in LEVELS for side in SIDES]
    return _core_rs.Execution(**fields)


def _native_level(level: float | str | Atr | None) -> tuple[str, float]:
    if level is None:
        return "none", 0.0
    if isinstance(level, Atr):
        return "multiple", level.multiple
    return ("series", 0.0) if isinstance(level, str) else ("fraction", level)
