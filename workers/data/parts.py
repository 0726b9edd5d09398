"""Parts: a series of a dataset is stored as Parquet files, each a stretch of time, named by its hash and shared between versions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, BinaryIO, Final, Literal, NamedTuple

import numpy as np

import python_core as bt
from python_core.data.columns import COLUMNS, iso
from python_core.immutable import freeze
from workers.errors import Conflict, Invalid
from workers.storage import artifacts
from workers.storage.artifacts import ArtifactLost, Artifacts

Series = Literal["bars", "funding", "mark"]
Columns = Mapping[str, np.ndarray]

SERIES: Final[dict[Series, tuple[str, ...]]] = {"bars": COLUMNS, "funding": ("time", "rate"), "mark": ("time", "low", "high")}
PART_ROWS: Final = 1 << 18
# The last part is merged into the one before once it has a quarter of its rows: a growing dataset has few parts and rewrites little.
_MERGE_RATIO: Final = 4


class Part(NamedTuple):
    """One file; `start` and `end` are the times of its first and last row."""

    series: Series
    start: int
    end: int
    rows: int
    hash: str
    bytes: int


class Drafts:
    """Parts not yet published: `save` publishes them together at the end, so that interrupted work leaves nothing behind."""

    def __init__(self, store: Artifacts) -> None:
        self.store = store
        self._stack = ExitStack()
        self._drafts: list[tuple[BinaryIO, str]] = []

    def __enter__(self) -> Drafts:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Delete the drafts that were not published."""
        self._stack.close()

    def write(self, series: Series, columns: Columns) -> list[Part]:
        """The rows of `columns` as parts."""
        import polars

        parts = []
        time = columns["time"]
        for begin in range(0, len(time), PART_ROWS):
            rows = slice(begin, min(begin + PART_ROWS, len(time)))
            draft = self._stack.enter_context(self.store.draft())
            # Uncompressed, so that a cold read costs little more than its hash check.
            frame = polars.DataFrame({name: columns[name][rows] for name in SERIES[series]})
            artifacts.write_parquet(frame, draft, "uncompressed")
            file = artifacts.hash_file(draft)
            self._drafts.append((draft, file.hash))
            parts.append(Part(series, int(time[rows][0]), int(time[rows][-1]), rows.stop - rows.start, file.hash, file.bytes))
        return parts

    def save(self, parts: Iterable[Part]) -> None:
        """Publish the drafts that are among `parts`."""
        names = {part.hash for part in parts}
        for draft, name in self._drafts:
            if name in names:
                self.store.save(draft, name)

    def read(self, part: Part) -> Columns:
        """The rows of a part, published or not."""
        for draft, name in self._drafts:
            if name == part.hash:
                draft.seek(0)
                return _columns(draft, part)
        return read(self.store, [part])


def read(store: Artifacts, parts: Sequence[Part]) -> Columns:
    """The rows of parts of one series.

    Raises:
        Invalid: a file is missing or damaged.
    """
    rows = np.cumsum([0, *(part.rows for part in parts)])
    columns = {name: np.empty(rows[-1], np.int64 if name == "time" else np.float64) for name in SERIES[parts[0].series]}

    def fill(i: int) -> None:
        for name, values in _columns(store.read(parts[i].hash), parts[i]).items():
            columns[name][rows[i] : rows[i + 1]] = values

    try:
        with ThreadPoolExecutor(min(len(parts), os.cpu_count() or 1)) as threads:
            for done in [threads.submit(fill, i) for i in range(len(parts))]:
                done.result()
    except ArtifactLost as error:
        raise Invalid(
            f"a data file of this dataset {error}",
            where="dataset",
            hint="upload the data again",
            code="dataset_lost" if "missing" in str(error) else "dataset_damaged",
        ) from None
    return {name: freeze(values) for name, values in columns.items()}


def read_all(store: Artifacts, parts: Iterable[Part]) -> dict[Series, Columns]:
    """All series of a version.

    Raises:
        Invalid: a file is missing or damaged.
    """
    groups = group_by_series(parts)
    if "bars" not in groups:
        raise Invalid("the data files of this dataset are missing", where="dataset", hint="upload the data again", code="dataset_lost")
    return {name: read(store, group) for name, group in groups.items()}


def concatenate(pieces: Sequence[Columns]) -> Columns:
    return pieces[0] if len(pieces) == 1 else {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def _columns(source: Any, part: Part) -> Columns:
    import polars

    frame = polars.read_parquet(source)
    return {name: frame[name].to_numpy() for name in SERIES[part.series]}


def merge(drafts: Drafts, series: Series, parts: Sequence[Part], new: Columns) -> list[Part]:
    """Parts with the rows of `parts` and `new`; equal to `parts` if they already have all rows.

    Raises:
        Conflict: they have other values at a time of `new`.
    """
    if not parts:
        return drafts.write(series, new)
    result: list[Part] = []
    ends = [part.start for part in parts[1:]] + [parts[-1].end + 1]
    begin = 0
    for part, end in zip(parts, np.searchsorted(new["time"], ends), strict=True):
        result += _fill(drafts, part, {name: new[name][begin:end] for name in SERIES[series]})
        begin = int(end)
    result += drafts.write(series, {name: new[name][begin:] for name in SERIES[series]})
    while len(result) > 1 and result[-2].rows <= _MERGE_RATIO * result[-1].rows and result[-2].rows + result[-1].rows <= PART_ROWS:
        result[-2:] = drafts.write(series, concatenate([drafts.read(part) for part in result[-2:]]))
    return result


def _fill(drafts: Drafts, part: Part, new: Columns) -> list[Part]:
    if not len(new["time"]):
        return [part]
    old = drafts.read(part)
    at = np.searchsorted(old["time"], new["time"])
    existing = (at < part.rows) & (old["time"][np.minimum(at, part.rows - 1)] == new["time"])
    for name in SERIES[part.series]:
        if (differs := old[name][at[existing]] != new[name][existing]).any():
            i = int(differs.argmax())
            raise Conflict(
                f"the stored value at {iso(new['time'][existing][i])} is {old[name][at[existing]][i]}, not {new[name][existing][i]}",
                where=name,
                hint="leave out rows that are stored already, or import the corrected data under another name",
                code="bars_differ",
            )
    if existing.all():
        return [part]
    return drafts.write(part.series, {name: np.insert(old[name], at[~existing], new[name][~existing]) for name in SERIES[part.series]})


def series_from_bars(bars: bt.Bars) -> dict[Series, Columns]:
    """The series that bars hold."""
    series: dict[Series, Columns] = {"bars": {name: getattr(bars, name) for name in COLUMNS}}
    if bars.funding is not None:
        series["funding"] = {"time": bars.funding[0], "rate": bars.funding[1]}
    if bars.mark is not None:
        series["mark"] = {"time": bars.time, "low": bars.mark[0], "high": bars.mark[1]}
    return series


def bars_from_series(series: Mapping[Series, Columns], *, timeframe: str, symbol: str) -> bt.Bars:
    """Bars with their funding rates and mark prices, if there are any."""
    bars = bt.Bars(*(series["bars"][name] for name in COLUMNS), timeframe=timeframe, symbol=symbol)
    funding, mark = series.get("funding"), series.get("mark")
    if funding is None and mark is None:
        return bars
    return bars.with_series(
        funding=None if funding is None else (funding["time"], funding["rate"]),
        mark=None if mark is None else (mark["time"], mark["low"], mark["high"]),
    )


def group_by_series(parts: Iterable[Part]) -> dict[Series, list[Part]]:
    """Parts by series, in order of time."""
    groups: dict[Series, list[Part]] = {}
    for part in sorted(parts, key=lambda part: part.start):
        groups.setdefault(part.series, []).append(part)
    return groups
