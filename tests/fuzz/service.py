"""A service to fuzz: API, worker, a simulated exchange, and something of everything that the document's examples name."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np

import python_core as bt
import workers
from api import create_app
from tests.support.exchange import MINUTE, ExchangeServer, Market
from tests.support.files import csv
from tests.support.serving import serve
from tests.support.workers import worker_process

SMA_CROSS = {
    "entry_long": "crossover(sma(close, fast), sma(close, slow))",
    "exit_long": "crossunder(sma(close, fast), sma(close, slow))",
    "params": {"fast": 10, "slow": 30},
}
KEY, KEY_ID = "FUZZ_KEY", "FUZZ_KEY_ID"
BEGIN_MS = 1_704_067_200_000


@contextmanager
def service(folder: Path, redis_url: str, *, with_key: bool) -> Iterator[tuple[str, dict[str, str]]]:
    """The URL of a service that needs a key or none, and what a client of it has in its environment, within the block."""
    bars = bt.synthetic(3_000, seed=3, timeframe="1m")
    candles = np.column_stack([BEGIN_MS + np.arange(len(bars)) * MINUTE, bars.open, bars.high, bars.low, bars.close, bars.volume])
    market = Market(candles)
    with ExchangeServer({"spot": market, "linear": market}, now_ms=int(candles[-1, 0]) + 80_000) as exchange:
        settings = workers.Settings(
            data_dir=str(folder),
            redis_url=redis_url,
            exchange_proxy_url=exchange.url,
            drain_s=0.2,
            job_timeout_s=10.0,
            log_level="error",
            owner_requests_s=0,
        )
        with worker_process(settings), serve(create_app(settings, max_upload_bytes=20_000_000)) as url:
            yield url, _fill(f"{url}/api/v1", with_key=with_key)


def _fill(url: str, *, with_key: bool) -> dict[str, str]:
    """Create a key, store a dataset and a strategy, and wait for a run of both."""
    environ = {}
    with httpx.Client(base_url=url, timeout=60) as client:
        if with_key:
            created = client.post("/keys", json={"name": "fuzzing", "scope": "admin"}).raise_for_status().json()
            client.headers["authorization"] = f"Bearer {created['secret']}"
            environ = {KEY: created["secret"], KEY_ID: created["key"]["id"]}
        about = {"name": "btcusdt-1h", "symbol": "BTC/USDT", "exchange": "bybit"}
        content = csv(bt.synthetic(2_000, seed=1))
        client.post("/datasets", params=about, content=content, headers={"content-type": "text/csv"}).raise_for_status()
        client.post("/strategies", json={"name": "sma-cross", "strategy": SMA_CROSS}).raise_for_status()
        run = client.post("/backtests", json={"dataset": "btcusdt-1h", "strategy": "sma-cross"}).raise_for_status().json()
        deadline = time.monotonic() + 60
        while client.get(f"/backtests/{run['id']}").raise_for_status().json()["state"] != "succeeded":
            assert time.monotonic() < deadline, "the run did not succeed within 60 s"
            time.sleep(0.05)
    return environ
