"""Series of a dataset as files: stretches in order of time, each a Parquet file under the hash of its bytes, shared between versions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, BinaryIO, Final, Literal, NamedTuple

import numpy as np

import python_core as bt
from python_core.data.columns import COLUMNS, iso
from workers.errors import Conflict, Invalid
from workers.storage import artifacts
from workers.storage.artifacts import ArtifactLost, Artifacts

Series = Literal["bars", "funding", "mark"]
Columns = Mapping[str, np.ndarray]

SERIES: Final[dict[Series, tuple[str, ...]]] = {"bars": COLUMNS, "funding": ("time", "rate"), "mark": ("time", "low", "high")}
PART_ROWS: Final = 1 << 18
# A part is merged with the one before when it has a quarter of its rows, so that a growing dataset has few parts and rewrites little.
_GROWTH: Final = 4


class Part(NamedTuple):
    """One file: rows from `start` to `end`, both open times of rows in it."""

    series: Series
    start: int
    end: int
    rows: int
    hash: str
    bytes: int


class Drafts:
    """Parts on their way: they get their names together at the end, so that work that is broken off leaves nothing."""

    def __init__(self, store: Artifacts) -> None:
        self.store = store
        self._stack = ExitStack()
        self._drafts: list[tuple[BinaryIO, str]] = []

    def __enter__(self) -> Drafts:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def write(self, series: Series, columns: Columns) -> list[Part]:
        """The rows of `columns` as parts."""
        import polars

        parts = []
        time = columns["time"]
        for begin in range(0, len(time), PART_ROWS):
            rows = slice(begin, min(begin + PART_ROWS, len(time)))
            draft = self._stack.enter_context(self.store.draft())
            # Not compressed: a cold read then costs little more than its check.
            frame = polars.DataFrame({name: columns[name][rows] for name in SERIES[series]})
            artifacts.write_parquet(frame, draft, "uncompressed")
            kept = artifacts.finish(draft)
            self._drafts.append((draft, kept.hash))
            parts.append(Part(series, int(time[rows][0]), int(time[rows][-1]), rows.stop - rows.start, kept.hash, kept.bytes))
        return parts

    @property
    def bytes(self) -> int:
        return sum(os.fstat(draft.fileno()).st_size for draft, _ in self._drafts)

    def keep(self, wanted: Iterable[Part]) -> None:
        """Give those that are among `wanted` their names."""
        names = {part.hash for part in wanted}
        for draft, name in self._drafts:
            if name in names:
                self.store.keep(draft, name)

    def read(self, part: Part) -> Columns:
        """The rows of a part, a draft or not."""
        for draft, name in self._drafts:
            if name == part.hash:
                draft.seek(0)
                return _columns(draft, part)
        return read(self.store, [part])


def read(store: Artifacts, parts: Sequence[Part]) -> Columns:
    """The rows of parts of one series.

    Raises:
        Invalid: a file is gone or damaged.
    """
    rows = np.cumsum([0, *(part.rows for part in parts)])
    whole = {name: np.empty(rows[-1], np.int64 if name == "time" else np.float64) for name in SERIES[parts[0].series]}

    def fill(i: int) -> None:
        for name, values in _columns(store.read(parts[i].hash), parts[i]).items():
            whole[name][rows[i] : rows[i + 1]] = values

    try:
        with ThreadPoolExecutor(min(len(parts), os.cpu_count() or 1)) as threads:
            for done in [threads.submit(fill, i) for i in range(len(parts))]:
                done.result()
    except ArtifactLost as error:
        raise Invalid(
            f"a file of it {error}",
            where="dataset",
            hint="upload the data again",
            code="dataset_lost" if "gone" in str(error) else "dataset_damaged",
        ) from None
    return whole


def read_all(store: Artifacts, of: Iterable[Part]) -> dict[Series, Columns]:
    """All series of a version.

    Raises:
        Invalid: a file is gone or damaged, or there never was one.
    """
    groups = grouped(of)
    if "bars" not in groups:
        raise Invalid("its files are gone", where="dataset", hint="upload the data again", code="dataset_lost")
    return {name: read(store, group) for name, group in groups.items()}


def joined(pieces: Sequence[Columns]) -> Columns:
    """Rows after rows."""
    return pieces[0] if len(pieces) == 1 else {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def _columns(source: Any, part: Part) -> Columns:
    import polars

    frame = polars.read_parquet(source)
    return {name: frame[name].to_numpy() for name in SERIES[part.series]}


def merged(drafts: Drafts, series: Series, parts: Sequence[Part], new: Columns) -> list[Part]:
    """Parts that hold the rows of `parts` and `new` too; equal to `parts` when it adds nothing. Rows of one time must be the same.

    Raises:
        Conflict: there are other values at a time of `new`.
    """
    if not parts:
        return drafts.write(series, new)
    result: list[Part] = []
    ends = [part.start for part in parts[1:]] + [parts[-1].end + 1]
    begin = 0
    for part, end in zip(parts, np.searchsorted(new["time"], ends), strict=True):
        result += _filled(drafts, part, {name: new[name][begin:end] for name in SERIES[series]})
        begin = int(end)
    result += drafts.write(series, {name: new[name][begin:] for name in SERIES[series]})
    while len(result) > 1 and result[-2].rows <= _GROWTH * result[-1].rows and result[-2].rows + result[-1].rows <= PART_ROWS:
        result[-2:] = drafts.write(series, joined([drafts.read(part) for part in result[-2:]]))
    return result


def _filled(drafts: Drafts, part: Part, new: Columns) -> list[Part]:
    if not len(new["time"]):
        return [part]
    old = drafts.read(part)
    there = np.searchsorted(old["time"], new["time"])
    same = (there < part.rows) & (old["time"][np.minimum(there, part.rows - 1)] == new["time"])
    for name in SERIES[part.series]:
        if (other := old[name][there[same]] != new[name][same]).any():
            i = int(other.argmax())
            raise Conflict(
                f"{iso(new['time'][same][i])} has {old[name][there[same]][i]} already, not {new[name][same][i]}",
                where=name,
                hint="leave out what is there, or keep the corrected data under another name",
                code="bars_differ",
            )
    if same.all():
        return [part]
    return drafts.write(part.series, {name: np.insert(old[name], there[~same], new[name][~same]) for name in SERIES[part.series]})


def columns_of(bars: bt.Bars) -> dict[Series, Columns]:
    """The series that bars hold."""
    series: dict[Series, Columns] = {"bars": {name: getattr(bars, name) for name in COLUMNS}}
    if bars.funding is not None:
        series["funding"] = {"time": bars.funding[0], "rate": bars.funding[1]}
    if bars.mark is not None:
        series["mark"] = {"time": bars.time, "low": bars.mark[0], "high": bars.mark[1]}
    return series


def bars_of(series: Mapping[Series, Columns], *, timeframe: str, symbol: str) -> bt.Bars:
    """Bars, with what is known of funding and mark price."""
    bars = bt.Bars(*(series["bars"][name] for name in COLUMNS), timeframe=timeframe, symbol=symbol)
    funding, mark = series.get("funding"), series.get("mark")
    if funding is None and mark is None:
        return bars
    return bars.with_series(
        funding=None if funding is None else (funding["time"], funding["rate"]),
        mark=None if mark is None else (mark["time"], mark["low"], mark["high"]),
    )


def grouped(parts: Iterable[Part]) -> dict[Series, list[Part]]:
    """Parts by series, in order of time."""
    found: dict[Series, list[Part]] = {}
    for part in sorted(parts, key=lambda part: part.start):
        found.setdefault(part.series, []).append(part)
    return found
