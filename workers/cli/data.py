"""`barstorm data`: market data on the command line. It uses the service's database and files directly; no server has to run."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, get_args

import msgspec

from python_core.data.columns import COLUMNS, iso
from python_core.files import read
from python_core.files.options import Decimal, Policy, ReadOptions, Stamp, asker, read_options
from python_core.files.report import ImportReport
from workers.accounts import audit
from workers.cli.operations import add_command
from workers.cli.pages import LIMIT, all_items
from workers.data import catalog, imports, parts, samples
from workers.data import export as views
from workers.data.datasets import MarketData, open_market_data
from workers.data.imports import ImportOptions
from workers.db.database import open_database
from workers.errors import Invalid, as_client_error
from workers.model.callers import OPERATOR, Caller
from workers.model.datasets import Dataset, instrument
from workers.model.names import to_name
from workers.model.selection import MarketKind
from workers.settings import Settings
from workers.storage import artifacts
from workers.storage import open as storage

REFERENCE: Final = "id or name; NAME@VERSION for one version"
Command = Callable[[MarketData, argparse.Namespace], Awaitable[None]]


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Run a subcommand of `add_parsers`."""

    async def work() -> None:
        async with open_data(settings) as data:
            await options.data_command(data, options)

    token = asker.set("command line")
    try:
        if options.data_command is inspect:
            inspect(options)
        else:
            asyncio.run(work())
    finally:
        asker.reset(token)
    return 0


@asynccontextmanager
async def open_data(settings: Settings) -> AsyncIterator[MarketData]:
    """The market data of these settings; migrates the database schema."""
    async with open_database(settings.database_url) as database:
        await database.migrate()
        yield open_market_data(settings, database, storage.open_artifacts(settings))


async def list_datasets(data: MarketData, options: argparse.Namespace) -> None:
    found = False
    async with data.database.read() as session:
        async for dataset in all_items(lambda cursor: catalog.page(session, OPERATOR, limit=LIMIT, cursor=cursor)):
            found = True
            print(_line(dataset))
    if not found:
        print("no datasets yet; add some with `barstorm data import FILE` or, for synthetic bars, `barstorm data samples`")


async def show(data: MarketData, options: argparse.Namespace) -> None:
    async with data.database.read() as session:
        dataset = await catalog.get(session, _caller(options), options.dataset)
        pages = all_items(lambda cursor: catalog.page_of_versions(session, OPERATOR, dataset.id, limit=LIMIT, cursor=cursor))
        versions = [version.version async for version in pages]
        report = await catalog.get_report(session, dataset)
    for name in Dataset.__struct_fields__:
        value = getattr(dataset, name)
        print(f"{name:12} {iso(value) if name in ('start', 'end', 'created_at', 'updated_at') else '' if value is None else value}")
    print(f"{'versions':12} {', '.join(map(str, versions))}")
    if report is not None:
        _print_report(await imports.get_report(data, OPERATOR, f"{dataset.id}@{dataset.version}"))


async def import_file(data: MarketData, options: argparse.Namespace) -> None:
    import_options = ImportOptions(read=_read_options(options), timeframe=options.timeframe, source=f"file {options.file.name}"[:200])
    traded = instrument(
        symbol=options.symbol, exchange=options.exchange, kind=options.kind, tick_size=options.tick_size, lot_size=options.lot_size
    )
    dataset = await imports.create(
        data, options.name or to_name(options.file.name), options.file, traded, import_options, owner=options.owner
    )
    await _audit(data, options, "create", dataset.name)
    print(_line(dataset))
    _print_report(await imports.get_report(data, OPERATOR, f"{dataset.id}@{dataset.version}"))


def inspect(options: argparse.Namespace) -> None:
    chosen = msgspec.structs.replace(_read_options(options), timeframe=options.timeframe, symbol=options.symbol)
    bars, report = read.read_with_report(options.file, chosen)
    print(f"{report.bars:,} bars of {report.timeframe} in {report.rows:,} rows, {iso(report.first_time)} .. {iso(report.last_time)}")
    _print_report(report)
    for i in sorted({0, len(bars) - 1}):
        prices = "  ".join(f"{name} {getattr(bars, name)[i]:.10g}" for name in COLUMNS[1:])
        print(f"  {iso(bars.time[i])}  {prices}")


async def append(data: MarketData, options: argparse.Namespace) -> None:
    import_options = ImportOptions(read=_read_options(options), source=f"file {options.file.name}"[:200])
    dataset = await imports.append(data, _caller(options), options.dataset, options.file, options.series, import_options)
    await _audit(data, options, "append", options.dataset)
    print(_line(dataset))


async def export(data: MarketData, options: argparse.Namespace) -> None:
    format_ = options.format or options.file.suffix.removeprefix(".")
    if format_ not in views.FORMATS:
        raise Invalid(f"unknown format {format_!r:.40}", where="--format", hint=f"use one of {', '.join(views.FORMATS)}")
    async with data.database.read() as session:
        dataset = await catalog.get(session, _caller(options), options.dataset)
        stored = await catalog.list_parts(session, dataset)
    with as_client_error():
        bars = parts.bars_from_series(parts.read_all(data.store, stored), timeframe=dataset.timeframe, symbol=dataset.symbol)
        bars = bars.resample(options.timeframe) if options.timeframe else bars
    with artifacts.anonymous_file(options.file.absolute().parent) as file:
        views.export(bars, format_, file)
        options.file.unlink(missing_ok=True)
        artifacts.publish_file(file, options.file.absolute())
    print(f"{len(bars):,} bars of {dataset.name}@{dataset.version} written to {options.file}")


async def delete(data: MarketData, options: argparse.Namespace) -> None:
    await data.delete(options.dataset, caller=_caller(options))
    await _audit(data, options, "delete", options.dataset)
    print(f"{options.dataset} deleted")


async def add_samples(data: MarketData, options: argparse.Namespace) -> None:
    for dataset in await samples.add(data, options.owner):
        print(_line(dataset))


def add_parsers(parser: argparse.ArgumentParser, add_fetch: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the subcommands of `barstorm data`. `add_fetch` completes `fetch`, which needs the whole service."""
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name: str, command: Command, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=f"{text}.")
        added.set_defaults(data_command=command)
        return added

    def add_operation(name: str, command: Command, operation: str) -> argparse.ArgumentParser:
        added = add_command(commands, name, operation)
        added.set_defaults(data_command=command)
        return added

    add_operation("list", list_datasets, "datasets.list")
    text = "Show how a file is read, without importing it"
    inspecting = commands.add_parser("inspect", help=text, description=f"{text}.")
    inspecting.set_defaults(data_command=inspect)
    inspecting.add_argument("file", type=Path, metavar="FILE")
    importing = add("import", import_file, "Import the bars of a CSV, JSON, Parquet or Arrow file as a dataset")
    importing.add_argument("file", type=Path, metavar="FILE")
    importing.add_argument("--name", help="name of the dataset (default: name of the file, with - for characters that names don't have)")
    importing.add_argument(
        "--exchange",
        default="",
        help="exchange of the instrument; for an equity a calendar code such as XNYS, so that only bars missing within its sessions are gaps",
    )
    importing.add_argument("--kind", default="spot", choices=get_args(MarketKind), help="kind of market (default: %(default)s)")
    importing.add_argument("--tick-size", type=float, metavar="PRICE", help="smallest step of the price")
    importing.add_argument("--lot-size", type=float, metavar="QUANTITY", help="smallest step of the quantity")
    appending = add_operation("append", append, "datasets.append")
    appending.add_argument("dataset", metavar="DATASET", help="id or name")
    appending.add_argument("file", type=Path, metavar="FILE")
    appending.add_argument("--series", default="bars", choices=tuple(parts.SERIES), help="what the file contains (default: %(default)s)")
    for added in (inspecting, importing):
        added.add_argument(
            "--symbol", default="", help="symbol of the instrument, such as BTC/USDT; of a file with several, the one to read"
        )
        added.add_argument("--timeframe", help="timeframe of the bars, such as 30s, 1h or 1M (default: the commonest step)")
    for added in (inspecting, importing, appending):
        _add_read_options(added)
    add_fetch(add_command(commands, "fetch", "fetches.create"))
    sampling = add("samples", add_samples, "Add synthetic sample datasets")
    showing = add("show", show, "Show the fields, versions and import report of a dataset")
    showing.add_argument("dataset", metavar="DATASET", help=REFERENCE)
    exporting = add("export", export, "Write the bars of a dataset to a file")
    exporting.add_argument("dataset", metavar="DATASET", help=REFERENCE)
    exporting.add_argument("file", type=Path, metavar="FILE")
    exporting.add_argument("--format", choices=views.FORMATS, help="file format (default: from the file name)")
    exporting.add_argument("--timeframe", help="resample to this timeframe, such as 1h or 1M")
    deleting = add_operation("delete", delete, "datasets.delete")
    deleting.add_argument("dataset", metavar="DATASET", help=REFERENCE)
    for added in (importing, appending, sampling, showing, exporting, deleting):
        added.add_argument("--owner", default="", help="owner of the dataset")


def _caller(options: argparse.Namespace) -> Caller:
    """The operator, who uses the names of an owner."""
    return msgspec.structs.replace(OPERATOR, owner=options.owner)


async def _audit(data: MarketData, options: argparse.Namespace, operation: str, subject: str) -> None:
    await audit.record(data.database, _caller(options), f"datasets.{operation}", subject, audit.SUCCEEDED)


def _add_read_options(parser: argparse.ArgumentParser) -> None:
    flag = argparse.BooleanOptionalAction
    parser.add_argument("--policy", default="reject", choices=get_args(Policy), help="what to do with invalid rows (default: %(default)s)")
    parser.add_argument("--header", action=flag, default=True, help="whether line 1 of a CSV file names the columns (default: it does)")
    parser.add_argument(
        "--columns",
        default="",
        help='titles of columns that are not found, as in "close=Adj Close"; without a header the names in order, as in '
        "date,clock,open,high,low,close,-,volume",
    )
    parser.add_argument(
        "--timezone", default="", metavar="ZONE", help="zone of times that say none, such as America/New_York (default: UTC)"
    )
    parser.add_argument(
        "--stamp", default="open", choices=get_args(Stamp), help="whether times are of a bar's open or end (default: %(default)s)"
    )
    parser.add_argument("--decimal", choices=get_args(Decimal), help="decimal mark (default: detected)")
    parser.add_argument("--day-first", action=flag, default=None, help="whether 01/02/2024 is 1 February (default: detected)")
    parser.add_argument("--earliest", default="1980-01-01", metavar="DATE", help="refuse rows before it (default: %(default)s)")


def _read_options(options: argparse.Namespace) -> ReadOptions:
    with as_client_error():
        return read_options(
            policy=options.policy,
            header=options.header,
            columns=options.columns,
            timezone=options.timezone,
            stamp=options.stamp,
            decimal=options.decimal,
            day_first=options.day_first,
            earliest=options.earliest,
        )


def _line(dataset: Dataset) -> str:
    label, span = f"{dataset.name}@{dataset.version}", f"{iso(dataset.start)} .. {iso(dataset.end)}"
    return f"{label:32} {dataset.timeframe:>4} {dataset.rows:>12,} bars  {span}  {dataset.gaps:,} {'gap' if dataset.gaps == 1 else 'gaps'}  {dataset.symbol}".rstrip()


def _print_report(report: ImportReport) -> None:
    file_format = f"{report.format} {report.compression}".strip()
    marks = [f"separator {report.separator!r}"] * bool(report.separator) + [f"decimal {report.decimal_mark!r}"] * bool(report.decimal_mark)
    print(f"  read as {', '.join([file_format, *marks])}")
    print(f"  times: {report.columns['time']} as {report.time_format}, {report.time_zone}")
    print(f"  columns: {', '.join(f'{name} {title}' for name, title in report.columns.items() if name != 'time')}")
    if report.calendar:
        print(f"  gaps are bars missing within the sessions of {report.calendar}")
    for notice in report.notices:
        print(f"  {notice.text}", file=sys.stderr)
