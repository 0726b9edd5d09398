"""Trades packed into few bytes come back bit by bit."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

import python_core as bt
from workers.runs.packed_trades import pack, unpack, zstd


@pytest.fixture(scope="module")
def trades() -> npt.NDArray[np.void]:
    strategy = bt.Strategy(entry_long="crossover(sma(close, 5), sma(close, 20))", exit_long="close < sma(close, 20)")
    return bt.backtest(bt.synthetic(3_000), strategy, bt.Execution(take_profit=0.01)).trades.array


@pytest.mark.parametrize("count", [0, 1, None])
def test_trades_are_the_same_after_packing(trades: npt.NDArray[np.void], count: int | None) -> None:
    some = trades[:count]
    unpacked = unpack(pack(some))
    assert (unpacked.dtype, unpacked.tobytes()) == (some.dtype, some.tobytes())


def test_packed_trades_are_smaller_and_always_the_same(trades: npt.NDArray[np.void]) -> None:
    assert len(trades) > 50
    assert len(pack(trades)) < 0.7 * trades.nbytes
    assert pack(trades) == pack(trades.copy())


def test_trades_that_were_packed_with_whole_values_can_be_read(trades: npt.NDArray[np.void]) -> None:
    columns = np.ascontiguousarray(trades.view("<i8").reshape(len(trades), -1).T)
    packed = msgspec.json.encode(trades.dtype.descr) + b"\n" + zstd.compress(columns.tobytes(), 1)
    assert unpack(packed).tobytes() == trades.tobytes()
