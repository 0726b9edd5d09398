"""Barstorm's library: backtests over market history, by a compiled engine or a pure-Python one with the same bits."""

from python_core import diagnostics
from python_core.data.bars import Bars
from python_core.data.synthetic import synthetic
from python_core.engine.compiled import engine, engine_reason
from python_core.engine.control import Control
from python_core.engine.inputs import CONTRACT, fingerprint
from python_core.engine.kernel import backtest, simulate
from python_core.engine.result import Result
from python_core.errors import BarsError, BarstormError, Cancelled, EngineError, ExecutionError, FileError, StrategyError
from python_core.execution import Execution
from python_core.files.read import read_bars
from python_core.files.tables import from_arrow
from python_core.levels import Atr, PerSide
from python_core.optimize.sweep import SweepResult, sweep
from python_core.strategy import builder, library
from python_core.strategy.params import Param
from python_core.strategy.signals import Signals
from python_core.strategy.strategy import Strategy
from python_core.trades import Trade
from python_core.version import VERSION as __version__

__all__ = [
    "CONTRACT",
    "Atr",
    "Bars",
    "BarsError",
    "BarstormError",
    "Cancelled",
    "Control",
    "EngineError",
    "Execution",
    "ExecutionError",
    "FileError",
    "Param",
    "PerSide",
    "Result",
    "Signals",
    "Strategy",
    "StrategyError",
    "SweepResult",
    "Trade",
    "__version__",
    "backtest",
    "builder",
    "diagnostics",
    "engine",
    "engine_reason",
    "fingerprint",
    "from_arrow",
    "library",
    "read_bars",
    "simulate",
    "sweep",
    "synthetic",
]
