"""The boundary of the compiled engine: unusual arrays, invalid inputs, memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import python_core as bt
from python_core.engine import compiled
from python_core.metrics import COUNTS, NAMES, RUN_NAMES, TRADE_NAMES
from tests.support.marks import needs_rust

BENCHMARKS = Path(__file__).parents[4] / "benchmarks"
BARS = 50


def columns(n: int = BARS) -> dict[str, np.ndarray]:
    close = 100 * np.exp(np.cumsum(np.random.default_rng(5).standard_normal(n) * 0.01))
    open_ = np.concatenate(([100.0], close))[:n]
    prices = {"open": open_, "high": np.maximum(open_, close), "low": np.minimum(open_, close), "close": close}
    return {"time": 60_000 * np.arange(n, dtype=np.int64), **prices, "volume": np.ones(n)}


def masks(n: int = BARS) -> dict[str, np.ndarray]:
    random = np.random.default_rng(6)
    return {name: random.random(n) < 0.2 for name in ("entry_long", "exit_long", "entry_short", "exit_short")}


def digest(engine: str, shape: Callable[[np.ndarray], Any]) -> str:
    bars = bt.Bars(**{name: shape(column) for name, column in columns().items()}, timeframe="1m")
    signals = bt.Signals(**{name: shape(mask) for name, mask in masks().items()})
    return bt.simulate(bars, signals, bt.Execution(stop_loss=0.01), engine=engine).digest  # type: ignore[arg-type]


def spread_out(array: np.ndarray) -> np.ndarray:
    wide = np.zeros(3 * len(array), array.dtype)
    wide[1::3] = array
    return wide[1::3]


def off_by_one_byte(array: np.ndarray) -> np.ndarray:
    return np.frombuffer(b"." + array.tobytes(), array.dtype, offset=1)


SHAPES: dict[str, Callable[[np.ndarray], Any]] = {
    "not contiguous": spread_out,
    "backwards in memory": lambda array: array[::-1].copy()[::-1],
    "a column of a table": lambda array: np.stack([array, array], axis=1)[:, 1],
    "read-only and not aligned": off_by_one_byte,
    "of the other byte order": lambda array: array.astype(array.dtype.newbyteorder()),
    "a list": lambda array: array.tolist(),
    "true as another byte than 1": lambda array: (array.view(np.uint8) * 2).view(np.bool_) if array.dtype == np.bool_ else array,
    "of subclasses": lambda array: np.ma.MaskedArray(array),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_arrays_of_any_layout_give_the_same_result(engine: str, shape: Callable[[np.ndarray], Any]) -> None:
    assert digest(engine, shape) == digest(engine, np.array)


def replaced(array: np.ndarray, value: float) -> np.ndarray:
    changed = array.copy()
    changed[7] = value
    return changed


class Unwilling:
    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise RuntimeError


FAULTS: dict[str, tuple[str, Callable[[np.ndarray], Any], str]] = {
    "NaN": ("close", lambda array: replaced(array, np.nan), "close: bar 7 "),
    "infinity": ("high", lambda array: replaced(array, np.inf), "high: bar 7 "),
    "negative": ("low", lambda array: replaced(array, -1.0), "low: bar 7 "),
    "unsorted": ("time", lambda array: replaced(array, 0), "time: bar 7 "),
    "text": ("open", lambda array: array.astype(str), "open: the dtype is <U"),
    "complex": ("volume", lambda array: array.astype(complex), "volume: the dtype is complex128"),
    "objects": ("close", lambda array: array.astype(object), "close: the dtype is object"),
    "too short": ("close", lambda array: array[:-1], "close: 49 values, but time has 50"),
    "two dimensions": ("low", lambda array: array.reshape(5, 10), r"low: the shape is \(5, 10\)"),
    "numbers as a signal": ("exit_long", lambda array: array.astype(float), "exit_long: the dtype is float64"),
    "a signal of two dimensions": ("entry_short", lambda array: array.reshape(5, 10), r"entry_short: the shape is \(5, 10\)"),
    "a signal that can't be converted": ("entry_long", lambda array: Unwilling(), "entry_long: not an array"),
    "signals that differ in length": ("exit_short", lambda array: array[:-1], "'exit_short': 49"),
}


@pytest.mark.parametrize(("name", "spoil", "words"), FAULTS.values(), ids=FAULTS)
def test_an_invalid_array_is_named(name: str, spoil: Callable[[np.ndarray], Any], words: str) -> None:
    given = {**columns(), **masks()}
    given[name] = spoil(given[name])
    with pytest.raises(ValueError, match=words):
        bt.Signals(**{name: given[name] for name in masks()}), bt.Bars(**{name: given[name] for name in columns()})


def test_empty_bars_and_signals_of_another_length_are_rejected() -> None:
    with pytest.raises(ValueError, match="no bars"):
        bt.Bars(**columns(0))
    with pytest.raises(ValueError, match="49 values for 50 bars"):
        bt.simulate(bt.Bars(**columns()), bt.Signals(**masks(49)))


def test_one_or_two_bars_can_be_run(engine: str) -> None:
    for n in (1, 2):
        bars = bt.Bars(**columns(n), timeframe="1m")
        always = np.ones(n, np.bool_)
        result = bt.simulate(bars, bt.Signals(entry_long=always), engine=engine)  # type: ignore[arg-type]
        assert (len(result.equity), len(result.trades)) == (n, n - 1)


def test_metrics_are_none_float_or_int_in_both_engines(engine: Any) -> None:
    result = bt.simulate(bt.Bars(**columns()), bt.Signals(entry_long=masks()["entry_long"]), engine=engine)
    long, short = len(RUN_NAMES), len(RUN_NAMES) + len(TRADE_NAMES)
    for metrics, floats in (
        (result.metrics, result.values[:long]),
        (result.metrics.long, result.values[long:short]),
        (result.metrics.short, result.values[short:]),
    ):
        for name, value in zip(metrics.__struct_fields__, floats, strict=False):
            kind = int if name in COUNTS else float if value == value else type(None)
            assert type(getattr(metrics, name)) is kind, name


# Input that `Bars` and `Signals` never pass on; the compiled module must handle it anyway.
BOUNDARY: dict[str, dict[str, Any]] = {
    "not contiguous": {"close": spread_out},
    "of another dtype": {"open": lambda array: array.astype(np.float32)},
    "of the other byte order": {"low": lambda array: array.astype(">f8")},
    "of two dimensions": {"high": lambda array: array.reshape(5, 10)},
    "no array": {"close": np.ndarray.tolist},
    "too short": {"volume": lambda array: array[:7]},
    "empty": dict.fromkeys(columns(), lambda array: array[:0]),
    "NaN": dict.fromkeys(("open", "high", "low", "close"), lambda array: array * np.nan),
    "infinite": dict.fromkeys(("open", "high", "low", "close"), lambda array: array * np.inf),
    "zero": dict.fromkeys(("open", "high", "low", "close"), np.zeros_like),
    "backwards in time": {"time": lambda array: array[::-1].copy()},
    "at the edges of time": {"time": lambda array: np.where(array == 0, -(2**63), 2**63 - 1)},
    "no room for equity": {"equity": lambda array: array[:7]},
    "equity with holes": {"equity": spread_out},
    "equity that can't be written to": {"equity": off_by_one_byte},
    "signals too short": {"masks": lambda array: array[:7]},
    "signals with holes": {"masks": spread_out},
    "signals that are booleans": {"masks": lambda array: array.astype(np.bool_)},
    "levels too short": {"levels": lambda array: array[:7]},
    "levels with holes": {"levels": spread_out},
    "levels of another dtype": {"levels": lambda array: array.astype(np.float32)},
    "levels that are infinite": {"levels": lambda array: array * np.inf},
    "no bar after the warm-up": {"first": lambda _: BARS},
    "a first bar before the first": {"first": lambda _: -1},
}


@needs_rust
@pytest.mark.parametrize("spoil", BOUNDARY.values(), ids=BOUNDARY)
def test_the_compiled_module_rejects_or_runs_any_input(spoil: dict[str, Any]) -> None:
    core_rs = compiled._core_rs
    assert core_rs is not None
    given = {**columns(), "equity": np.zeros(BARS), "masks": np.ones(BARS, np.uint8), "levels": np.full(BARS, 90.0), "first": 0}
    given |= {name: change(given[name]) for name, change in spoil.items()}
    masks, equity, levels, first = (given.pop(name) for name in ("masks", "equity", "levels", "first"))
    signals = [masks, None, None, masks], [levels, *[None] * 9], levels
    execution = compiled._native_execution(bt.Execution(leverage=3, take_profit=0.02))
    plan = core_rs.Plan((), (-1,) * 4, (-1,) * 10)
    refused = False
    try:
        core_rs.run(tuple(given.values()), None, None, 60_000, plan, signals, 60_000, execution, first, equity, None, None)
    except (OverflowError, TypeError, ValueError):
        refused = True
    assert refused or set(spoil) <= {"time", "open", "high", "low", "close"} or spoil is BOUNDARY["levels that are infinite"]


@needs_rust
@pytest.mark.parametrize(
    ("nodes", "conditions", "levels"),
    [
        ([("close", (), (), 0)], (0, -1, -1, -1), (-1,) * 10),
        ([("const_condition", (), (1.0,), 0)], (0, -1, -1, -1), (0, *(-1,) * 9)),
        ([("close", (), (), 0), ("not", (0,), (), 0)], (1, -1, -1, -1), (-1,) * 10),
        ([("const_condition", (), (1.0,), 300_000)], (0, -1, -1, -1), (-1,) * 10),
        ([("close", (), (), 0), ("gt", (0, 1), (), 0)], (1, -1, -1, -1), (-1,) * 10),
        ([], (0, -1, -1, -1), (-1,) * 10),
    ],
    ids=["a number as condition", "a condition as level", "a number as input of not", "on other bars", "itself as input", "none"],
)
def test_invalid_operations_make_neither_plan_nor_template(nodes: Any, conditions: Any, levels: Any) -> None:
    core_rs = compiled._core_rs
    assert core_rs is not None
    for made in (core_rs.Plan, lambda *given: core_rs.Template(*given, 0)):
        with pytest.raises(ValueError, match="invalid_plan"):
            made(nodes, conditions, levels)


@pytest.mark.parametrize("value", [-(2**63), -1, 2**63 - 1])
def test_times_changed_after_the_check_do_no_harm(engine: Any, value: int) -> None:
    given = columns()
    bars = bt.Bars(**given)
    given["time"][17:23] = value
    higher = bt.Strategy(entry_long="at('5m', close > open)", exit_long="close < at('15m', open)", exit_short="sma(close, 3, tf='5m') > 0")
    assert len(bt.backtest(bars, higher, bt.Execution(stop_loss=0.01), engine=engine).equity) == BARS


@needs_rust
@pytest.mark.parametrize("owners", [1, 2])
@pytest.mark.parametrize("name", [*columns(), "masks", "levels", "size", "benchmark"])
def test_an_output_that_shares_memory_with_an_input_is_rejected(name: str, owners: int) -> None:
    core_rs = compiled._core_rs
    assert core_rs is not None
    given = {**columns(), "masks": np.ones(BARS, np.uint8), "levels": np.ones(BARS), "size": np.ones(BARS), "benchmark": np.ones(BARS)}
    memory = bytearray(8 * BARS)
    equity = np.frombuffer(memory)
    given[name] = (equity if owners == 1 else np.frombuffer(memory)).view(given[name].dtype)[:BARS]
    masks, levels, size, benchmark = (given.pop(name) for name in ("masks", "levels", "size", "benchmark"))
    plan, execution = core_rs.Plan((), (-1,) * 4, (-1,) * 10), compiled._native_execution(bt.Execution())
    signals = [masks, None, None, None], [levels, *[None] * 9], size
    with pytest.raises((TypeError, ValueError), match="borrowed" if owners == 1 else "shares memory"):
        core_rs.run(
            tuple(given.values()), None, None, 60_000, plan, signals, 60_000, execution, 0, equity, None, (columns()["time"], benchmark)
        )


@needs_rust
def test_a_sweep_of_a_template_without_timeframe_is_rejected() -> None:
    core_rs = compiled._core_rs
    assert core_rs is not None
    template = core_rs.Template([("close", (), (), 300_000), ("at", (0,), (), 0), ("gt", (1, 1), (), 0)], (2, -1, -1, -1), (-1,) * 10, 1)
    execution, values = compiled._native_execution(bt.Execution()), np.empty(len(NAMES))
    with pytest.raises(ValueError, match="invalid_input"):
        core_rs.sweep(
            tuple(columns().values()),
            None,
            None,
            60_000,
            template,
            np.ones(1),
            0,
            execution,
            0,
            (True, True),
            1,
            values,
            np.empty(0),
            None,
            None,
        )


def peak(folder: Path, kind: str, bars: int) -> dict[str, int]:
    """Peak bytes of a run or a sweep of 100, beyond the memory before it, and the bytes of its outputs; in a new process."""
    code = (
        "import pathlib, json, measure, memory, cases\n"
        f"folder = pathlib.Path({str(folder)!r})\n"
        f"memory.save(folder, *cases.market({bars})[:2])\n"
        f"print(json.dumps(measure.peak_memory('barstorm', folder, {kind!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=BENCHMARKS, capture_output=True, text=True, check=True)
    found: dict[str, int] = json.loads(done.stdout)
    assert isinstance(found, dict), found
    return found


needs_proc = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of a process can be reset on Linux only")


@needs_rust
@needs_proc
def test_a_run_uses_the_size_of_its_outputs_and_little_more(tmp_path: Path) -> None:
    found = peak(tmp_path, "single", 1_000_000)
    assert found["outputs"] > 8_000_000
    assert found["peak"] <= found["outputs"] + (3 << 19)


@needs_rust
@needs_proc
def test_the_memory_of_a_sweep_does_not_grow_with_the_bars(tmp_path: Path) -> None:
    # The equity of a single run over these bars would take 8 MB.
    assert peak(tmp_path, "sweep", 1_000_000)["peak"] <= 1 << 20
