"""Read columns, signals and rules of runs as JSON, run vectorbt, print trades and equity as JSON; a program of an environment of its own."""

import json
import sys

import numpy as np
import vectorbt


def trades_and_equity(job):  # type: ignore[no-untyped-def]
    bars = {name: np.array(column) for name, column in job["bars"].items()}
    # An order fills on the bar of its signal, at the price given.
    signals = {name: np.append(False, mask[:-1]).astype(np.bool_) for name, mask in job["signals"].items()}
    portfolio = vectorbt.Portfolio.from_signals(
        **bars,
        **signals,
        **job["rules"],
        price=bars["open"],
        upon_opposite_entry="Reverse",
        stop_entry_price="FillPrice",
        stop_exit_price="StopMarket",
        freq="1min",
    )
    trades = portfolio.trades.values
    return {"trades": {name: trades[name].tolist() for name in trades.dtype.names}, "equity": portfolio.value().tolist()}


print(json.dumps([trades_and_equity(job) for job in json.load(sys.stdin)]))
