"""Requests, states and ids of runs."""

from __future__ import annotations

import time

import msgspec
import pytest

import python_core as bt
import workers
from workers.model.names import check_name, is_reference, new_id
from workers.model.runs import BacktestRequest, decode_request, encode
from workers.model.states import predecessors

STRATEGY = bt.Strategy(entry_long="close > sma(close, n)", params={"n": 5})


def test_the_public_face_is_sorted_and_there() -> None:
    assert workers.__all__ == sorted(workers.__all__)
    assert all(hasattr(workers, name) for name in workers.__all__)


def test_a_request_is_the_same_after_the_database() -> None:
    request = BacktestRequest(dataset="d", strategy=STRATEGY, execution=bt.Execution(stop_loss=bt.Atr(multiple=2)), engine="python")
    assert decode_request(encode(request)) == request
    market = BacktestRequest(symbol="BTC/USDT", timeframe="60", exchange="bybit", kind="linear", start=0, end=5, strategy="s")
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
def test_a_request_that_makes_no_sense_is_refused(body: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body, type=BacktestRequest)


def test_a_request_checks_its_references_when_made_in_python() -> None:
    with pytest.raises(ValueError, match="dataset"):
        BacktestRequest(dataset="x" * 121, strategy=STRATEGY)
    with pytest.raises(ValueError, match="strategy"):
        BacktestRequest(dataset="d", strategy=5)  # type: ignore[arg-type]


def test_ids_are_unique_and_sort_by_time() -> None:
    ids = []
    for _ in range(5):
        ids.append(new_id())
        time.sleep(0.002)
    assert ids == sorted(ids)
    assert len({new_id() for _ in range(10_000)}) == 10_000
    assert all(identifier[14] == "7" and identifier[19] in "89ab" for identifier in ids)


def test_only_a_running_run_can_succeed() -> None:
    assert predecessors(workers.RunState.SUCCEEDED) == {workers.RunState.RUNNING}
    assert predecessors(workers.RunState.RUNNING) == {workers.RunState.QUEUED, workers.RunState.RETRYING, workers.RunState.RUNNING}


@pytest.mark.parametrize("name", ["", " ", "a ", "tab\there", "x" * 121, "\ud800", "nul\0"])
def test_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(workers.Invalid, match="printable"):
        check_name(name)


def test_names_of_any_script_are_good() -> None:
    for name in ("a", "Ethereum Ξ", "日本語", "x" * 120):
        check_name(name)
        assert is_reference(name)
