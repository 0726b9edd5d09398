"""Synthetic sample datasets, for trying out a new service."""

from __future__ import annotations

from typing import Final

import python_core as bt
from workers.data import catalog
from workers.data.datasets import MarketData
from workers.model.callers import OPERATOR
from workers.model.datasets import Dataset, Instrument

SAMPLES: Final = {
    "synthetic-1m": {"bars": 100_000, "seed": 1, "timeframe": "1m"},
    "synthetic-15m": {"bars": 50_000, "seed": 15, "timeframe": "15m"},
    "synthetic-1h": {"bars": 20_000, "seed": 7, "timeframe": "1h"},
    "synthetic-1d": {"bars": 5_000, "seed": 24, "timeframe": "1d"},
}


async def add(data: MarketData, owner: str = "") -> tuple[Dataset, ...]:
    """Create the samples for an owner; existing ones stay."""
    added = []
    for name, arguments in SAMPLES.items():
        bars = bt.synthetic(**arguments)  # type: ignore[arg-type]  # the values have several types
        instrument = Instrument(symbol="SYNTHETIC", exchange="synthetic", tick_size=0.01)
        added.append(await data.create(name, bars, instrument, source=f"synthetic, seed {arguments['seed']}", owner=owner))
    return tuple(added)


async def add_if_empty(data: MarketData) -> None:
    """Create the samples if there is no dataset yet."""
    async with data.database.read() as session:
        first = await catalog.page(session, OPERATOR, limit=1)
    if not first.items:
        await add(data)
