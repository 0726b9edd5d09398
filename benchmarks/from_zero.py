"""What `barstorm serve` costs while nobody uses it, and how fast it is back: `python benchmarks/from_zero.py [ROUNDS] [CHECKOUT]`.

A service with no worker running gets one backtest, ROUNDS times (default: 10); timed is from the submission to its result. With another CHECKOUT, its
code is measured, with the packages of this one.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from over_http import API, cpu_s, fetch, free_port, wait_for

IDLE_S = 10.0
STRATEGY = {"entry_long": "crossover(sma(close, 10), sma(close, 30))", "exit_long": "crossunder(sma(close, 10), sma(close, 30))"}


def main(rounds: int = 10, checkout: str = ".") -> None:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, _serving(folder, port, checkout) as serving:
        url = f"http://127.0.0.1:{port}{API}"
        began = time.perf_counter()
        wait_for(f"{url}?limit=1")
        print(f"ready to accept: {time.perf_counter() - began:.2f} s")
        took_s = []
        for i in range(rounds):
            _until_idle(port)
            took_s.append(_result_s(url, i))
        _until_idle(port)
        _print_footprint(serving)
        print(
            f"result from zero, s: median {statistics.median(took_s):.2f}, worst {max(took_s):.2f}; {', '.join(f'{each:.2f}' for each in took_s)}"
        )


@contextmanager
def _serving(folder: str, port: int, checkout: str) -> Iterator[int]:
    environ = {**os.environ, "BARSTORM_DATA_DIR": folder, "BARSTORM_IDLE_S": "2", "BARSTORM_LOG_LEVEL": "error"}
    command = [sys.executable, "-m", "workers.cli.main", "serve", "--port", str(port)]
    process = subprocess.Popen(command, env=environ, cwd=checkout, stdout=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _result_s(url: str, i: int) -> float:
    body = {"dataset": "synthetic-1h", "strategy": STRATEGY, "execution": {"slippage": i * 1e-6}}
    began = time.perf_counter()
    run = _post(url, body)
    while run["state"] != "succeeded":
        time.sleep(0.005)
        run = json.loads(fetch(f"{url}/{run['id']}"))
    return time.perf_counter() - began


def _post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    with urlopen(Request(url, json.dumps(body).encode(), {"content-type": "application/json"}), timeout=60) as response:
        return dict(json.load(response))


def _until_idle(port: int) -> None:
    """Wait until no worker runs; a version that doesn't stop them is measured as it is."""
    deadline = time.monotonic() + 10
    while json.loads(fetch(f"http://127.0.0.1:{port}/api/v1/queue/metrics"))["workers"] and time.monotonic() < deadline:
        time.sleep(0.1)


def _print_footprint(serving: int) -> None:
    """The memory of all processes, shared pages divided among those that share them, and the processor time that they use while idle."""
    processes = list(_tree(serving))
    before = {pid: cpu_s(pid) for pid in processes}
    time.sleep(IDLE_S)
    used_s = {pid: cpu_s(pid) - before[pid] for pid in processes}
    sizes = {pid: _memory_mb(pid) for pid in processes}
    for pid in processes:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()[-60:]
        print(f"{sizes[pid]:7.1f} MB {100 * used_s[pid] / IDLE_S:5.1f} % CPU  {command}")
    print(f"{sum(sizes.values()):7.1f} MB {100 * sum(used_s.values()) / IDLE_S:5.1f} % CPU  together, idle")


def _tree(pid: int) -> Iterator[int]:
    yield pid
    children = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):  # it has ended
            children += (thread / "children").read_text().split()
    for child in children:
        yield from _tree(int(child))


def _memory_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


if __name__ == "__main__":
    main(*(int(each) if each.isdigit() else each for each in sys.argv[1:]))  # type: ignore[arg-type]
