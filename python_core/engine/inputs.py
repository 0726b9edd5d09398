"""What a run depends on, and the hash that makes it reproducible."""

from __future__ import annotations

import hashlib
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from python_core.data.bars import Bars
from python_core.data.columns import iso
from python_core.data.epoch import Moment, to_epoch_ms
from python_core.engine.rules import check_rules
from python_core.errors import EngineError, StrategyError
from python_core.execution import DEFAULT, FIELDS, LEVELS, WHOLE, Execution
from python_core.language.normalize import canonical
from python_core.levels import SIDES, Atr, PerSide, of_side
from python_core.metrics.benchmark import Benchmark, check_benchmark
from python_core.strategy.signals import Signals
from python_core.strategy.strategy import Strategy

# Part of every fingerprint. Raise it when the same inputs may give other outputs than before.
CONTRACT: Final = 2

GivenSeries = tuple[npt.ArrayLike, npt.ArrayLike]


class Inputs(NamedTuple):
    """What a run depends on.

    Attributes:
        bars: those from the first bar of the warm-up on.
        first: position of the first bar of the run; those before it are warm-up.
        benchmark: None for the closes.
    """

    bars: Bars
    program: Strategy | Signals
    execution: Execution
    first: int = 0
    benchmark: Benchmark | None = None

    @property
    def timeframe(self) -> str | None:
        """That of the strategy; None for that of the bars."""
        return self.program.timeframe if isinstance(self.program, Strategy) else None

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the inputs; see `bt.fingerprint`."""
        digest = hashlib.sha256(f"barstorm contract {CONTRACT}\n{self.bars.fingerprint}\n{self.first}\n".encode())
        if isinstance(self.program, Signals):
            digest.update(self.program.fingerprint.encode())
        else:
            digest.update(msgspec.json.encode(self.program.canonical(), order="deterministic"))
        digest.update(b"\n")
        digest.update(msgspec.json.encode(canonical_execution(self.execution), order="deterministic"))
        for values in self.benchmark or ():
            digest.update(f"\nbenchmark {len(values)}\n".encode())
            digest.update(values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes())
        return digest.hexdigest()


def select_inputs(
    bars: Bars,
    program: Strategy | Signals,
    execution: Execution | None,
    *,
    start: Moment | None = None,
    warm_up_from: Moment | None = None,
    benchmark: GivenSeries | None = None,
) -> Inputs:
    """The inputs of a run that starts at the first bar at or after `start`, after a warm-up from `warm_up_from` on.

    Raises:
        ExecutionError, StrategyError: rules that contradict each other, or not one signal for each bar.
        EngineError: an argument of another type, or a start outside the bars or before the warm-up.
        BarsError: not a time, or a benchmark that is not a series, or has no value at the first open.
    """
    _check_types(bars, program, execution)
    execution = DEFAULT if execution is None else execution
    check_rules(execution, program)
    start_ms = None if start is None else to_epoch_ms(start, "start")
    first, begin = 0 if start_ms is None else _first_bar(bars, start_ms), 0
    if warm_up_from is not None:
        warm_up_ms = to_epoch_ms(warm_up_from, "warm_up_from")
        start_ms = int(bars.time[0]) if start_ms is None else start_ms
        if start_ms < warm_up_ms:
            raise EngineError(
                f"the run starts at {start_ms} ({iso(start_ms)}), before the warm-up from {warm_up_ms} ({iso(warm_up_ms)})",
                where="start",
                hint="set start to a time after warm_up_from",
            )
        begin = int(np.searchsorted(bars.time, warm_up_ms))
    if begin > 0:
        bars, program, first = bars[begin:], program[begin:] if isinstance(program, Signals) else program, first - begin
    return Inputs(bars, program, execution, first, None if benchmark is None else check_benchmark(benchmark, int(bars.time[first])))


def fingerprint(
    bars: Bars,
    program: Strategy | Signals,
    execution: Execution,
    *,
    start: Moment | None = None,
    warm_up_from: Moment | None = None,
    benchmark: GivenSeries | None = None,
) -> str:
    """SHA-256 (hex) of the inputs of a run: contract number, bars, canonical strategy (or signals), execution, start and benchmark.

    Runs with equal fingerprints have equal digests, whichever engine, machine or number of threads ran them.

    Example:
        bars, strategy = bt.synthetic(100), bt.Strategy(entry_long="close > open")
        assert bt.fingerprint(bars, strategy, bt.Execution()) == bt.backtest(bars, strategy).fingerprint
    """
    return select_inputs(bars, program, execution, start=start, warm_up_from=warm_up_from, benchmark=benchmark).fingerprint


def _check_types(bars: Bars, program: Strategy | Signals, execution: Execution | None) -> None:
    if not isinstance(bars, Bars):
        raise EngineError(f"expected Bars, got {type(bars).__name__}", where="bars", hint="use bt.Bars(...) or bt.read_bars(path)")
    if execution is not None and not isinstance(execution, Execution):
        raise EngineError(
            f"expected Execution, got {type(execution).__name__}", where="execution", hint="use bt.Execution(commission=0.001, ...)"
        )
    if isinstance(program, Signals):
        if program.length != len(bars):
            raise StrategyError(
                f"got {program.length:,} values for {len(bars):,} bars", where="signals", hint="give one value for each bar"
            )
    elif not isinstance(program, Strategy):
        raise StrategyError(
            f"expected Strategy or Signals, got {type(program).__name__}", where="strategy", hint="use bt.Strategy or bt.Signals"
        )


def _first_bar(bars: Bars, start: int) -> int:
    if not bars.time[0] <= start <= bars.time[-1]:
        raise EngineError(
            f"{start} is outside the bars",
            where="start",
            hint=f"the bars run from {bars.time[0]} ({iso(bars.time[0])}) to {bars.time[-1]} ({iso(bars.time[-1])}), epoch milliseconds",
        )
    return int(np.searchsorted(bars.time, start))


def canonical_execution(execution: Execution) -> dict[str, Any]:
    """The execution with all its defaults, ints as floats, and expressions in canonical form."""
    fields = dict(_CANONICAL_DEFAULTS)
    for name, default in FIELDS:
        if (value := getattr(execution, name)) is not default:
            fields[name] = _canonical_field(name, value)
    fields["maker_fee"] = float(execution.maker_rate)
    return fields


def _canonical_field(name: str, value: Any) -> Any:
    if name in LEVELS:
        return _canonical_level(name, value)
    if name == "partial_exits":
        return [[float(profit), float(share)] for profit, share in value]
    if name in ("trading_hours", "trading_days"):
        return None if value is None else sorted(set(value))
    if isinstance(value, int) and not isinstance(value, bool) and name not in WHOLE:
        return float(value)
    return value


def _canonical_level(name: str, level: Any) -> Any:
    """A level in canonical form; a level of both sides is the same as that level for each side."""
    if isinstance(level, PerSide):
        long, short = (_canonical_level(f"{name}.{side}", of_side(level, side)) for side in SIDES)
        return long if long == short else {"long": long, "short": short}
    if isinstance(level, str):
        return canonical(name, level)
    if isinstance(level, Atr):
        return {"multiple": float(level.multiple), "period": level.period}
    return None if level is None else float(level)


_CANONICAL_DEFAULTS: Final = {name: _canonical_field(name, default) for name, default in FIELDS}
