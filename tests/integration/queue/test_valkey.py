"""The embedded Valkey: one server for each data folder."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from workers.queue import valkey

pytestmark = pytest.mark.anyio
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
    except ProcessLookupError:
        return False
    # A zombie counts as dead.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z" if Path("/proc").is_dir() else True


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


async def test_the_server_of_a_killed_process_is_used_with_its_data(tmp_path: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWN, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert owner.stdout
    pid = await process_id((await asyncio.to_thread(owner.stdout.readline)).strip())
    owner.kill()
    owner.communicate()
    async with valkey.open_valkey(tmp_path) as url:
        assert await process_id(url) == pid
        async with Redis.from_url(url) as client:
            await client.set("kept", "yes")
    assert not alive(pid)
    async with valkey.open_valkey(tmp_path) as url, Redis.from_url(url) as client:
        assert await client.get("kept") == b"yes"


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
