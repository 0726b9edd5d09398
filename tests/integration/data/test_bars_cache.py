"""The cache of bars: identical bars from disk, shared files, bounded size, damaged files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import python_core as bt
import workers
from python_core.files import mapped
from workers.data import bars_cache, catalog, parts
from workers.data.bars_cache import BarsCache
from workers.data.parts import Part
from workers.data.run_bars import BarRange

pytestmark = pytest.mark.anyio


async def stored(service: workers.Service, name: str, bars: bt.Bars) -> tuple[workers.Dataset, list[Part]]:
    dataset = await service.resources.data.create(name, bars)
    async with service.resources.database.read() as session:
        return dataset, await catalog.list_parts(session, dataset)


def cache(service: workers.Service, max_file_bytes: int = 10**9) -> BarsCache:
    """The cache of a process that has just started."""
    return BarsCache(
        service.resources.artifacts, 10**9, folder=service.resources.settings.folder / "columns", max_file_bytes=max_file_bytes
    )


def with_all(bars: bt.Bars) -> bt.Bars:
    rates = (bars.time[::8], np.linspace(-0.001, 0.001, len(bars.time[::8])))
    return bars.with_series(funding=rates, mark=(bars.time, bars.low - 0.001, bars.high + 0.001))


@pytest.mark.parametrize("joined", [False, True])
async def test_bars_read_from_the_disk_are_identical(service: workers.Service, bars: bt.Bars, joined: bool) -> None:
    wanted = with_all(bars) if joined else bars
    dataset, of = await stored(service, "d", wanted)
    first = cache(service)
    assert first.load(dataset, of).fingerprint == wanted.fingerprint
    first.flush()
    service.resources.artifacts.delete([part.hash for part in of])
    loaded = cache(service).load(dataset, of)
    again = bt.Bars(*(getattr(loaded, name) for name in parts.SERIES["bars"]), timeframe="1h", funding=loaded.funding, mark=loaded.mark)
    assert again.fingerprint == loaded.fingerprint == wanted.fingerprint
    assert not loaded.close.flags.writeable
    strategy = bt.Strategy(entry_long="close > open")
    assert bt.backtest(loaded, strategy).digest == bt.backtest(wanted, strategy).digest


async def test_a_range_is_a_view_and_hashed_once(service: workers.Service, bars: bt.Bars, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, of = await stored(service, "d", with_all(bars))
    chosen = cache(service)
    ranges = [BarRange(start=int(bars.time[i]), end=int(bars.time[-i]), warm_up_bars=i - 1) for i in (1, 2, 3)]
    assert [chosen.known_range(dataset, each) for each in ranges] == [None] * 3
    for i, each in enumerate(ranges):
        part, first = chosen.load_range(dataset, of, each)
        assert first == i
        assert np.shares_memory(part.close, chosen.load(dataset, of).close)
        again = bt.Bars(*(getattr(part, name) for name in parts.SERIES["bars"]), timeframe="1h", funding=part.funding, mark=part.mark)
        assert chosen.known_range(dataset, each) == (part.fingerprint, first) == (again.fingerprint, first)
        assert chosen.load_range(dataset, of, each).bars.fingerprint == part.fingerprint
    monkeypatch.setattr(bars_cache, "MAX_RANGES", 2)
    chosen.load_range(dataset, of, ranges[2])
    assert [chosen.known_range(dataset, each) is None for each in ranges] == [True, False, False]
    assert chosen.load_range(dataset, of, BarRange()).bars is chosen.load(dataset, of)
    assert chosen.known_range(dataset, BarRange()) == (dataset.fingerprint, 0)


@pytest.mark.parametrize("damage", [b"", b"x", b"barstorm columns 1\n{}\n", None])
async def test_a_damaged_file_is_replaced(service: workers.Service, bars: bt.Bars, damage: bytes | None) -> None:
    dataset, of = await stored(service, "d", bars)
    path = service.resources.settings.folder / "columns" / f"{dataset.fingerprint}.columns"
    first = cache(service)
    first.load(dataset, of)
    first.flush()
    path.write_bytes(path.read_bytes()[:-1] if damage is None else damage)
    second = cache(service)
    assert second.load(dataset, of).fingerprint == bars.fingerprint
    second.flush()
    assert mapped.read(path).fingerprint == bars.fingerprint


async def test_the_least_recently_used_file_is_deleted_when_the_disk_cache_is_full(service: workers.Service) -> None:
    sets = [await stored(service, f"d{i}", bt.synthetic(1000, seed=i)) for i in range(3)]
    small = cache(service, 2 * 60_000)
    for dataset, of in sets[:2]:
        small.load(dataset, of)
        small.flush()
    folder = service.resources.settings.folder / "columns"
    os.utime(folder / f"{sets[1][0].fingerprint}.columns", (1, 1))
    small.load(*sets[2])
    small.flush()
    assert {path.stem for path in folder.glob("*.columns")} == {sets[0][0].fingerprint, sets[2][0].fingerprint}
    cache(service, 1000).load(*sets[1])
    assert len(list(folder.glob("*.columns"))) == 2, "bars larger than the cache are not written"


async def test_bars_load_without_the_cache_when_the_disk_is_full(
    service: workers.Service, bars: bt.Bars, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, of = await stored(service, "d", bars)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mapped, "write", full)
    chosen = cache(service)
    assert chosen.load(dataset, of).fingerprint == bars.fingerprint
    chosen.flush()
    assert list(Path(service.resources.settings.folder / "columns").glob("*.columns")) == []
