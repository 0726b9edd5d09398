"""What a client does, with the client that openapi-python-client makes: upload, strategy, submit, wait, trades, delete."""

from __future__ import annotations

import io
import json
import sys
import time
from typing import TypeVar

from generated import Client
from generated.api.backtests import get_backtest, get_backtest_trades, submit_backtest
from generated.api.datasets import create_dataset, delete_dataset
from generated.api.strategies import create_strategy, delete_strategy
from generated.models import (
    Atr,
    BacktestRequest,
    Dataset,
    Execution,
    FractionPerSide,
    MarketKind,
    Param,
    ParamType,
    Problem,
    Run,
    RunState,
    Sizing,
    StoredStrategy,
    Strategy,
    StrategyParams,
    StrategyRequest,
    TradePage,
    Upload,
)
from generated.types import File

T = TypeVar("T")


def expect(kind: type[T], response: object) -> T:
    assert isinstance(response, kind), response
    return response


def main(url: str, bars: str) -> None:
    client = Client(base_url=url)
    file = File(payload=io.BytesIO(bars.encode()), file_name="bars.csv")
    dataset = expect(
        Dataset,
        create_dataset.sync(client=client, body=Upload(file=file), name="python", symbol="BTC/USDT", kind=MarketKind.LINEAR),
    )
    params = StrategyParams()
    params["fast"] = 5
    params["slow"] = Param(type_=ParamType.INT, default=20, min_=10, max_=50)
    strategy = Strategy(
        entry_long="crossover(sma(close, fast), sma(close, slow))",
        exit_long="crossunder(sma(close, fast), sma(close, slow))",
        params=params,
    )
    stored = expect(StoredStrategy, create_strategy.sync(client=client, body=StrategyRequest(name="python", strategy=strategy)))
    execution = Execution(stop_loss=FractionPerSide(long=Atr(multiple=2.0)), take_profit=0.2, sizing=Sizing.EQUITY_FRACTION)
    request = BacktestRequest(dataset=dataset.id, strategy=stored.id, execution=execution)
    run = expect(Run, submit_backtest.sync(client=client, body=request))
    while run.state not in (RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED, RunState.DEAD):
        time.sleep(0.05)
        run = expect(Run, get_backtest.sync(run.id, client=client))
    assert run.result is not None, run.error
    trades = expect(TradePage, get_backtest_trades.sync(run.id, client=client, limit=1_000))
    kept = expect(Problem, delete_dataset.sync(dataset.id, client=client))
    deleted = delete_strategy.sync_detailed(stored.id, client=client)
    found = {
        "state": run.state,
        "digest": run.result.digest,
        "trades": [trade.net for trade in trades.items],
        "in_use": kept.code,
        "deleted": deleted.status_code,
    }
    print(json.dumps(found))


main(sys.argv[1], sys.argv[2])
