"""The embedded Valkey: one server for each data folder."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

import workers
from workers.queue import valkey, valkey_keeper

pytestmark = pytest.mark.anyio
StartUser = Callable[..., Awaitable[tuple[subprocess.Popen[str], str]]]
OWN = """
import asyncio, pathlib, sys
from workers.queue import valkey

async def main():
    async with valkey.open_valkey(pathlib.Path(sys.argv[1])) as url:
        print(url, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
"""


async def process_id(url: str) -> int:
    async with Redis.from_url(url) as client:
        return int((await client.info("server"))["process_id"])


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        # A zombie counts as dead.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z" if Path("/proc").is_dir() else True
    except (ProcessLookupError, FileNotFoundError):
        return False


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def test_processes_share_a_server_and_the_last_stops_it(tmp_path: Path) -> None:
    async with valkey.open_valkey(tmp_path) as url:
        async with valkey.open_valkey(tmp_path) as again:
            assert again == url
            first = await process_id(url)
        assert await process_id(url) == first
    assert not alive(first)


async def test_concurrent_processes_start_one_server(tmp_path: Path) -> None:
    owners = [
        subprocess.Popen([sys.executable, "-c", OWN, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    try:
        urls = {await asyncio.to_thread(owner.stdout.readline) for owner in owners if owner.stdout}
        assert len(urls) == 1
        pid = await process_id(urls.pop().strip())
        log = (tmp_path / "valkey" / "valkey.log").read_text()
        assert log.count("Ready to accept connections") == 1
        owners[0].kill()
        for owner in owners[1:3]:
            owner.communicate(timeout=60)
        assert alive(pid), "one process still uses it"
        owners[3].communicate(timeout=60)
        assert not alive(pid)
    finally:
        for owner in owners:
            owner.kill()
            owner.communicate()


@pytest.fixture
def start_user(tmp_path: Path) -> Iterator[StartUser]:
    """`await start_user(folder)`: a process that uses the Valkey of a folder, by default that of the test, and the URL that it prints."""
    users: list[subprocess.Popen[str]] = []

    async def start(folder: Path = tmp_path) -> tuple[subprocess.Popen[str], str]:
        user = subprocess.Popen([sys.executable, "-c", OWN, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        users.append(user)
        assert user.stdout
        return user, (await asyncio.to_thread(user.stdout.readline)).strip()

    yield start
    for user in users:
        user.kill()
        user.communicate()


async def gone(pid: int) -> None:
    async with asyncio.timeout(60):
        while alive(pid):
            await asyncio.sleep(0.02)


async def test_the_server_ends_when_its_users_are_killed(tmp_path: Path, start_user: StartUser) -> None:
    (first, url), (second, again) = [await start_user() for _ in range(2)]
    assert url == again
    pid = await process_id(url)
    async with Redis.from_url(url) as client:
        await client.set("kept", "yes")
    first.kill()
    first.wait()
    await asyncio.sleep(3 * valkey_keeper.POLL_S)
    assert await process_id(url) == pid, "the second still uses it"
    second.kill()
    await gone(pid)
    async with valkey.open_valkey(tmp_path) as url, Redis.from_url(url) as client:
        assert await client.get("kept") == b"yes"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
@pytest.mark.parametrize("keeper_first", [False, True])
async def test_the_server_ends_when_all_but_the_server_is_killed(start_user: StartUser, keeper_first: bool) -> None:
    user, url = await start_user()
    pid = await process_id(url)
    keeper = parent(pid)
    assert keeper not in (user.pid, os.getpid())
    for killed in (keeper, user.pid) if keeper_first else (user.pid, keeper):
        os.kill(killed, signal.SIGKILL)
    await gone(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
async def test_users_keep_a_server_when_its_keeper_is_killed(tmp_path: Path) -> None:
    async with valkey.open_valkey(tmp_path) as url, Redis.from_url(url) as client:
        await client.set("kept", "yes")
        first = await process_id(url)
        os.kill(parent(first), signal.SIGKILL)
        await gone(first)
        async with asyncio.timeout(60):
            while True:
                with suppress(OSError, RedisError):
                    second = await process_id(url)
                    break
                await asyncio.sleep(0.02)
        assert await client.get("kept") == b"yes"
    await gone(second)


async def test_a_user_that_comes_when_the_last_is_killed_has_a_server(tmp_path: Path, start_user: StartUser) -> None:
    async def come(after_s: float) -> None:
        folder = tmp_path / f"{after_s}"
        user, _ = await start_user(folder)
        user.kill()
        await asyncio.sleep(after_s)
        async with valkey.open_valkey(folder) as url, Redis.from_url(url) as client:
            pid = await process_id(url)
            deadline = time.monotonic() + 2 * valkey_keeper.POLL_S
            while time.monotonic() < deadline:
                assert await client.ping()
                await asyncio.sleep(0.01)
            assert await process_id(url) == pid
        await gone(pid)

    # Spread over the time in which the keeper finds out.
    await asyncio.gather(*(come(tenth_s / 10) for tenth_s in range(8)))


async def test_a_child_with_the_url_of_its_parent_uses_the_server(tmp_path: Path) -> None:
    settings = workers.Settings(data_dir=str(tmp_path))
    async with AsyncExitStack() as child, AsyncExitStack() as parent:
        shared = await parent.enter_async_context(valkey.with_redis(settings))
        await child.enter_async_context(valkey.with_redis(shared))
        await parent.aclose()
        pid = await process_id(shared.redis_url)
    await gone(pid)


async def test_a_killed_server_is_restarted(tmp_path: Path) -> None:
    async with valkey.open_valkey(tmp_path) as url:
        first = await process_id(url)
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(60):
            while True:
                try:
                    second = await process_id(url)
                    break
                except (OSError, RedisError):
                    await asyncio.sleep(0.05)
        assert second != first


async def test_a_hanging_server_is_not_started_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey, "START_S", 0.5)
    monkeypatch.setattr(valkey, "GUARD_S", 60)
    monkeypatch.setattr(valkey, "ANSWER_S", 0.2)
    async with valkey.open_valkey(tmp_path) as url:
        pid = await process_id(url)
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(valkey.Unavailable, match="does not answer"):
                await asyncio.to_thread(valkey._ensure, tmp_path / "valkey")
        finally:
            os.kill(pid, signal.SIGCONT)
        assert await process_id(url) == pid


async def test_a_folder_with_a_long_path_works(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    async with valkey.open_valkey(folder) as url, Redis.from_url(url) as client:
        assert await client.ping()
    assert not Path(url.removeprefix("unix://")).exists()


async def test_a_server_that_can_not_start_is_an_error_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "valkey").mkdir()
    (tmp_path / "valkey" / "appendonlydir").write_text("in the way")
    with pytest.raises(valkey.Unavailable, match=r"does not start: .*appendonly"):
        async with valkey.open_valkey(tmp_path):
            pass
