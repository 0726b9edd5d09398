"""Inputs and results can't be changed, and keep all their values when they are copied or sent to another process."""

from __future__ import annotations

import copy
import mmap
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import python_core as bt
from python_core.files import mapped
from python_core.trades import Trades

ENGINES = ["python", *(["rust"] if bt.engine == "rust" else [])]
STRATEGY = bt.Strategy(
    entry_long="crossover(sma(close, n), sma(close, 30))",
    exit_long="close < slow",
    define={"slow": "sma(close, 30)"},
    params={"n": 10},
    htf_filters={"long": [{"timeframe": "4h", "condition": "close > 0"}]},  # type: ignore[dict-item, list-item]
)
EXECUTION = bt.Execution(stop_loss=0.02, take_profit=bt.Atr(multiple=2.0), partial_exits=((0.01, 0.5),))


def bars() -> bt.Bars:
    plain = bt.synthetic(400)
    funding = (plain.time[::8], np.full(len(plain.time[::8]), 0.0001))
    return plain.with_series(funding=funding, mark=(plain.time, plain.low * 0.99, plain.high * 1.01))


@pytest.fixture(params=ENGINES)
def result(request: pytest.FixtureRequest) -> bt.Result:
    return bt.backtest(bars(), STRATEGY, EXECUTION, engine=request.param)


def is_read_only(array: Any) -> bool:
    """Whether neither the array nor any that it is a view of can be written to."""
    return not isinstance(array, np.ndarray) or (not array.flags.writeable and is_read_only(array.base))


def through_a_process(value: Any) -> Any:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(copy.copy, value).result()


COPIES: dict[str, Callable[[Any], Any]] = {
    **{f"pickle {protocol}": lambda value, p=protocol: pickle.loads(pickle.dumps(value, p)) for protocol in range(2, 6)},
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "process": through_a_process,
}


@pytest.mark.parametrize("way", COPIES)
def test_a_copied_result_keeps_everything(result: bt.Result, way: str) -> None:
    expected = bt.backtest(bars(), STRATEGY, EXECUTION, engine=result.engine)  # type: ignore[arg-type]
    assert expected.trades.column("mae").any()
    copied = COPIES[way](result)
    assert copied.trades.array.tobytes() == expected.trades.array.tobytes()
    assert copied.equity.tobytes() == expected.equity.tobytes()
    assert copied.metrics == expected.metrics
    assert (copied.fingerprint, copied.digest) == (expected.fingerprint, expected.digest)
    assert all(map(is_read_only, arrays(copied)))


@pytest.mark.parametrize("way", COPIES)
def test_copied_trades_keep_their_excursions(result: bt.Result, way: str) -> None:
    expected = bt.backtest(bars(), STRATEGY, EXECUTION, engine="python").trades.array
    copied = COPIES[way](result.trades)
    assert isinstance(copied, Trades)
    assert copied.array.tobytes() == expected.tobytes()
    assert is_read_only(copied.array)


@pytest.mark.parametrize("way", COPIES)
def test_copied_inputs_are_the_same_inputs(way: str) -> None:
    given = bars()
    copied = COPIES[way](given)
    assert copied.fingerprint == bars().fingerprint
    assert (copied.symbol, copied.timeframe, copied.timeframe_ms) == (given.symbol, given.timeframe, given.timeframe_ms)
    assert all(map(is_read_only, bars_arrays(copied)))
    assert COPIES[way](STRATEGY) == STRATEGY
    assert COPIES[way](STRATEGY).hash == STRATEGY.hash
    assert COPIES[way](EXECUTION) == EXECUTION
    signals = COPIES[way](bt.Signals(entry_long=given.close > given.open))
    assert signals.masks[0].tolist() == (given.close > given.open).tolist()
    assert is_read_only(signals.masks[0])
    assert bt.simulate(copied, signals).digest == bt.simulate(given, signals).digest


@pytest.mark.parametrize("way", COPIES)
def test_copied_sweeps_and_metrics_keep_their_values(way: str) -> None:
    found = bt.sweep(bars(), STRATEGY, {"n": [5, 10, 15]})
    copied = COPIES[way](found)
    assert copied.values.tobytes() == found.values.tobytes()
    assert copied.params["n"].tolist() == [5, 10, 15]
    assert copied.strategy(copied.best) == found.strategy(found.best)
    assert is_read_only(copied.values)
    assert is_read_only(copied.params["n"])
    assert COPIES[way](found.metrics(0)) == found.metrics(0)


def test_a_pickled_part_is_not_larger_than_its_bars() -> None:
    assert len(pickle.dumps(bt.synthetic(20_000)[100:200])) < 10_000


def bars_arrays(bars: bt.Bars) -> Iterator[np.ndarray]:
    yield from (bars.time, bars.open, bars.high, bars.low, bars.close, bars.volume)
    yield from (*(bars.funding or ()), *(bars.mark or ()))


def arrays(result: bt.Result) -> Iterator[np.ndarray]:
    yield from (result.equity, result.time, result.values)
    yield from map(result.trades.column, ("net", "mae"))
    yield result.trades.array


def test_no_array_of_a_result_can_be_written_to(result: bt.Result) -> None:
    for array in arrays(result):
        assert is_read_only(array)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_the_trades_before_and_after_their_excursions_are_read_only(result: bt.Result) -> None:
    before = result.trades.column("net")
    assert is_read_only(before)
    assert result.trades.column("net").tolist() == result.trades.array["net"].tolist() == before.tolist()


def test_a_changed_array_of_the_caller_changes_no_bars() -> None:
    rows = bars()
    given = {name: getattr(rows, name).copy() for name in ("time", "open", "high", "low", "close", "volume")}
    funding, mark = (rows.time[:1].copy(), np.array([0.5])), (rows.low.copy(), rows.high.copy())
    made = bt.Bars(**given, funding=funding, mark=mark)
    views = bt.Bars(**{name: values[:] for name, values in given.items()}, funding=funding, mark=mark)
    expected = bt.Bars(**{name: values.copy() for name, values in given.items()}, funding=funding, mark=mark).fingerprint
    digest = bt.backtest(made, STRATEGY).digest
    for values in (*given.values(), *funding, *mark):
        values[:] = values[-1]
    assert made.fingerprint == views.fingerprint == expected
    assert bt.backtest(made, STRATEGY).digest == bt.backtest(views, STRATEGY).digest == digest
    assert given["close"].flags.writeable


def test_a_read_only_view_of_an_array_that_can_be_changed_is_copied() -> None:
    rows = bars()
    close = rows.close.copy()
    view = close[:]
    view.flags.writeable = False
    made = bt.Bars(rows.time, rows.open, rows.high, rows.low, view, rows.volume)
    close[:] = 1.0
    assert made.close.tolist() == rows.close.tolist()


def test_columns_that_nobody_can_change_are_not_copied(tmp_path: Path) -> None:
    rows = bars()
    assert np.shares_memory(rows.with_series(mark=(rows.time, rows.low, rows.high)).close, rows.close)
    constant = np.frombuffer(rows.close.tobytes())
    assert np.shares_memory(bt.Bars(rows.time, rows.open, rows.high, rows.low, constant, rows.volume).close, constant)
    path = tmp_path / "bars"
    with path.open("wb") as file:
        mapped.write(file, rows)
    again = mapped.read(path)
    owner = again.close.base
    assert isinstance(owner, memoryview)
    assert isinstance(owner.obj, mmap.mmap)
    assert np.shares_memory(bt.Bars(*list(bars_arrays(again))[:6]).close, again.close)
    assert all(map(is_read_only, bars_arrays(again)))


def test_a_changed_mask_of_the_caller_changes_no_signals() -> None:
    rows = bars()
    mask = rows.close > rows.open
    signals = bt.Signals(entry_long=mask)
    before = bt.fingerprint(rows, signals, EXECUTION)
    mask[:] = False
    assert bt.fingerprint(rows, signals, EXECUTION) == before
    with pytest.raises(ValueError, match="read-only"):
        signals.masks[0][0] = True  # type: ignore[index]


def test_attributes_of_inputs_and_results_cannot_be_replaced(result: bt.Result) -> None:
    rows = bars()
    found = bt.sweep(rows, STRATEGY, {"n": [5]})
    signals = bt.Signals(entry_long=rows.close > rows.open)
    for thing, name in (
        (rows, "close"),
        (rows, "funding"),
        (signals, "masks"),
        (result, "equity"),
        (result.trades, "_array"),
        (found, "values"),
    ):
        with pytest.raises(AttributeError, match="can't be changed"):
            setattr(thing, name, None)
        with pytest.raises(AttributeError, match="can't be changed"):
            delattr(thing, name)
    with pytest.raises(TypeError, match="can't be changed"):
        found.params["n"] = np.array([1.0])  # type: ignore[index]


@pytest.mark.parametrize("name", ["params", "define", "htf_filters"])
def test_the_mappings_of_a_strategy_cannot_be_changed(name: str) -> None:
    names = getattr(STRATEGY, name)
    key, before = next(iter(names)), dict(names)
    changes: list[Callable[[], Any]] = [
        lambda: names.__setitem__(key, "x"),
        lambda: names.__delitem__(key),
        lambda: names.update({key: "x"}),
        lambda: names.pop(key),
        lambda: names.setdefault("other", "x"),
        names.clear,
        names.popitem,
    ]
    for change in changes:
        with pytest.raises(TypeError, match="can't be changed"):
            change()
    assert names == before


def test_a_changed_mapping_of_the_caller_changes_no_strategy() -> None:
    params: dict[str, Any] = {"n": 10}
    strategy = bt.Strategy(entry_long="close > sma(close, n)", params=params)
    params["n"] = 20
    assert strategy.values == {"n": 10}
