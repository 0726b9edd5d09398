"""Garbage collection deletes files that no row names, and no others."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import pytest

import workers
from tests.support.waiting import Until
from tests.support.workers import Finished, StartWorker
from workers.model.clock import now_ms
from workers.process.garbage import collect_garbage
from workers.process.worker import LeaseWorker
from workers.storage import artifacts
from workers.storage.artifacts import DELETING, Folder

pytestmark = pytest.mark.anyio


def orphan(kept_in: artifacts.Artifacts, content: bytes = b"of nobody") -> str:
    return artifacts.write(kept_in, lambda file: file.write(content)).hash


@pytest.mark.usefixtures("results_in_files")
async def test_unnamed_files_are_deleted_and_others_stay(
    service: workers.Service, worker: LeaseWorker, request_: workers.BacktestRequest, finished: Finished
) -> None:
    run = await finished((await service.backtests.submit(request_)).id)
    names = {kept.hash for kept in service.resources.artifacts.list_all()}
    assert len(names) >= 3, "bars, trades and equity"
    orphan(service.resources.artifacts)
    assert await collect_garbage(service.resources.database, service.resources.artifacts, older_than_s=3600) == 0, (
        "it may belong to a row that is not committed yet"
    )
    assert await collect_garbage(service.resources.database, service.resources.artifacts, older_than_s=-1) == 1
    assert {kept.hash for kept in service.resources.artifacts.list_all()} == names
    assert (await service.backtests.get_trades(run.id)).total > 0


async def test_a_clock_that_is_ahead_does_not_age_files(service: workers.Service, monkeypatch: pytest.MonkeyPatch) -> None:
    orphan(service.resources.artifacts)
    honest = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: honest() + 7200 * 10**9)
    assert await collect_garbage(service.resources.database, service.resources.artifacts, older_than_s=3600) == 0
    assert await collect_garbage(service.resources.database, service.resources.artifacts, older_than_s=-1) == 1


async def test_the_files_of_a_deleted_dataset_are_collected(service: workers.Service, dataset: workers.Dataset) -> None:
    assert await collect_garbage(service.resources.database, service.resources.artifacts, older_than_s=-1) == 0
    await service.resources.data.delete(dataset.id)
    assert await collect_garbage(service.resources.database, service.resources.artifacts, older_than_s=-1) == 1
    assert list(service.resources.artifacts.list_all()) == []


async def test_a_worker_collects_garbage_by_itself(
    service: workers.Service, settings: workers.Settings, start_worker: StartWorker, until: Until
) -> None:
    orphan(service.resources.artifacts)

    async def gone() -> bool:
        return not list(service.resources.artifacts.list_all())

    async with start_worker(msgspec.structs.replace(settings, gc_s=0.1)):
        await until(gone)


def test_a_file_written_again_during_collection_stays(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    name = orphan(folder)
    os.utime(folder.path(name), (0, 0))
    before_ms = now_ms() - 1000
    orphan(folder)  # by another process, after garbage collection has found it old
    folder.delete([name], before_ms=before_ms)
    assert folder.exists(name)
    os.utime(folder.path(name), (0, 0))
    folder.delete([name, name], before_ms=before_ms)
    assert not folder.exists(name)


def test_a_deletion_killed_half_way_is_undone(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    name = orphan(folder)
    folder.path(name).rename(folder.path(name).with_suffix(DELETING))
    assert [kept.hash for kept in folder.list_all()] == [name]
