"""Fingerprints of ranges of bars: remembered, or computed once."""

from __future__ import annotations

import asyncio

from workers.data.bars_cache import BarsCache, KnownRange
from workers.data.parts import Part
from workers.data.run_bars import BarRange
from workers.data.tasks import FindRange
from workers.errors import as_client_error
from workers.model.datasets import Dataset


async def find_range(bars: BarsCache, dataset: Dataset, parts: tuple[Part, ...], wanted: BarRange) -> KnownRange:
    """The fingerprint of a range with its warm-up; a new one is computed in the workroom or, without one, in a thread.

    Raises:
        Invalid: there is no bar in the range, or a stored file is missing or damaged.
        TooManyRequests, LimitExceeded: as `Workroom.run`.
    """
    async with bars.finding(dataset, wanted):
        if (known := bars.known_range(dataset, wanted)) is not None:
            return known
        if bars.workroom is not None:
            known = await bars.workroom.run("bars", FindRange(dataset, parts, wanted), KnownRange)
        else:
            with as_client_error():
                known = await asyncio.to_thread(bars.find_range, dataset, parts, wanted)
        bars.remember_range(dataset, wanted, known)
        return known
