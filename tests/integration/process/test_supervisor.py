"""The `barstorm` command and the processes that it supervises."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

import python_core as bt
from tests.support.ports import free_port
from tests.support.waiting import Eventually
from workers.cli import demo, main

Command = Callable[..., subprocess.Popen[str]]
# Loading the certificates would take longer than the request.
ONE_REQUEST: dict[str, Any] = {"timeout": 10, "trust_env": False, "verify": False}


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    """`command("serve", ...)`: a process with a data folder of its own, stopped at the end of the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **environ: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "workers.cli.main", *arguments],
            env={**os.environ, "BARSTORM_DATA_DIR": str(tmp_path / "var"), "BARSTORM_DRAIN_S": "1", **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
            try:
                process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
        process.communicate()


@pytest.fixture
def port() -> int:
    return free_port()


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/api/v1/queue/health", **ONE_REQUEST).status_code == 200
    except httpx.TransportError:
        return False


def workers_of(port: int) -> list[dict[str, int]]:
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/queue/metrics", **ONE_REQUEST)
    except httpx.TransportError:
        return []
    return list(answer.json()["workers"]) if answer.status_code == 200 else []


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_serve_restarts_dead_processes_and_stops_with_a_signal(command: Command, port: int, eventually: Eventually) -> None:
    server = command("serve", "--port", str(port), "--workers", "2")
    eventually(lambda: len(workers_of(port)) == 2)
    first, second = (worker["pid"] for worker in workers_of(port))
    os.kill(first, signal.SIGKILL)
    eventually(lambda: len({worker["pid"] for worker in workers_of(port)} - {first, second}) == 1)
    pids = {worker["pid"] for worker in workers_of(port)} - {first}
    server.terminate()
    output, errors = server.communicate(timeout=60)
    assert server.returncode == 0, errors
    assert f"http://127.0.0.1:{port}/schema" in output
    assert "process died; restarting" in errors
    assert all(gone(pid) for pid in pids)


def test_children_and_valkey_end_when_their_supervisor_is_killed(
    command: Command, port: int, eventually: Eventually, tmp_path: Path
) -> None:
    server = command("serve", "--port", str(port), "--workers", "1")
    eventually(lambda: len(workers_of(port)) == 1)
    pid = workers_of(port)[0]["pid"]
    with Redis(unix_socket_path=str(tmp_path / "var" / "valkey" / "valkey.sock")) as client:
        valkey = client.info("server")["process_id"]
    server.kill()
    server.communicate()
    eventually(lambda: gone(pid))
    eventually(lambda: not workers_of(port))
    eventually(lambda: gone(valkey))
    doctor = command("doctor")
    output, _ = doctor.communicate(timeout=60)
    assert doctor.returncode == 0
    assert "valkey, embedded: responded in" in output


def test_everything_ends_when_the_first_child_is_killed(command: Command, port: int, eventually: Eventually) -> None:
    server = command("serve", "--port", str(port), "--workers", "1")
    eventually(lambda: len(workers_of(port)) == 1)
    pid = workers_of(port)[0]["pid"]
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    server.communicate(timeout=60)
    assert server.returncode == 128 + signal.SIGKILL
    eventually(lambda: gone(pid))
    eventually(lambda: not answers(port))


def test_serve_has_no_worker_until_work_arrives_and_again_when_it_is_done(command: Command, port: int, eventually: Eventually) -> None:
    command("serve", "--port", str(port), BARSTORM_IDLE_S="0.5", BARSTORM_WORKERS="0")
    eventually(lambda: answers(port))
    with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", trust_env=False, timeout=60) as client:
        for round_ in range(2):
            assert not workers_of(port)
            for i in range(3):
                body = {"dataset": "synthetic-1h", "strategy": {"entry_long": f"close > sma(close, {10 * round_ + i + 5})"}}
                run = client.post("/backtests", json=body, headers={"prefer": "wait=50"}).raise_for_status().json()
                assert run["state"] == "succeeded"
            assert workers_of(port)
            eventually(lambda: not workers_of(port))


def test_burst_empties_the_queue_and_ends(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "bars.parquet"
    bt.synthetic(500).to_polars().write_parquet(path)
    script = """
import asyncio, pathlib, sys
import python_core as bt, workers

async def main():
    async with workers.open_service(workers.Settings.from_env()) as service:
        await service.datasets.create("d", pathlib.Path(sys.argv[1]))
        for i in range(20):
            strategy = bt.Strategy(entry_long="crossover(close, sma(close, n))", params={"n": 2 + i})
            await service.backtests.submit(workers.BacktestRequest(dataset="d", strategy=strategy))

asyncio.run(main())
"""
    environ = {**os.environ, "BARSTORM_DATA_DIR": str(tmp_path / "var")}
    subprocess.run([sys.executable, "-c", script, str(path)], env=environ, check=True, timeout=60)
    worker = command("worker", "--workers", "2", "--burst")
    _, errors = worker.communicate(timeout=60)
    assert worker.returncode == 0, errors
    count = (
        "import asyncio, workers\n"
        "async def main():\n"
        "    async with workers.open_service(workers.Settings.from_env()) as service:\n"
        "        print((await service.queue.get_metrics()).runs[workers.RunState.SUCCEEDED])\n"
        "asyncio.run(main())\n"
    )
    counted = subprocess.run([sys.executable, "-c", count], env=environ, check=True, timeout=60, capture_output=True, text=True)
    assert counted.stdout.strip() == "20"


def test_workers_start_when_jobs_wait_and_stop_when_idle(command: Command, port: int, tmp_path: Path, eventually: Eventually) -> None:
    limits = {"BARSTORM_IDLE_S": "0.5", "BARSTORM_CONCURRENCY": "1"}
    api = command("api", "--port", str(port))
    command("worker", "--workers", "1", "--min", "0", "--max", "2", "--priorities", "normal,low", **limits)
    path = tmp_path / "bars.parquet"  # long runs, so that one worker can't finish them before a second is needed
    bt.synthetic(100_000).to_polars().write_parquet(path)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", trust_env=False, timeout=60) as client:
        eventually(lambda: answers(port))
        client.post("/datasets", params={"name": "d"}, content=path.read_bytes(), headers=demo.BINARY).raise_for_status()

        def submit(i: int, **options: str) -> str:
            body = {"dataset": "d", "strategy": {"entry_long": f"close > sma(close, {i + 5})"}, "engine": "python"}
            return str(client.post("/backtests", json=body, params=options).raise_for_status().json()["id"])

        urgent = submit(0, priority="high")
        runs = [submit(i) for i in range(1, 5)]
        eventually(lambda: len(workers_of(port)) == 2)
        eventually(lambda: client.get(f"/backtests/{runs[0]}").json()["state"] == "succeeded")
        for run in runs[1:]:
            client.post(f"/backtests/{run}/cancel")
        eventually(lambda: not workers_of(port))
        assert client.get(f"/backtests/{urgent}").json()["state"] == "queued", "no worker serves that priority"
    assert api.poll() is None


@pytest.mark.parametrize("wrong", [("--min", "3", "--max", "2"), ("--min", "-1"), ("--max", "0", "--min", "0"), ("--priorities", "urgent")])
def test_invalid_worker_options_are_refused(command: Command, wrong: tuple[str, ...]) -> None:
    process = command("worker", *wrong)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.startswith("barstorm: --")


def test_a_port_in_use_is_reported_at_once(command: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = command("serve", "--port", str(taken.getsockname()[1]))
        _, errors = server.communicate(timeout=60)
    assert server.returncode == 1
    assert "use another port" in errors


def test_migrate_and_doctor_report_their_findings(command: Command, tmp_path: Path) -> None:
    migrated = command("migrate")
    output, errors = migrated.communicate(timeout=60)
    assert (migrated.returncode, errors) == (0, "")
    assert "is up to date" in output
    broken = command("doctor", REDIS_URL="redis://127.0.0.1:1")
    output, _ = broken.communicate(timeout=60)
    assert broken.returncode == 1
    assert f"engine    {bt.engine}" in output
    assert "queue     redis, redis://127.0.0.1:1: ConnectionError" in output


def test_an_invalid_setting_gives_one_clear_line(command: Command) -> None:
    process = command("doctor", BARSTORM_LEASE_S="soon")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.startswith("barstorm: BARSTORM_LEASE_S: Expected `float`")
    assert len(errors.splitlines()) == 1


def test_passwords_are_redacted() -> None:
    assert "secret" not in main._redacted("postgresql+asyncpg://me:secret@db/barstorm")


def test_json_logs_contain_no_requests(command: Command, port: int, tmp_path: Path, eventually: Eventually) -> None:
    server = command("serve", "--port", str(port), "--workers", "1", BARSTORM_LOG_FORMAT="json", BARSTORM_LOG_LEVEL="debug")
    eventually(lambda: len(workers_of(port)) == 1)
    path = tmp_path / "bars.parquet"
    bt.synthetic(200).to_polars().write_parquet(path)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", trust_env=False, timeout=60) as client:
        client.post("/datasets", params={"name": "d"}, content=path.read_bytes(), headers=demo.BINARY).raise_for_status()
        body = {"dataset": "d", "strategy": {"entry_long": "close > very_secret", "params": {"very_secret": 99}}}
        run = client.post("/backtests", json=body).raise_for_status().json()
        eventually(lambda: client.get(f"/backtests/{run['id']}").json()["finished_at"])
    server.terminate()
    _, errors = server.communicate(timeout=60)
    lines = [json.loads(line) for line in errors.splitlines()]
    assert any(line["event"] == "run succeeded" and line["run"] == run["id"] for line in lines)
    assert "very_secret" not in errors


def test_the_demo_runs_the_main_job(command: Command, tmp_path: Path) -> None:
    bars = bt.synthetic(3000, seed=3)
    path = tmp_path / "mine.csv"
    bars.to_polars().write_csv(path)
    shown = command("demo", "--data", str(path))
    output, errors = shown.communicate(timeout=60)
    assert shown.returncode == 0, errors
    expected = bt.backtest(bars, demo.STRATEGY, demo.EXECUTION)
    for text in (
        expected.fingerprint,
        expected.digest,
        "uploaded mine.csv: 3,000 bars of 1h",
        f"{len(expected.trades)} (",
        bt.engine,
        "kernel",
    ):
        assert text in output
    assert "SYNTHETIC" not in output
    assert not (tmp_path / "var").exists()


def test_the_demo_labels_its_bars_as_synthetic(command: Command) -> None:
    shown = command("demo")
    output, errors = shown.communicate(timeout=60)
    assert shown.returncode == 0, errors
    assert "SYNTHETIC, made by a seeded generator" in output


def test_the_demo_reports_what_is_wrong_with_a_file(command: Command, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("not a market\n1\n")
    for path, says in ((tmp_path / "none.csv", "not found"), (tmp_path / "bad.csv", "/api/v1/datasets")):
        shown = command("demo", "--data", str(path))
        _, errors = shown.communicate(timeout=60)
        assert shown.returncode == 1
        assert says in errors
