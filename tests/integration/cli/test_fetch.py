"""`barstorm data fetch` as a process, on embedded parts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import python_core as bt
from tests.support.exchange import MINUTE, ExchangeServer, Market
from workers.cli import main

BEGIN = 1_577_836_800_000


@pytest.fixture
def market() -> Market:
    made = bt.synthetic(1500, timeframe="1m", seed=2)
    return Market(np.column_stack([BEGIN + np.arange(1500) * MINUTE, made.open, made.high, made.low, made.close, made.volume]))


def barstorm(folder: Path, server: ExchangeServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    environ |= {"BARSTORM_DATA_DIR": str(folder), "BARSTORM_EXCHANGE_PROXY_URL": server.url, "BARSTORM_LOG_LEVEL": "error"}
    command = [sys.executable, "-m", "workers.cli.main", "data", "fetch", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)


def test_the_command_fetches_with_a_worker_of_its_own(tmp_path: Path, market: Market) -> None:
    with ExchangeServer({"spot": market}, now_ms=int(market.rows[-1, 0]) + 80_000) as server:
        done = barstorm(tmp_path, server, "BTCUSDT", "1m", "--exchange", "binance", "--since", "2020-01-01")
        again = barstorm(tmp_path, server, "BTCUSDT", "1m", "--exchange", "binance", "--since", "2020-01-01T00:00+00:00")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("binance-btcusdt-1m: 1,500 bars and 0 funding rates added, 0 gaps found\n")
    assert again.stdout == "binance-btcusdt-1m: 0 bars and 0 funding rates added, 0 gaps found\n"


def test_the_command_reports_errors(
    tmp_path: Path, market: Market, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with ExchangeServer({"spot": market}, now_ms=int(market.rows[-1, 0]) + 80_000) as server:
        done = barstorm(tmp_path, server, "BTCUSTD", "1m", "--exchange", "binance")
    assert (done.returncode, done.stdout) == (1, "")
    assert "did you mean BTC/USDT?" in done.stderr
    monkeypatch.setenv("BARSTORM_DATA_DIR", str(tmp_path))
    assert main.main(["data", "fetch", "BTCUSDT", "1m", "--exchange", "binance", "--funding"]) == 1
    assert "spot markets have no funding rates" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main.main(["data", "fetch", "BTCUSDT", "1m", "--exchange", "binance", "--since", "yesterday"])
    assert "use one such as 2024-01-01" in capsys.readouterr().err


def test_the_command_creates_a_schedule(tmp_path: Path, market: Market) -> None:
    with ExchangeServer({"spot": market}, now_ms=int(market.rows[-1, 0]) + 80_000) as server:
        done = barstorm(tmp_path, server, "BTCUSDT", "5m", "--exchange", "bybit", "--schedule")
        assert done.stdout.startswith("bybit-btcusdt-5m is fetched every 300 s while workers are running (schedule ")
        assert barstorm(tmp_path, server, "BTCUSDT", "5m", "--exchange", "bybit", "--schedule").returncode == 1
    assert server.requests == {}
