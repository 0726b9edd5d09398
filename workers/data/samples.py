"""Sample datasets, so that a new service can be tried at once. They are synthetic, and named so."""

from __future__ import annotations

from typing import Final

import python_core as bt
from workers.data import catalog
from workers.data.datasets import MarketData
from workers.model.datasets import Dataset, Instrument

SAMPLES: Final = {
    "synthetic-1m": {"bars": 100_000, "seed": 1, "timeframe": "1m"},
    "synthetic-15m": {"bars": 50_000, "seed": 15, "timeframe": "15m"},
    "synthetic-1h": {"bars": 20_000, "seed": 7, "timeframe": "1h"},
    "synthetic-1d": {"bars": 5_000, "seed": 24, "timeframe": "1d"},
}


async def add(data: MarketData) -> tuple[Dataset, ...]:
    """Add the samples that are not there."""
    added = []
    for name, arguments in SAMPLES.items():
        bars = bt.synthetic(**arguments)  # type: ignore[arg-type]  # of mixed types
        about = Instrument(symbol="SYNTHETIC", exchange="synthetic", tick_size=0.01)
        added.append(await data.create(name, bars, about, source=f"synthetic, seed {arguments['seed']}"))
    return tuple(added)


async def add_to_new(data: MarketData) -> None:
    """Add the samples to a service that has no data yet."""
    async with data.database.read() as session:
        there = await catalog.every(session)
    if not there:
        await add(data)
