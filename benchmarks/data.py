"""Time imports and loads of market data: `python benchmarks/data.py`; writes data.md.

Each figure is the best of a few tries, each in its own process. The data is synthetic.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import python_core as bt
from python_core.files import read
from workers.data import catalog, parts
from workers.data.bars_cache import BarsCache
from workers.data.datasets import MarketData
from workers.data.imports import ImportOptions, create
from workers.db.database import open_database
from workers.model.datasets import Dataset, Instrument
from workers.settings import Settings
from workers.storage import open as storage

HERE = Path(__file__).parent
IMPORTED = 10_000_000
LOADED = 1_000_000
TRIES = 3
GOALS = {"import": "at least 2 M rows/s", "memory": "under 1,000 MB", "disk": "under 30 ms", "store": "", "warm": "under 1 ms"}


def main(arguments: list[str]) -> None:
    if arguments:
        print(json.dumps({"import": import_file, "load": load}[arguments[0]](Path(arguments[1]))))
        return
    with tempfile.TemporaryDirectory(prefix="barstorm-bench-") as folder:
        bt.synthetic(IMPORTED, timeframe="1m").to_polars().write_csv(Path(folder) / "bars.csv")
        imports = [_in_new_process("import", Path(folder)) for _ in range(TRIES)]
        asyncio.run(_prepare(Path(folder)))
        loads = [_in_new_process("load", Path(folder)) for _ in range(TRIES)]
    best = {name: min(found[name] for found in imports) for name in imports[0]} | {
        name: min(found[name] for found in loads) for name in loads[0]
    }
    rows = [
        ("import", f"import of a CSV file of {IMPORTED:,} 1-minute bars", f"{IMPORTED / best['import'] / 1e6:.2f} M rows/s"),
        ("memory", "peak memory of that process", f"{best['memory'] / 1e6:,.0f} MB"),
        ("store", f"{LOADED:,} bars read from the store, each file verified by its hash", f"{best['store'] * 1e3:.1f} ms"),
        ("disk", "the same in a new process, mapped from the local disk, with one run of the kernel", f"{best['disk'] * 1e3:.2f} ms"),
        ("warm", "the same again in that process, without the kernel", f"{best['warm'] * 1e3:.4f} ms"),
    ]
    lines = ["| what | measured | goal |", "|---|---|---|", *(f"| {text} | {value} | {GOALS[name]} |" for name, text, value in rows)]
    (HERE / "data.md").write_text("\n".join(["# Market data benchmark", "", *lines, ""]))
    print("\n".join(lines))


def import_file(folder: Path) -> dict[str, float]:
    """Seconds of one import through the service's own function, and the peak memory of this process in bytes."""

    async def run() -> float:
        with tempfile.TemporaryDirectory(dir=folder) as data_dir:
            settings = Settings(data_dir=data_dir)
            async with open_database(settings.database_url) as database:
                await database.migrate()
                data = MarketData(database, storage.open_artifacts(settings), scratch=settings.folder / "scratch", max_bytes=10**12)
                begin = time.perf_counter()
                await create(data, "bars", folder / "bars.csv", Instrument(), ImportOptions())
                return time.perf_counter() - begin

    _ = read.read_bars(b"date,open,high,low,close\n2024-01-01,1,1,1,1\n2024-01-02,1,1,1,1\n")  # so that polars is imported
    seconds = asyncio.run(run())
    return {"import": seconds, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)}


async def _prepare(folder: Path) -> None:
    settings = Settings(data_dir=str(folder / "loaded"))
    async with open_database(settings.database_url) as database:
        await database.migrate()
        data = MarketData(database, storage.open_artifacts(settings), scratch=settings.folder / "scratch", max_bytes=10**12)
        await data.create("bars", bt.synthetic(LOADED, timeframe="1m"))


def load(folder: Path) -> dict[str, float]:
    """Seconds to load bars from the store, from the local disk, and again."""
    settings = Settings(data_dir=str(folder / "loaded"))

    async def find() -> tuple[Dataset, list[parts.Part]]:
        async with open_database(settings.database_url) as database, database.read() as session:
            dataset = await catalog.get(session, "bars")
            return dataset, await catalog.list_parts(session, dataset)

    def cache() -> BarsCache:
        return BarsCache(storage.open_artifacts(settings), 10**9, folder=settings.folder / "columns", max_file_bytes=10**9)

    dataset, files = asyncio.run(find())
    small = bt.synthetic(1_000, timeframe="1m")
    strategy = bt.Strategy(entry_long="close < 0")  # the kernel reads all bars and never trades
    bt.backtest(small, strategy)
    for path in (settings.folder / "columns").glob("*.columns"):
        path.unlink()
    seconds, loader = {}, cache()
    begin = time.perf_counter()
    loader.load(dataset, files)
    seconds["store"] = time.perf_counter() - begin
    loader.flush()
    loader = cache()
    begin = time.perf_counter()
    bt.backtest(loader.load(dataset, files), strategy)
    seconds["disk"] = time.perf_counter() - begin
    begin = time.perf_counter()
    loader.load(dataset, files)
    seconds["warm"] = time.perf_counter() - begin
    return seconds


def _in_new_process(work: str, folder: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads(subprocess.check_output([sys.executable, __file__, work, str(folder)]))
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
