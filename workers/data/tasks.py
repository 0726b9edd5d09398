"""What may take long on market data: the tasks that `workers.data.workroom` runs in processes, and the command line in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar, cast

import msgspec

import python_core as bt
from python_core import diagnostics
from python_core.execution import Fill
from python_core.files import read
from python_core.files.options import ReadOptions
from workers.data import compute, table_files
from workers.data.bars_cache import BarsCache, KnownRange
from workers.data.drafts import Draft, draft_append, draft_new
from workers.data.export import BarsPage, Format, PageRequest, export, page
from workers.data.parts import SERIES, Columns, Drafts, Part, Series, series_from_bars
from workers.data.run_bars import BarRange
from workers.data.table_files import TableFormat
from workers.data.workroom import Kind, Source
from workers.errors import as_client_error
from workers.model.datasets import Dataset
from workers.model.runs import Backtest, encode
from workers.storage.artifacts import Artifacts

T = TypeVar("T")
SCRATCH: Final = "scratch"


class Desk:
    """What tasks work with. An import leaves its drafts here, until they are published or the next task begins."""

    def __init__(self, store: Artifacts, scratch: Path, bars: BarsCache | None = None) -> None:
        self.store = store
        self.scratch = scratch
        self._bars = bars
        self._drafts: Drafts | None = None

    def load(self, dataset: Dataset, parts: tuple[Part, ...]) -> bt.Bars:
        assert self._bars is not None
        return self._bars.load(dataset, parts)

    def compute(self, dataset: Dataset, parts: tuple[Part, ...], request: Backtest) -> bt.Result:
        assert self._bars is not None
        return compute.backtest(self._bars, dataset, parts, request, bt.Control())

    def find_range(self, dataset: Dataset, parts: tuple[Part, ...], wanted: BarRange) -> KnownRange:
        assert self._bars is not None
        return self._bars.find_range(dataset, parts, wanted)

    def flush(self) -> None:
        """Wait until all bars that were loaded are on the disk, for the next task."""
        if self._bars is not None:
            self._bars.flush()

    def begin_drafts(self) -> Drafts:
        self.clear()
        self._drafts = Drafts(self.store)
        return self._drafts

    def publish(self, parts: tuple[Part, ...]) -> None:
        assert self._drafts is not None
        self._drafts.save(parts)
        self.clear()

    def clear(self) -> None:
        if self._drafts is not None:
            self._drafts.close()
            self._drafts = None


class Check(msgspec.Struct, frozen=True, tag=True):
    """Compile and explain a strategy; the result has the fields of `StrategyCheck`."""

    strategy: bt.Strategy

    def do(self, desk: Desk, source: Source | None) -> dict[str, Any]:
        return {
            "hash": self.strategy.hash,
            "warm_up_bars": self.strategy.warm_up_bars,
            "settle_bars": self.strategy.settle_bars,
            "explanation": self.strategy.explain(),
            "canonical": self.strategy.canonical(),
        }


class Diagnose(msgspec.Struct, frozen=True, tag=True):
    dataset: Dataset
    parts: tuple[Part, ...]
    strategy: bt.Strategy
    execution: bt.Execution

    def do(self, desk: Desk, source: Source | None) -> diagnostics.Diagnosis:
        return diagnostics.diagnose(desk.load(self.dataset, self.parts), self.strategy, self.execution)


class MakePlot(msgspec.Struct, frozen=True, tag=True):
    dataset: Dataset
    parts: tuple[Part, ...]
    strategy: bt.Strategy
    expressions: tuple[str, ...] | None
    start: int | None
    limit: int
    fill: Fill

    def do(self, desk: Desk, source: Source | None) -> diagnostics.Plot:
        bars = desk.load(self.dataset, self.parts)
        return diagnostics.plot(bars, self.strategy, self.expressions, start=self.start, limit=self.limit, fill=self.fill)


class Recomputed(msgspec.Struct, frozen=True):
    """What a backtest gave when it was computed again."""

    digest: str
    engine: str


class Recompute(msgspec.Struct, frozen=True, tag=True):
    """Compute an accepted backtest again."""

    dataset: Dataset
    parts: tuple[Part, ...]
    request: Backtest

    def do(self, desk: Desk, source: Source | None) -> Recomputed:
        result = desk.compute(self.dataset, self.parts, self.request)
        return Recomputed(result.digest, result.engine)


class FindRange(msgspec.Struct, frozen=True, tag=True):
    """The fingerprint of a range of bars."""

    dataset: Dataset
    parts: tuple[Part, ...]
    wanted: BarRange

    def do(self, desk: Desk, source: Source | None) -> KnownRange:
        return desk.find_range(self.dataset, self.parts, self.wanted)


class Load(msgspec.Struct, frozen=True, tag=True):
    """Read bars from the store, so that they can be mapped from the disk."""

    dataset: Dataset
    parts: tuple[Part, ...]

    def do(self, desk: Desk, source: Source | None) -> None:
        desk.load(self.dataset, self.parts)
        desk.flush()


class MakePage(msgspec.Struct, frozen=True, tag=True):
    """A page of resampled bars."""

    dataset: Dataset
    parts: tuple[Part, ...]
    timeframe: str
    wanted: PageRequest

    def do(self, desk: Desk, source: Source | None) -> BarsPage:
        return page(self.dataset, desk.load(self.dataset, self.parts).resample(self.timeframe), self.wanted)


class Export(msgspec.Struct, frozen=True, tag=True):
    """Write bars to the file."""

    dataset: Dataset
    parts: tuple[Part, ...]
    format: Format
    start: int | None
    end: int | None
    timeframe: str | None

    def do(self, desk: Desk, source: Source | None) -> None:
        bars = desk.load(self.dataset, self.parts)
        bars = bars.resample(self.timeframe) if self.timeframe else bars
        export(bars.between(self.start, self.end), self.format, cast(BinaryIO, source))


class ExportTrades(msgspec.Struct, frozen=True, tag=True):
    """Write stored trades to the file."""

    name: str
    format: TableFormat

    def do(self, desk: Desk, source: Source | None) -> None:
        trades = table_files.trades(table_files.read(desk.store, self.name))
        table_files.write(trades, self.format, cast(BinaryIO, source))


class ExportEquity(msgspec.Struct, frozen=True, tag=True):
    """Write a stored equity curve to the file."""

    name: str
    format: TableFormat

    def do(self, desk: Desk, source: Source | None) -> None:
        stored = table_files.read(desk.store, self.name)
        table_files.write(stored.with_columns(table_files.times("time")), self.format, cast(BinaryIO, source))


class DraftNew(msgspec.Struct, frozen=True, tag=True):
    """Read a file as a new dataset, up to `Publish`."""

    options: ReadOptions
    calendar: str

    def do(self, desk: Desk, source: Source | None) -> Draft:
        bars, report = read.read_with_report(cast(Source, source), self.options, scratch=desk.scratch, calendar=self.calendar)
        return draft_new(desk.begin_drafts(), bars, self.calendar, encode(report))


class DraftAppend(msgspec.Struct, frozen=True, tag=True):
    """Read a file and add its rows to those of a dataset, up to `Publish`."""

    options: ReadOptions
    calendar: str
    series: Series
    newest: Dataset
    parts: tuple[Part, ...]

    def do(self, desk: Desk, source: Source | None) -> Draft:
        report = None
        columns: dict[Series, Columns]
        if self.series == "bars":
            bars, report = read.read_with_report(cast(Source, source), self.options, scratch=desk.scratch, calendar=self.calendar)
            columns = series_from_bars(bars)
        else:
            columns = {self.series: read.read_series(cast(Source, source), SERIES[self.series], self.options)}
        encoded = None if report is None else encode(report)
        return draft_append(desk.begin_drafts(), self.newest, self.parts, columns, self.calendar, encoded)


class Publish(msgspec.Struct, frozen=True, tag=True):
    """Give the drafts that are among these parts their names."""

    parts: tuple[Part, ...]

    def do(self, desk: Desk, source: Source | None) -> None:
        desk.publish(self.parts)


Task = (
    Check
    | Diagnose
    | MakePlot
    | Recompute
    | FindRange
    | Load
    | MakePage
    | Export
    | ExportTrades
    | ExportEquity
    | DraftNew
    | DraftAppend
    | Publish
)


class Thread:
    """Does tasks as `workroom.Process` does, in a thread of this process and without limits."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def run(self, task: Any, reply: type[T], source: Source | None = None, *, holds: bool = False) -> T:
        with as_client_error():
            return cast(T, await asyncio.to_thread(task.do, self._desk, source))


class Threads:
    """The place of a `workroom.Workroom` where an operator works alone."""

    def __init__(self, store: Artifacts, scratch: Path) -> None:
        self._store = store
        self._scratch = scratch

    @asynccontextmanager
    async def enter(self, kind: Kind) -> AsyncIterator[Thread]:
        desk = Desk(self._store, self._scratch)
        try:
            yield Thread(desk)
        finally:
            desk.clear()
