"""The work of a backtest job: bars in, files and a result row out, without queue or database."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any

import msgspec

import python_core as bt
from workers.data.bars_cache import BarsCache
from workers.data.compute import load_bars, on_bars
from workers.data.parts import Part
from workers.model.datasets import Dataset
from workers.model.runs import Backtest
from workers.runs import results
from workers.storage.artifacts import Artifacts


class Computed(msgspec.Struct, frozen=True):
    """The row for the table of results, and how long each stage took."""

    row: dict[str, Any]
    load_ms: float
    kernel_ms: float
    save_ms: float


def compute(
    artifacts: Artifacts, bars_cache: BarsCache, dataset: Dataset, parts: Sequence[Part], request: Backtest, control: bt.Control
) -> Computed:
    clock = [time.perf_counter()]
    bars = load_bars(bars_cache, dataset, parts, request)
    clock.append(time.perf_counter())
    result = on_bars(bars, request, control)
    _ = result.metrics  # computed on first use; its time belongs to the kernel
    clock.append(time.perf_counter())
    row = results.save(artifacts, result, kernel_ms=(clock[2] - clock[1]) * 1000)
    clock.append(time.perf_counter())
    return Computed(row, *(round((end - begin) * 1000, 3) for begin, end in itertools.pairwise(clock)))
