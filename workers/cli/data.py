"""`barstorm data`: market data from the command line, in the service's own database and folder; no server need run."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import get_args

from python_core.data.columns import iso
from workers.data import catalog, imports, parts, samples
from workers.data import export as views
from workers.data.datasets import MarketData, as_client_error, open_market_data
from workers.data.imports import ImportOptions
from workers.db.database import open_database
from workers.errors import Invalid
from workers.model.datasets import Dataset, instrument
from workers.model.selection import MarketKind
from workers.settings import Settings
from workers.storage import artifacts
from workers.storage import open as storage

Command = Callable[[MarketData, argparse.Namespace], Awaitable[None]]


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Carry out the subcommand that `add_parsers` found."""

    async def work() -> None:
        async with opened(settings) as data:
            await options.data_command(data, options)

    asyncio.run(work())
    return 0


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[MarketData]:
    """The market data of these settings, with the schema up to date."""
    async with open_database(settings.database_url) as database:
        await database.migrate()
        yield open_market_data(settings, database, storage.open_artifacts(settings))


async def list_datasets(data: MarketData, options: argparse.Namespace) -> None:
    async with data.database.read() as session:
        found = await catalog.list_datasets(session)
    for dataset in found:
        print(_line(dataset))
    if not found:
        print("no data yet: `barstorm data import FILE`, or `barstorm data samples` for synthetic bars")


async def show(data: MarketData, options: argparse.Namespace) -> None:
    async with data.database.read() as session:
        dataset = await catalog.get(session, options.dataset)
        versions = await catalog.list_versions(session, dataset.id)
        kept = await catalog.get_report(session, dataset)
    for name in Dataset.__struct_fields__:
        value = getattr(dataset, name)
        print(f"{name:12} {iso(value) if name in ('start', 'end', 'created_at', 'updated_at') else '' if value is None else value}")
    print(f"{'versions':12} {', '.join(str(version.version) for version in versions)}")
    if kept is not None:
        await _print_report(data, dataset)


async def import_file(data: MarketData, options: argparse.Namespace) -> None:
    reading = ImportOptions(
        policy=options.policy, header=not options.no_header, timeframe=options.timeframe, source=f"file {options.file.name}"[:200]
    )
    about = instrument(
        symbol=options.symbol, exchange=options.exchange, kind=options.kind, tick_size=options.tick_size, lot_size=options.lot_size
    )
    dataset = await imports.create(data, options.name or options.file.name, options.file, about, reading, owner=options.owner)
    print(_line(dataset))
    await _print_report(data, dataset)


async def append(data: MarketData, options: argparse.Namespace) -> None:
    reading = ImportOptions(policy=options.policy, header=not options.no_header, source=f"file {options.file.name}"[:200])
    print(_line(await imports.append(data, options.dataset, options.file, options.series, reading)))


async def export(data: MarketData, options: argparse.Namespace) -> None:
    form = options.format or options.file.suffix.removeprefix(".")
    if form not in views.FORMATS:
        raise Invalid(f"{form!r:.40} is no format", where="--format", hint=f"use one of {', '.join(views.FORMATS)}")
    async with data.database.read() as session:
        dataset = await catalog.get(session, options.dataset)
        of = await catalog.list_parts(session, dataset)
    with as_client_error():
        bars = parts.bars_from_series(parts.read_all(data.store, of), timeframe=dataset.timeframe, symbol=dataset.symbol)
        bars = bars.resample(options.timeframe) if options.timeframe else bars
    with artifacts.anonymous_file(options.file.absolute().parent) as file:
        views.export(bars, form, file)
        options.file.unlink(missing_ok=True)
        artifacts.publish_file(file, options.file.absolute())
    print(f"{len(bars):,} bars of {dataset.name}@{dataset.version} are in {options.file}")


async def delete(data: MarketData, options: argparse.Namespace) -> None:
    await data.delete(options.dataset)
    print(f"{options.dataset} is forgotten")


async def add_samples(data: MarketData, options: argparse.Namespace) -> None:
    for dataset in await samples.add(data):
        print(_line(dataset))


def add_parsers(parser: argparse.ArgumentParser, add_fetch: Callable[[argparse.ArgumentParser], None]) -> None:
    """The subcommands of `barstorm data`; `add_fetch` fills in that of `fetch`, which goes its own way."""
    commands = parser.add_subparsers(title="commands", required=True, metavar="command")

    def command(name: str, work: Command, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(data_command=work)
        return added

    command("list", list_datasets, "the newest versions of all datasets")
    command("samples", add_samples, "add synthetic datasets to try things on")
    text = "candles and funding rates of an exchange"
    add_fetch(commands.add_parser("fetch", help=text, description=text))
    new = command("import", import_file, "keep the bars of a CSV, JSON lines, Parquet or Arrow file")
    new.add_argument("file", type=Path)
    new.add_argument("--name", help="what to call it; else as the file")
    new.add_argument("--symbol", default="")
    new.add_argument("--exchange", default="", help="of an equity, a code such as XNYS has gaps looked for in its sessions only")
    new.add_argument("--kind", default="spot", choices=get_args(MarketKind))
    new.add_argument("--tick-size", type=float)
    new.add_argument("--lot-size", type=float)
    new.add_argument("--timeframe", help="left out: inferred")
    new.add_argument("--owner", default="", help="whose it is")
    more = command("append", append, "make a new version with the rows of a file, too")
    more.add_argument("dataset")
    more.add_argument("file", type=Path)
    more.add_argument("--series", default="bars", choices=tuple(parts.SERIES))
    for added in (new, more):
        added.add_argument("--policy", default="reject", choices=("reject", "drop", "repair"), help="what happens to faulty rows")
        added.add_argument("--no-header", action="store_true", help="CSV without names: time, open, high, low, close, volume")
    out = command("export", export, "write a dataset to a file")
    out.add_argument("dataset")
    out.add_argument("file", type=Path)
    out.add_argument("--format", choices=views.FORMATS, help="else as the file's name says")
    out.add_argument("--timeframe", help="resample to this")
    for name, work, text in (
        ("show", show, "all that is known of a dataset"),
        ("delete", delete, "forget a dataset, or one version: name@version"),
    ):
        command(name, work, text).add_argument("dataset")


def _line(dataset: Dataset) -> str:
    label, span = f"{dataset.name}@{dataset.version}", f"{iso(dataset.start)} .. {iso(dataset.end)}"
    return f"{label:32} {dataset.timeframe:>4} {dataset.rows:>12,} bars  {span}  {dataset.gaps:,} gaps  {dataset.symbol}".rstrip()


async def _print_report(data: MarketData, dataset: Dataset) -> None:
    found = await imports.get_report(data, f"{dataset.id}@{dataset.version}")
    print(f"  read as {found.format} {found.compression} times: {found.time_format}, {found.time_zone}".replace("  times", " times"))
    if found.calendar:
        print(f"  gaps are those within the sessions of {found.calendar}")
    for notice in found.notices:
        print(f"  {notice.text}", file=sys.stderr)
