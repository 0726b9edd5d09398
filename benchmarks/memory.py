"""Peak memory of one contender's run: `python memory.py CONTENDER FOLDER single|sweep`. FOLDER holds the market and the signals as .npy files.

The outputs are retained. The contender is imported, its inputs are converted, and a run on a few bars warms it up before.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from cases import Grid, Job, Market, Signals
from contenders import Unsupported, all_contenders

SWEEP = range(10, 20), range(50, 150, 10)
COMBINATIONS = len(SWEEP[0]) * len(SWEEP[1])


def save(folder: Path, market: Market, signals: Signals) -> None:
    for name in Market.__dataclass_fields__:
        np.save(folder / f"{name}.npy", getattr(market, name))
    for name in ("entry_long", "exit_long"):
        np.save(folder / f"{name}.npy", getattr(signals, name))


def _load(folder: Path) -> Job:
    def column(name: str) -> Any:
        return np.load(folder / f"{name}.npy")

    # With all fields of the trades, so that their memory is counted as output.
    return Job(Market(*map(column, Market.__dataclass_fields__)), Signals(column("entry_long"), column("exit_long")), excursions=True)


def _head(job: Job, bars: int) -> Job:
    market = Market(*(getattr(job.market, name)[:bars].copy() for name in Market.__dataclass_fields__))
    return Job(market, Signals.of(job.signals.entry_long[:bars], job.signals.exit_long[:bars], shorts=False))


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))


def main() -> None:
    name, folder, kind = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    if not Path("/proc/self/clear_refs").exists():
        sys.exit("peak memory can only be reset on Linux")
    contender = dict(all_contenders())[name]()
    job = _load(folder)

    def prepare(job: Job) -> Any:
        return contender.single(job) if kind == "single" else contender.sweep(Grid(job.market, *SWEEP))

    try:
        prepare(_head(job, 2_000))()
    except Unsupported as reason:
        sys.exit(str(reason))
    call = prepare(job)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    outputs = call()
    peak = _resident("VmHWM") - before
    arrays = [part for part in outputs if isinstance(part, np.ndarray)]
    print(json.dumps({"peak": peak, "outputs": sum(part.nbytes for part in arrays)}))


if __name__ == "__main__":
    main()
