"""Limits besides speed: linear scaling, prompt cancellation, little memory."""

from __future__ import annotations

import signal
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import memory
from cases import Grid, Job, cached_market
from contenders import Contender
from contenders.barstorm import Barstorm
from measure import Sampling, interleaved, peak_memory
from report import OURS, number, table

CANCEL_MS = 50.0
OVERHEAD_BYTES = 1 << 20  # beyond outputs
BARS = [1_250_000, 2_500_000, 5_000_000, 10_000_000]
SLOWS = [range(210, 210 + 500 // part) for part in (8, 4, 2, 1)]
FASTS = range(5, 205)


class Finding(NamedTuple):
    text: str
    data: Any
    faults: list[str]


def scaling(contenders: dict[str, Contender]) -> Finding:
    ours, sampling = contenders[OURS], Sampling(seconds=2, min_samples=3, max_samples=20)
    runs = {}
    for bars in BARS:
        market, _, both = cached_market(bars)
        runs[bars] = ours.single(Job(market, both, crossing=True, shorts=True))
    market, _, _ = cached_market(10_000)
    grids = {len(FASTS) * len(slow): ours.sweep(Grid(market, FASTS, slow)) for slow in SLOWS}
    rows, facts = [], {}
    for what, calls, per in (("bars", runs, 1), ("combinations of 10,000 bars", grids, 10_000)):
        times = interleaved({str(size): call for size, call in calls.items()}, sampling)
        before = None
        for size in calls:
            seconds = times[str(size)].median
            grown = "" if before is None else f"{seconds / before:.2f}"
            rows.append([f"{size:,} {what}", number(1e3 * seconds), number(1e9 * seconds / size / per), grown])
            facts[f"{size} {what}"] = seconds
            before = seconds
    head = "## Scaling\n\nRuns include two averages, long and short; sweeps use one thread, without risk metrics."
    return Finding(f"{head}\n\n{table(['', 'ms', 'ns per bar', 'relative to previous'], rows)}", facts, [])


def cancellation(contenders: dict[str, Contender]) -> Finding:
    ours = contenders[OURS]
    assert isinstance(ours, Barstorm)
    bt, strategy = ours.bt, ours.strategy(shorts=False)
    long, short = (ours.bars(cached_market(bars)[0]) for bars in (BARS[-1], 100_000))
    lengths = {"fast": FASTS, "slow": SLOWS[-1]}
    calls: dict[str, Callable[[Any], Any]] = {
        f"a run over {len(long):,} bars": lambda control: bt.backtest(long, strategy, control=control),
        f"a sweep of {len(FASTS) * len(SLOWS[-1]):,} combinations over {len(short):,} bars": lambda control: bt.sweep(
            short, strategy, lengths, control=control
        ),
    }
    stops: dict[str, Callable[[Any], None]] = {
        "cancel()": lambda control: control.cancel(),
        "Ctrl-C": lambda _control: signal.raise_signal(signal.SIGINT),
    }
    rows, facts, faults = [], {}, []
    for what, call in calls.items():
        for how, stop in stops.items():
            name = f"{how} in {what}"
            facts[name] = 1e3 * max(_seconds_to_end(call, bt.Control(), stop) for _ in range(5))
            rows.append([name, number(facts[name])])
            faults += [f"{name} took {facts[name]:.0f} ms"] if facts[name] > CANCEL_MS else []
    head = f"## Cancellation\n\nThe longest of five calls; the limit is {CANCEL_MS:g} ms."
    return Finding(f"{head}\n\n{table(['', 'ms'], rows)}", facts, faults)


def _seconds_to_end(call: Callable[[Any], Any], control: Any, stop: Callable[[Any], None]) -> float:
    """Seconds from `stop`, called in another thread, to the end of the call, which may also finish by itself."""
    stopped_at = []

    def stop_early() -> None:
        while control.progress < 0.05:
            time.sleep(0.0001)
        stopped_at.append(time.perf_counter())
        stop(control)

    thread = threading.Thread(target=stop_early)
    thread.start()
    try:
        call(control)
        thread.join()  # an interrupt that arrives after the call is raised here
    except (KeyboardInterrupt, ValueError):
        pass
    ended = time.perf_counter()
    thread.join()
    return ended - stopped_at[0]


def peaks(contenders: dict[str, Contender]) -> Finding:
    rows, facts, faults = [], {}, []
    with tempfile.TemporaryDirectory() as folder:
        market, signals, _ = cached_market(1_000_000)
        memory.save(Path(folder), market, signals)
        for kind, what in (("single", "run"), ("sweep", f"sweep of {memory.COMBINATIONS}")):
            for name, contender in contenders.items():
                if contender.max_bars < len(market):
                    continue
                found = peak_memory(name, Path(folder), kind)
                facts[f"{kind}: {name}"] = found
                if isinstance(found, str):
                    rows.append([what, name, "-", "-", "-", found])
                    continue
                sizes = (found["peak"], found["outputs"], found["peak"] - found["outputs"])
                rows.append([what, name, *(f"{size / 1e6:,.2f}" for size in sizes), ""])
                if name == OURS and sizes[2] > OVERHEAD_BYTES:
                    faults.append(f"a {what} over 1M bars took {sizes[2]:,} bytes beyond its outputs")
    head = "## Memory\n\nPeak memory beyond the inputs, over 1M bars with given signals. Barstorm's limit is 1 MiB beyond its outputs."
    header = ["", "", "peak MB", "outputs MB", "difference", ""]
    return Finding(f"{head}\n\n{table(header, rows, left=2)}", facts, faults)


CHECKS: dict[str, Callable[[dict[str, Contender]], Finding]] = {"scaling": scaling, "cancellation": cancellation, "memory": peaks}
