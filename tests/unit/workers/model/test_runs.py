"""Requests of backtests."""

from __future__ import annotations

import msgspec
import pytest

import python_core as bt
from workers.model.runs import Backtest, BacktestRequest, decode_request, encode

STRATEGY = bt.Strategy(entry_long="close > sma(close, n)", params={"n": 5})


def test_a_request_is_equal_after_encoding() -> None:
    request = Backtest(dataset="d", strategy=STRATEGY, execution=bt.Execution(stop_loss=bt.Atr(multiple=2)), engine="python")
    assert decode_request(encode(request)) == request
    market = Backtest(symbol="BTC/USDT", timeframe="60", exchange="bybit", kind="linear", start=0, end=5, strategy="s")
    assert decode_request(encode(market)) == market
    assert market.timeframe == "1h"


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"dataset": "d"}',
        b'{"dataset": "", "strategy": "s"}',
        b'{"strategy": "s"}',
        b'{"dataset": null, "strategy": "s"}',
        b'{"symbol": "BTC", "strategy": "s"}',
        b'{"timeframe": "1h", "strategy": "s"}',
        b'{"dataset": "d", "symbol": "BTC", "timeframe": "1h", "strategy": "s"}',
        b'{"dataset": "d", "kind": "spot", "strategy": "s"}',
        b'{"symbol": "", "timeframe": "1h", "strategy": "s"}',
        b'{"symbol": "BTC", "timeframe": "7h", "strategy": "s"}',
        b'{"symbol": "BTC", "timeframe": "1h", "kind": "swap", "strategy": "s"}',
        b'{"symbol": "a\\u0000", "timeframe": "1h", "strategy": "s"}',
        b'{"dataset": "d", "strategy": "s", "start": -1}',
        b'{"dataset": "d", "strategy": "s", "start": 1.5}',
        b'{"dataset": "d", "strategy": "s", "end": "now"}',
        b'{"dataset": "d", "strategy": "s", "start": 5, "end": 5}',
        b'{"dataset": "d", "strategy": 5}',
        b'{"dataset": "d", "strategy": "s", "engine": "fortran"}',
        b'{"dataset": "d", "strategy": "s", "priority": 1}',
        b'{"dataset": "d", "strategy": {"entry_long": "close >"}}',
        b'{"dataset": "d", "strategy": "s", "execution": {"leverage": 0}}',
    ],
)
def test_an_invalid_request_is_refused(body: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body, type=BacktestRequest)


def test_the_constructor_of_a_request_validates_references() -> None:
    with pytest.raises(ValueError, match="dataset"):
        BacktestRequest(dataset="x" * 121, strategy=STRATEGY)
    with pytest.raises(ValueError, match="strategy"):
        BacktestRequest(dataset="d", strategy=5)  # type: ignore[arg-type]
