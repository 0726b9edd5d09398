"""Interleaved timing of several calls, so that a slow phase of the machine affects all of them."""

from __future__ import annotations

import gc
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent


class Times(NamedTuple):
    """Seconds of one call: the median, and half the interquartile range as a fraction of it."""

    median: float
    spread: float
    samples: int


class Sampling(NamedTuple):
    """How long to measure one contender, and the limits of its number of samples."""

    seconds: float
    min_samples: int
    max_samples: int


def interleaved(calls: Mapping[str, Callable[[], Any]], sampling: Sampling) -> dict[str, Times]:
    """Time warmed-up calls in rounds, each in another order, since the previous call affects the caches. Short calls are repeated within a
    sample; long ones get fewer samples, spread evenly over the rounds."""
    repeats, rounds = {}, {}
    for name, call in calls.items():
        took = min(_sample(call, 1), _sample(call, 1))
        repeats[name] = max(1, round(0.003 / took))
        rounds[name] = min(sampling.max_samples, max(sampling.min_samples, int(sampling.seconds / (took * repeats[name]))))
    samples: dict[str, list[float]] = {name: [] for name in calls}
    total, order, shuffle = max(rounds.values()), list(calls), random.Random(7).shuffle
    gc.collect()
    gc.disable()
    try:
        for turn in range(total):
            shuffle(order)
            for name in order:
                if (turn + 1) * rounds[name] // total > turn * rounds[name] // total:
                    samples[name].append(_sample(calls[name], repeats[name]))
    finally:
        gc.enable()
    return {name: summary(values) for name, values in samples.items()}


def _sample(call: Callable[[], Any], repeats: int) -> float:
    began = time.perf_counter()
    for _ in range(repeats):
        made = call()
    took = time.perf_counter() - began
    del made
    return took / repeats


def summary(values: list[float]) -> Times:
    median = statistics.median(values)
    low, _, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else (median,) * 3
    return Times(median, (high - low) / 2 / median, len(values))


def import_times(packages: Mapping[str, str], repeats: int) -> dict[str, Times]:
    """Seconds of `import package` in a new process, with bytecode, as for an installed package."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    code = "import sys, time; began = time.perf_counter(); __import__(sys.argv[1]); print(time.perf_counter() - began)"
    samples: dict[str, list[float]] = {name: [] for name in packages}
    for _ in range(repeats):
        for name, package in packages.items():
            command = [sys.executable, "-W", "ignore", "-c", code, package]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            samples[name].append(float(done.stdout.split()[-1]))
    return {name: summary(values) for name, values in samples.items()}


def peak_memory(contender: str, folder: Path, kind: str) -> dict[str, int] | str:
    """Peak memory of a run in a new process, in bytes beyond the memory before it, or the reason why it is unknown; see memory.py."""
    # A fixed threshold returns large arrays to the system at once; otherwise, memory freed before could hide the peak.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, str(HERE / "memory.py"), contender, str(folder), kind]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        return (done.stderr.strip().splitlines() or ["it ended without a message"])[-1]
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found
