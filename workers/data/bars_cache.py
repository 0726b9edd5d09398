"""Cache of recently used bars: in the memory of a process, and as mapped column files on the local disk that processes share."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple
from weakref import WeakValueDictionary

import structlog

import python_core as bt
from python_core.files import mapped
from workers.data.parts import Part, bars_from_series, read_all
from workers.data.run_bars import BarRange, RunBars, select
from workers.data.workroom import Workroom
from workers.model.datasets import Dataset
from workers.settings import Settings
from workers.storage.artifacts import Artifacts, anonymous_file, publish_file

SUFFIX: Final = ".columns"
MAX_RANGES: Final = 10_000
_log = structlog.stdlib.get_logger(__name__)


class KnownRange(NamedTuple):
    """The fingerprint of a range's bars with their warm-up, and the position of the first bar of the run."""

    fingerprint: str
    first: int


class BarsCache:
    """Bars by fingerprint, up to a size in memory and on disk. Thread-safe; any number of processes may share the folder."""

    def __init__(
        self, store: Artifacts, max_bytes: int, *, folder: Path, max_file_bytes: int = 0, workroom: Workroom | None = None
    ) -> None:
        self.workroom = workroom
        self._store = store
        self._max_bytes = max_bytes
        self._folder = folder
        self._max_file_bytes = max_file_bytes
        self._bars: OrderedDict[str, bt.Bars] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._ranges: OrderedDict[tuple[str, BarRange], KnownRange] = OrderedDict()
        self._hashing = threading.Lock()
        self._finding: WeakValueDictionary[tuple[str, BarRange], asyncio.Lock] = WeakValueDictionary()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="columns")

    def load(self, dataset: Dataset, parts: Sequence[Part]) -> bt.Bars:
        """The bars of a dataset and its parts, from memory, the disk or the store, whichever has them first.

        Raises:
            Invalid: a stored file is missing or damaged.
        """
        with self._lock:
            if dataset.fingerprint in self._bars:
                self._bars.move_to_end(dataset.fingerprint)
                return self._bars[dataset.fingerprint]
        bars = self._from_disk(dataset) or self._from_store(dataset, parts)
        with self._lock:
            if dataset.fingerprint not in self._bars:
                self._bars[dataset.fingerprint] = bars
                self._bytes += _size(bars)
            while self._bytes > self._max_bytes:
                _, oldest = self._bars.popitem(last=False)
                self._bytes -= _size(oldest)
        return bars

    def is_near(self, dataset: Dataset) -> bool:
        """Whether the bars are in memory or on the disk, or too many to be kept there: `load` reads nothing from the store, or has to."""
        with self._lock:
            if dataset.fingerprint in self._bars:
                return True
        return dataset.bytes > self._max_file_bytes or self._path(dataset.fingerprint).exists()

    def load_range(self, dataset: Dataset, parts: Sequence[Part], wanted: BarRange) -> RunBars:
        """The bars of a range with its warm-up, as a view. Each range is hashed only once.

        Raises:
            Invalid: a stored file is missing or damaged.
            BarsError: there is no bar in the range.
        """
        if self.known_range(dataset, wanted) is not None:
            return self._view(dataset, parts, wanted)
        with self._hashing:  # so that concurrent requests for one range read and hash it once
            return self._view(dataset, parts, wanted)

    def find_range(self, dataset: Dataset, parts: Sequence[Part], wanted: BarRange) -> KnownRange:
        """What `known_range` gives afterwards; loads the bars."""
        selected = self.load_range(dataset, parts, wanted)
        return KnownRange(selected.bars.fingerprint, selected.first)

    def known_range(self, dataset: Dataset, wanted: BarRange) -> KnownRange | None:
        """What is known of a range without loading its bars."""
        if wanted.is_all:
            return KnownRange(dataset.fingerprint, 0)
        with self._lock:
            return self._ranges.get((dataset.fingerprint, wanted))

    def _view(self, dataset: Dataset, parts: Sequence[Part], wanted: BarRange) -> RunBars:
        selected = select(self.load(dataset, parts), wanted)
        known = self.known_range(dataset, wanted) or KnownRange(selected.bars.fingerprint, selected.first)
        vars(selected.bars)["fingerprint"] = known.fingerprint
        self.remember_range(dataset, wanted, known)
        return selected

    def remember_range(self, dataset: Dataset, wanted: BarRange, known: KnownRange) -> None:
        if not wanted.is_all:
            with self._lock:
                self._ranges[dataset.fingerprint, wanted] = known
                while len(self._ranges) > MAX_RANGES:
                    self._ranges.popitem(last=False)

    def finding(self, dataset: Dataset, wanted: BarRange) -> asyncio.Lock:
        """Held by the one of concurrent requests for a range that computes its fingerprint."""
        return self._finding.setdefault((dataset.fingerprint, wanted), asyncio.Lock())

    def __len__(self) -> int:
        return len(self._bars)

    def flush(self) -> None:
        """Wait until all bars read from the store are on the disk."""
        self._writer.submit(lambda: None).result()

    def _path(self, fingerprint: str) -> Path:
        return self._folder / (fingerprint + SUFFIX)

    def _from_disk(self, dataset: Dataset) -> bt.Bars | None:
        path = self._path(dataset.fingerprint)
        try:
            bars = mapped.read(path)
            os.utime(path)
        except FileNotFoundError:
            return None
        except (bt.FileError, OSError) as error:
            _log.warning("can't read cached bars", reason=str(error))
            path.unlink(missing_ok=True)
            return None
        return bars if bars.fingerprint == dataset.fingerprint else None

    def _from_store(self, dataset: Dataset, parts: Sequence[Part]) -> bt.Bars:
        bars = bars_from_series(read_all(self._store, parts), timeframe=dataset.timeframe, symbol=dataset.symbol)
        # Reading checked every part against its hash, so the fingerprint of the version holds.
        vars(bars)["fingerprint"] = dataset.fingerprint
        if _size(bars) <= self._max_file_bytes:
            self._writer.submit(self._write, bars)
        return bars

    def _write(self, bars: bt.Bars) -> None:
        try:
            with anonymous_file(self._folder / "drafts") as file:
                mapped.write(file, bars)
                publish_file(file, self._path(bars.fingerprint))
            self._trim()
        except OSError as error:
            _log.warning("can't cache bars on the disk", reason=str(error))

    def _trim(self) -> None:
        """Delete the least recently used files until the rest is small enough; a process that has mapped one keeps it."""
        files = []
        for path in self._folder.glob(f"*{SUFFIX}"):
            with suppress(FileNotFoundError):
                files.append((path.stat().st_mtime_ns, path.stat().st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self._max_file_bytes:
                return
            path.unlink(missing_ok=True)
            total -= size


def open_bars_cache(settings: Settings, artifacts: Artifacts, max_bytes: int, workroom: Workroom | None = None) -> BarsCache:
    """The bars cache of these settings, with at most `max_bytes` in memory; `workroom` is where new ranges are hashed."""
    folder, max_file_bytes = settings.folder / "columns", settings.columns_cache_mb * 1_000_000
    return BarsCache(artifacts, max_bytes, folder=folder, max_file_bytes=max_file_bytes, workroom=workroom)


def _size(bars: bt.Bars) -> int:
    columns = [bars.time, bars.open, bars.high, bars.low, bars.close, bars.volume, *(bars.funding or ()), *(bars.mark or ())]
    return sum(column.nbytes for column in columns)
