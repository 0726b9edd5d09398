"""Resting entries on bars of unknown paths agree with bars that are split along the path that `intrabar="path"` assumes."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

import python_core as bt
from tests.property.inputs import MINUTE, engines, history, seeds, share, split_along_path, ticks, walk

levels = st.sampled_from([None, 0.004, 0.015, bt.Atr(multiple=1, period=2)])


@share(1)
@given(
    engine=engines,
    seed=seeds,
    on_ticks=st.booleans(),
    side=st.sampled_from(["long", "short"]),
    kind=st.sampled_from(["entry_limit", "entry_stop"]),
    distance=st.sampled_from([0.002, 0.01, bt.Atr(multiple=0.5, period=2)]),
    rules=st.fixed_dictionaries(
        {
            "stop_loss": levels,
            "take_profit": levels,
            "partial_exits": st.sampled_from([(), ((0.004, 0.5),), ((0.002, 0.3), (0.01, 0.4))]),
            "entry_expires": st.sampled_from([1, 3]),
            "pyramiding": st.sampled_from([1, 1, 3]),
            "leverage": st.sampled_from([1.0, 1.0, 40.0]),
            "commission": st.sampled_from([0.0, 0.001]),
        }
    ),
)
def test_resting_entries_fill_as_on_bars_split_along_their_path(
    engine: str, seed: int, on_ticks: bool, side: str, kind: str, distance: Any, rules: dict[str, Any]
) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 150))
    prices = (ticks if on_ticks else walk)(rng, n)
    assume(not ((prices[1] - prices[0] == prices[0] - prices[2]) & (prices[1] > prices[2])).any())
    sign = 1 if side == "long" else -1
    strategy = bt.Strategy(
        **{f"entry_{side}": f"close * {sign} > close[1] * {sign}", f"exit_{side}": "close > close[1] and volume > 2"}, timeframe="3m"
    )
    volume = rng.integers(0, 5, n)
    execution = bt.Execution(sizing="fixed_quantity", size=2, intrabar="path", **{kind: distance}, **rules)
    still = 0 * volume
    whole = history(prices, volume=volume, step=3 * MINUTE)
    parts = history(split_along_path(prices), volume=np.stack([volume, still, still], axis=1).reshape(-1), step=MINUTE)
    coarse, fine = (bt.backtest(bars, strategy, execution, engine=engine) for bars in (whole, parts))
    a, b = coarse.trades.array, fine.trades.array
    # After an exit inside a bar nothing that rests fills in it; finer bars may fill it.
    assume(not {*(b["exit_index"] // 3)} & {*(b["entry_index"][1:] // 3)})
    for name in ("side", "reason", "quantity", "entry_price", "exit_price", "net"):
        np.testing.assert_allclose(b[name], a[name], rtol=1e-12, err_msg=name)
    np.testing.assert_array_equal(b["entry_index"] // 3, a["entry_index"])
    np.testing.assert_array_equal(b["exit_index"] // 3, a["exit_index"])
    np.testing.assert_allclose(fine.equity[2::3], coarse.equity, rtol=1e-12)
