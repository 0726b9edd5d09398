"""The loops in C, compiled on first use."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from cases import CAPITAL, FAST, FEE, SLOW, Floats, Grid, Job, Market, Signals, Stops

from contenders import Contender, Output, Table, Unsupported

TRADE = np.dtype(
    [(name, np.int64) for name in ("entry", "exit", "side")]
    + [(name, np.float64) for name in ("quantity", "entry_price", "exit_price", "net")]
)
_FLAGS = ("-O3", "-std=c11", "-ffp-contract=off", "-shared", "-fPIC", "-lm")
_POINTERS = ("open", "high", "low", "close", "entry_long", "exit_long", "entry_short", "exit_short")
_HISTORY = 512


class _Job(ctypes.Structure):
    _fields_: ClassVar = [
        *((name, ctypes.c_void_p) for name in _POINTERS),
        *((name, ctypes.c_int64) for name in ("bars", "fast", "slow")),
        *((name, ctypes.c_double) for name in ("capital", "fee", "stop_loss", "take_profit")),
    ]


class Scalar(Contender):
    name = "C loop"
    source: ClassVar[str] = "scalar.c"

    def __init__(self) -> None:
        flags = self.flags()
        self.library, compiler = _compile(self.source, flags)
        for entry in (self.library.run, self.library.run_crossing):
            entry.restype = ctypes.c_int64
            entry.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
        self.version = " ".join((compiler, "-O3", *flags))

    def flags(self) -> tuple[str, ...]:
        return ()

    def single(self, job: Job) -> Callable[[], Output]:
        if job.crossing and not job.shorts:
            raise Unsupported("crossings are implemented for long and short only")
        struct = _struct(job.market, None if job.crossing else job.signals, job.stops)
        entry = self.library.run_crossing if job.crossing else self.library.run
        pointer, bars = ctypes.addressof(struct), len(job.market)

        def call(_keep: Any = struct) -> Output:
            # Untouched pages take no memory, so room for a trade on every bar costs nothing.
            equity, trades = np.empty(bars), np.empty(bars, TRADE)
            count = entry(pointer, equity.ctypes.data, trades.ctypes.data)
            return Output(equity, trades[:count], count)

        return call


class Limit(Scalar):
    name = "C limit"
    source = "limit.c"

    def flags(self) -> tuple[str, ...]:
        known = _cpu_flags()
        if {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= known:
            return "-march=x86-64-v4", "-mprefer-vector-width=512"
        return ("-march=x86-64-v3",) if {"avx2", "bmi2", "fma"} <= known else ()

    def sweep(self, grid: Grid) -> Callable[[], Table]:
        lengths = sorted({*grid.fast, *grid.slow})
        if lengths[-1] >= _HISTORY:
            raise Unsupported(f"no averages of {_HISTORY} bars or more")
        struct, entry = _struct(grid.market, None, grid.stops), self.library.sweep
        entry.restype = None
        known = np.array(lengths, np.int64)
        places = np.array([[lengths.index(length) for length in pair] for pair in grid.pairs], np.int64)
        parts = [np.ascontiguousarray(part.T) for part in np.array_split(places, grid.threads)]
        risk = grid.stops is not None

        def part_of(places: Any) -> Floats:
            out = np.empty((places.shape[1], 4))
            fast, slow = (ctypes.c_void_p(row.ctypes.data) for row in places)
            count = ctypes.c_int64(len(out))
            entry(ctypes.byref(struct), ctypes.c_int64(len(known)), ctypes.c_void_p(known.ctypes.data), count, fast, slow, out.ctypes)
            return out

        def call() -> Table:
            if len(parts) == 1:
                out = part_of(parts[0])
            else:
                with ThreadPoolExecutor(len(parts)) as pool:
                    out = np.concatenate(list(pool.map(part_of, parts)))
            return Table(*out.T[: 4 if risk else 2])

        return call


def _struct(market: Market, signals: Signals | None, stops: Stops) -> _Job:
    struct = _Job(bars=len(market), fast=FAST, slow=SLOW, capital=CAPITAL, fee=FEE)
    struct.stop_loss, struct.take_profit = stops or (np.inf, np.inf)
    arrays = [(name, getattr(market if name in _POINTERS[:4] else signals, name, None)) for name in _POINTERS]
    for name, array in arrays:
        setattr(struct, name, None if array is None else array.ctypes.data)
    struct.keep = arrays
    return struct


@cache
def _compile(source: str, flags: tuple[str, ...]) -> tuple[ctypes.CDLL, str]:
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise Unsupported("no C compiler was found")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "loops.so"
        done = subprocess.run(
            [compiler, str(Path(__file__).with_name(source)), *_FLAGS, *flags, "-o", str(library)], capture_output=True, text=True
        )
        if done.returncode != 0:
            raise Unsupported(f"{source} does not compile: {done.stderr.strip()[:300]}")
        version = subprocess.run([compiler, "-dumpfullversion", "-dumpversion"], capture_output=True, text=True).stdout.split()
        return ctypes.CDLL(str(library)), f"{Path(compiler).name} {version[0] if version else ''}".strip()


def _cpu_flags() -> set[str]:
    if platform.machine() not in ("x86_64", "AMD64") or not Path("/proc/cpuinfo").exists():
        return set()
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((set(line.split(":", 1)[1].split()) for line in lines if line.startswith("flags")), set())
