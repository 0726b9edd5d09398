"""The bars that a process used last, kept in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import python_core as bt
from workers import parts
from workers.artifacts import Artifacts
from workers.catalogue import Dataset
from workers.errors import Invalid
from workers.parts import Part


class BarsCache:
    """The bars that a worker used last, up to so many bytes; may be used from any thread."""

    def __init__(self, store: Artifacts, most_bytes: int) -> None:
        self._store = store
        self._most_bytes = most_bytes
        self._bars: OrderedDict[str, bt.Bars] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def load(self, dataset: Dataset, of: Sequence[Part]) -> bt.Bars:
        """The bars of a dataset that has these parts.

        Raises:
            Invalid: a stored file is gone or does not hold what it should.
        """
        with self._lock:
            if dataset.fingerprint in self._bars:
                self._bars.move_to_end(dataset.fingerprint)
                return self._bars[dataset.fingerprint]
        bars = _read(self._store, dataset, of)
        with self._lock:
            if dataset.fingerprint not in self._bars:
                self._bars[dataset.fingerprint] = bars
                self._bytes += _size(bars)
            while self._bytes > self._most_bytes:
                _, oldest = self._bars.popitem(last=False)
                self._bytes -= _size(oldest)
        return bars

    def __len__(self) -> int:
        return len(self._bars)


def _read(store: Artifacts, dataset: Dataset, of: Sequence[Part]) -> bt.Bars:
    groups = parts.grouped(of)
    if "bars" not in groups:
        raise Invalid("its files are gone", where="dataset", hint="upload the data again", code="dataset_lost")
    series = {name: parts.read(store, group) for name, group in groups.items()}
    bars = parts.bars_of(series, timeframe=dataset.timeframe, symbol=dataset.symbol)
    if bars.fingerprint != dataset.fingerprint:
        raise Invalid("its files hold other bars than were uploaded", where="dataset", hint="upload the data again", code="dataset_damaged")
    return bars


def _size(bars: bt.Bars) -> int:
    columns = [bars.time, bars.open, bars.high, bars.low, bars.close, bars.volume, *(bars.funding or ()), *(bars.mark or ())]
    return sum(column.nbytes for column in columns)
