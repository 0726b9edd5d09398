"""`barstorm demo`: one backtest over HTTP, through API, database, queue, worker and kernel, with the time of each step."""

from __future__ import annotations

import asyncio
import io
import socket
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

import python_core as bt
from workers.errors import Invalid, Unavailable
from workers.model.runs import BacktestRequest, Run
from workers.model.states import RunState
from workers.process.supervisor import Child, Supervisor
from workers.queue.valkey import with_redis
from workers.settings import Settings

STRATEGY: Final = bt.Strategy(
    entry_long="crossover(sma(close, fast), sma(close, slow))",
    exit_long="crossunder(sma(close, fast), sma(close, slow))",
    params={"fast": 10, "slow": 30},
)
EXECUTION: Final = bt.Execution(commission=0.0006, slippage=0.0001, stop_loss=0.05)
BINARY: Final = {"content-type": "application/octet-stream"}
START_S: Final = 30.0
RUN_S: Final = 120.0


async def demo(settings: Settings, data: Path | None) -> int:
    """Run a backtest in a temporary folder, on the bars of a file or on synthetic ones, and print each step.

    Raises:
        Invalid: the file doesn't exist or has no usable bars.
        Unavailable: a part does not start.
    """
    if data is not None and not data.is_file():
        raise Invalid(f"file {data} not found", where="--data", hint="use a CSV, Parquet or Arrow file of bars")
    with tempfile.TemporaryDirectory(prefix="barstorm-demo-") as folder:
        settings = msgspec.structs.replace(
            settings, data_dir=folder, database_url="", redis_url="", concurrency=1, log_level="warning", drain_s=2.0
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        clock = _Clock()
        async with with_redis(settings) as shared:
            clock.print("started Valkey")
            children = [Child("api", ("api", "--port", str(port))), Child("worker", ("worker-process",))]
            supervisor = Supervisor(shared, children)
            running = asyncio.create_task(supervisor.run())
            try:
                async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=30, trust_env=False) as client:
                    await _ready(client, running)
                    clock.print("started API and worker processes")
                    run = await _run_backtest(client, clock, data)
            finally:
                supervisor.stop()
                await running
        clock.print("stopped everything")
    _print(run, clock)
    return 0 if run.state == RunState.SUCCEEDED else 1


async def _run_backtest(client: httpx.AsyncClient, clock: _Clock, data: Path | None) -> Run:
    if data is None:
        file = io.BytesIO()
        bt.synthetic().to_polars().write_parquet(file)
        name, symbol, content = "synthetic", "SYNTHETIC", file.getvalue()
        print("no DATA given: the bars are SYNTHETIC, made by a seeded generator, not market data")
    else:
        name, symbol, content = data.name, "", data.read_bytes()
    dataset = await _post(client, "/datasets", params={"name": name, "symbol": symbol}, content=content, headers=BINARY)
    clock.print(f"uploaded {name}: {dataset['rows']:,} bars of {dataset['timeframe']}, {_day(dataset['start'])} to {_day(dataset['end'])}")
    await _post(client, "/strategies", json={"name": "sma-cross", "strategy": msgspec.to_builtins(STRATEGY)})
    clock.print("created strategy sma-cross")
    request = BacktestRequest(dataset=dataset["id"], strategy="sma-cross", execution=EXECUTION)
    accepted = await _post(client, "/backtests", json=msgspec.to_builtins(request))
    clock.print(f"submitted backtest {accepted['id']}")
    deadline = time.monotonic() + RUN_S
    while True:
        answer = await client.get(f"/backtests/{accepted['id']}")
        run = msgspec.json.decode(_checked(answer).content, type=Run)
        if run.finished_at is not None:
            clock.print(f"backtest {run.state}")
            return run
        if time.monotonic() > deadline:
            raise Unavailable(f"the run is still {run.state} after {RUN_S:g} s", where="demo")
        await asyncio.sleep(0.005)


async def _ready(client: httpx.AsyncClient, running: asyncio.Task[None]) -> None:
    """Wait until the API answers and a worker reports."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and not running.done():
        try:
            health = await client.get("/queue/health")
            if health.status_code == 200 and health.json()["workers"]:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.02)
    raise Unavailable("API and worker didn't start", where="demo", hint="run `barstorm doctor`")


async def _post(client: httpx.AsyncClient, path: str, **content: Any) -> dict[str, Any]:
    answer: dict[str, Any] = _checked(await client.post(path, **content)).json()
    return answer


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.is_error:
        problem = answer.json() if "json" in answer.headers.get("content-type", "") else {}
        raise Invalid(problem.get("detail", answer.text)[:500], where=str(answer.request.url.path), code=problem.get("code", ""))
    return answer


class _Clock:
    """Prints each step with the time that it took."""

    def __init__(self) -> None:
        self.began = self.last = time.perf_counter()

    def print(self, text: str) -> None:
        now = time.perf_counter()
        print(f"{(now - self.last) * 1000:8.1f} ms  {text}", flush=True)
        self.last = now


def _print(run: Run, clock: _Clock) -> None:
    lines: list[tuple[str, str]] = [("run", run.id)]
    if run.error is not None:
        lines.append(("error", f"{run.error.code}: {run.error.message} {run.error.hint}"))
    if run.result is not None:
        result, metrics = run.result, run.result.metrics
        lines += [
            ("fingerprint", result.fingerprint),
            ("digest", result.digest),
            ("engine", result.engine),
            ("bars", f"{result.bars:,}"),
            ("trades", f"{result.trades:,} ({metrics.wins:,} won, {metrics.losses:,} lost)"),
            ("final equity", f"{_number(metrics.final_equity, ',.2f')} of {EXECUTION.initial_capital:,.2f}"),
            ("total return", f"{_number(metrics.total_return, '.2%')}, buy and hold: {_number(metrics.buy_and_hold_return, '.2%')}"),
            ("sharpe", _number(metrics.sharpe, ".2f")),
            ("sortino", _number(metrics.sortino, ".2f")),
            ("max drawdown", _number(metrics.max_drawdown, ".2%")),
            ("profit factor", _number(metrics.profit_factor, ".2f")),
            ("exposure", _number(metrics.exposure, ".1%")),
            ("fees paid", _number(metrics.fees_paid, ",.2f")),
        ]
    if run.stages is not None:
        stages = run.stages
        lines.append(
            (
                "stages",
                f"queue {stages.queue_ms:.1f} ms, load {stages.load_ms:.1f}, kernel {stages.kernel_ms:.3f}, save {stages.save_ms:.1f}",
            )
        )
    lines.append(("total time", f"{time.perf_counter() - clock.began:.2f} s"))
    print()
    for name, value in lines:
        print(f"{name:14} {value}")
    sys.stdout.flush()


def _number(value: float | None, form: str) -> str:
    return "undefined" if value is None else format(value, form)


def _day(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d")
