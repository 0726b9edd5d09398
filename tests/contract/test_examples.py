"""The worked examples of the contract: every value of every run, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import python_core as bt
from tests.property.inputs import ENGINES

FILE = Path(__file__).resolve().parents[3] / "shared/contract/examples.json"
COUNTS = ("rejected_orders", "clipped_orders", "filtered_entries", "expired_orders", "ambiguous_bars", "ruined")


def runs() -> list[Any]:
    """The runs of one market; portfolios and timeframes have tests of their own."""
    if not FILE.exists():
        return [pytest.param(None, marks=pytest.mark.skip(reason="the file of examples is not in this checkout"))]
    examples = json.loads(FILE.read_text())["examples"]
    return [
        pytest.param(run, id=f"{example['id']}-{i}")
        for example in examples
        for i, run in enumerate(example["runs"])
        if "markets" in run and run["portfolio"] is None
    ]


def rules(fields: dict[str, Any]) -> bt.Execution:
    return bt.Execution(**{{"capital": "initial_capital"}.get(name, name): value for name, value in fields.items()})


def bars_of(market: dict[str, Any]) -> bt.Bars:
    prices = np.array(market["ohlc"]).T
    funding = tuple(zip(*market["funding"], strict=True)) or None
    mark = tuple(np.array(market["mark"]).T) if "mark" in market else None
    return bt.Bars(market["time"], *prices, np.ones(len(market["time"])), timeframe="1h", funding=funding, mark=mark)


@pytest.mark.parametrize("run", runs())
@pytest.mark.parametrize("engine", ENGINES)
def test_an_example_gives_its_bits(run: dict[str, Any], engine: str) -> None:
    (market,) = run["markets"].values()
    bars, expected = bars_of(market), run["expected"]
    result = bt.simulate(bars, bt.Signals(**market["signals"]), rules(run["execution"]), start=bars.time[run["start"]], engine=engine)
    found = [
        {
            "symbol": "A",
            "entry_time": trade.entry_time,
            "exit_time": trade.exit_time,
            "entry_index": int(row["entry_index"]),
            "exit_index": int(row["exit_index"]),
            "side": float(row["side"]),
            "reason": trade.reason,
            "quantity": trade.quantity,
            "entry": trade.entry_price,
            "exit": trade.exit_price,
            **{name: getattr(trade, name) for name in ("gross", "fees", "funding", "net", "mae", "mfe")},
        }
        for row, trade in zip(result.trades.array, result.trades, strict=True)
    ]
    assert repr(found) == repr(expected["trades"])  # repr tells -0.0 from 0.0
    assert result.time.tolist() == expected["time"]
    assert repr(result.equity.tolist()) == repr(expected["equity"])
    assert {name: getattr(result, name) for name in COUNTS} == {name: expected[name] for name in COUNTS}
    assert result.metrics.exposure == expected["exposed_bars"] / len(bars.time[run["start"] :])
