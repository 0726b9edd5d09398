"""The bars that a process used last: in memory, and as mapped columns on its local disk, which processes share."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

import python_core as bt
from python_core.files import mapped
from workers.data import parts
from workers.data.parts import Part
from workers.model.datasets import Dataset
from workers.model.selection import Selection
from workers.settings import Settings
from workers.storage.artifacts import Artifacts, give_name, nameless

SUFFIX: Final = ".columns"
MOST_RANGES: Final = 10_000
_log = structlog.stdlib.get_logger(__name__)


class BarsCache:
    """Bars by fingerprint, up to so many bytes in memory and on disk; may be used from any thread, and the folder by any number of processes."""

    def __init__(self, store: Artifacts, most_bytes: int, *, folder: Path, most_file_bytes: int = 0) -> None:
        self._store = store
        self._most_bytes = most_bytes
        self._folder = folder
        self._most_file_bytes = most_file_bytes
        self._bars: OrderedDict[str, bt.Bars] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._ranges: OrderedDict[tuple[str, int | None, int | None], str] = OrderedDict()
        self._hashing = threading.Lock()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="columns")

    def load(self, dataset: Dataset, of: Sequence[Part]) -> bt.Bars:
        """The bars of a dataset that has these parts: from memory, from the disk, or from the store, the first that has them.

        Raises:
            Invalid: a stored file is gone or does not hold what it should.
        """
        with self._lock:
            if dataset.fingerprint in self._bars:
                self._bars.move_to_end(dataset.fingerprint)
                return self._bars[dataset.fingerprint]
        bars = self._from_disk(dataset) or self._from_store(dataset, of)
        with self._lock:
            if dataset.fingerprint not in self._bars:
                self._bars[dataset.fingerprint] = bars
                self._bytes += _size(bars)
            while self._bytes > self._most_bytes:
                _, oldest = self._bars.popitem(last=False)
                self._bytes -= _size(oldest)
        return bars

    def selected(self, dataset: Dataset, of: Sequence[Part], selection: Selection) -> bt.Bars:
        """Those of the bars that a selection's range holds, without a copy. Their fingerprint is there: each range is hashed once.

        Raises:
            Invalid: a stored file is gone or does not hold what it should.
            BarsError: no bar is in the range.
        """
        if self.fingerprint(dataset, selection) is not None:
            return self._part(dataset, of, selection)
        with self._hashing:  # so that what many ask for at once is read and hashed once
            return self._part(dataset, of, selection)

    def fingerprint(self, dataset: Dataset, selection: Selection) -> str | None:
        """The fingerprint of those of the bars that a selection's range holds, where it is known without looking at them."""
        if selection.whole:
            return dataset.fingerprint
        with self._lock:
            return self._ranges.get((dataset.fingerprint, selection.start, selection.end))

    def _part(self, dataset: Dataset, of: Sequence[Part], selection: Selection) -> bt.Bars:
        part = self.load(dataset, of).between(selection.start, selection.end)
        vars(part)["fingerprint"] = known = self.fingerprint(dataset, selection) or part.fingerprint
        if not selection.whole:
            with self._lock:
                self._ranges[dataset.fingerprint, selection.start, selection.end] = known
                while len(self._ranges) > MOST_RANGES:
                    self._ranges.popitem(last=False)
        return part

    def __len__(self) -> int:
        return len(self._bars)

    def settle(self) -> None:
        """Wait until all that was read from the store is on the disk."""
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
            _log.warning("cached bars not read", reason=str(error))
            path.unlink(missing_ok=True)
            return None
        return bars if bars.fingerprint == dataset.fingerprint else None

    def _from_store(self, dataset: Dataset, of: Sequence[Part]) -> bt.Bars:
        bars = parts.bars_of(parts.read_all(self._store, of), timeframe=dataset.timeframe, symbol=dataset.symbol)
        # Each part was checked against its hash just now; the version was made of just these parts.
        vars(bars)["fingerprint"] = dataset.fingerprint
        if _size(bars) <= self._most_file_bytes:
            self._writer.submit(self._write, bars)
        return bars

    def _write(self, bars: bt.Bars) -> None:
        try:
            with nameless(self._folder / "drafts") as file:
                mapped.write(file, bars)
                give_name(file, self._path(bars.fingerprint))
            self._trim()
        except OSError as error:
            _log.warning("bars not cached on the disk", reason=str(error))

    def _trim(self) -> None:
        """Delete the files used longest ago until the rest is small enough; who has one mapped keeps it."""
        found = []
        for path in self._folder.glob(f"*{SUFFIX}"):
            with suppress(FileNotFoundError):
                found.append((path.stat().st_mtime_ns, path.stat().st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._most_file_bytes:
                return
            path.unlink(missing_ok=True)
            total -= size


def open_bars_cache(settings: Settings, artifacts: Artifacts, max_bytes: int) -> BarsCache:
    """The bars cache of these settings, with at most `max_bytes` in memory."""
    return BarsCache(artifacts, max_bytes, folder=settings.folder / "columns", most_file_bytes=settings.columns_cache_mb * 1_000_000)


def _size(bars: bt.Bars) -> int:
    columns = [bars.time, bars.open, bars.high, bars.low, bars.close, bars.volume, *(bars.funding or ()), *(bars.mark or ())]
    return sum(column.nbytes for column in columns)
