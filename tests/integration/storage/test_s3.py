"""Files in a bucket of a real S3 server, and its failures."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

import python_core as bt
import workers
from tests.support import s3
from workers.process import garbage
from workers.process.worker import LeaseWorker
from workers.storage import artifacts
from workers.storage.artifacts import ArtifactLost
from workers.storage.s3 import Bucket

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def server_url() -> Iterator[str]:
    with s3.s3_server() as url:
        yield url


@pytest.fixture
def bucket_url(server_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new bucket, with the environment that gives access to it."""
    for name, value in {**s3.KEYS, "AWS_ENDPOINT_URL": server_url}.items():
        monkeypatch.setenv(name, value)
    return f"s3://{s3.create_bucket(server_url)}/barstorm"


@pytest.fixture
def settings(settings: workers.Settings, bucket_url: str) -> workers.Settings:
    return msgspec.structs.replace(settings, artifacts_url=bucket_url)


@pytest.fixture
def bucket(bucket_url: str, tmp_path: Any) -> Bucket:
    return Bucket(bucket_url, tmp_path / "drafts")


def test_a_bucket_tells_whether_it_can_be_written(bucket: Bucket, bucket_url: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.check_writable()
    assert list(bucket.list_all()) == []
    missing = Bucket(bucket_url.replace("s3://b", "s3://missing"), tmp_path / "drafts")
    with pytest.raises(OSError, match="no such bucket"):
        missing.check_writable()
    (tmp_path / "drafts").rmdir()
    (tmp_path / "drafts").touch()
    with pytest.raises(OSError, match="drafts"):
        bucket.check_writable()


async def test_health_includes_the_bucket(service: workers.Service) -> None:
    health = await service.queue.get_health()
    assert (health.status, health.files.kind, health.files.ok) == ("ok", "s3", True)


def test_a_bucket_stores_reads_lists_and_deletes_files(bucket: Bucket) -> None:
    large = artifacts.write(bucket, lambda file: file.write(b"x" * 12_000_000))
    small = artifacts.write(bucket, lambda file: file.write(b"small"))
    assert bytes(bucket.read(small.hash)) == b"small"
    assert len(bucket.read(large.hash)) == large.bytes == 12_000_000
    assert {(kept.hash, kept.bytes) for kept in bucket.list_all()} == {(large.hash, large.bytes), (small.hash, 5)}
    bucket.delete([small.hash], before_ms=0)
    assert bucket.exists(small.hash), "it was modified later"
    bucket.delete([small.hash, "0" * 64])
    assert not bucket.exists(small.hash)
    with pytest.raises(ArtifactLost, match="missing"):
        bucket.read(small.hash)


def test_a_file_with_other_bytes_is_damaged(bucket: Bucket) -> None:
    bucket.save(io.BytesIO(b"other"), "a" * 64)
    with pytest.raises(ArtifactLost, match="damaged"):
        bucket.read("a" * 64)


def test_a_missing_bucket_is_an_os_error(bucket_url: str, tmp_path: Any) -> None:
    with pytest.raises(OSError, match="object store failed"):
        artifacts.write(Bucket("s3://nobody-made-this/x", tmp_path / "drafts"), lambda file: file.write(b"x"))


@pytest.mark.usefixtures("results_in_files")
async def test_a_backtest_with_its_files_in_a_bucket(
    service: workers.Service, worker: LeaseWorker, bars: bt.Bars, cross: bt.Strategy, finished: Any
) -> None:
    await service.resources.data.create("d", bars)
    run = await finished((await service.backtests.submit(workers.BacktestRequest(dataset="d", strategy=cross))).id)
    assert run.result is not None
    assert run.result.digest == bt.backtest(bars, cross).digest
    assert (await service.backtests.get_trades(run.id)).total == run.result.trades
    artifacts.write(service.resources.artifacts, lambda file: file.write(b"nobody's"))
    assert len(list(service.resources.artifacts.list_all())) == 4
    assert await garbage.collect_garbage(service.resources.database, service.resources.artifacts, older_than_s=-1000) == 1
    assert len(list(service.resources.artifacts.list_all())) == 3
