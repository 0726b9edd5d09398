"""The multi-timeframe fields are shorthands for calls of `at`: the same strategy, to the hash and to the bit."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

import python_core as bt

LONG = bt.Strategy(
    entry_long="crossover(close, at('1h', ema(close, 5))) and at('4h', close > at('1d', sma(close, 2))) and at('1h', trend)",
    exit_long="close < at('1h', ema(close, 5))",
    entry_short="close < open and at('4h', close < close[1])",
    define={"trend": "close > open", "slow": "at('4h', hl2)"},
    timeframe="15m",
)
FIELDS: dict[str, Any] = {
    "entry_long": "crossover(close, ema_1h(close, 5))",
    "exit_long": "close < ema_1h(close, 5)",
    "entry_short": "close < open",
    "define": {"trend": "close > open", "slow": "hl2_4h"},
    "timeframe": "15m",
    "additional_timeframes": ["60", "4h", "D"],
    "htf_filters": {
        "long": [{"timeframe": "240", "condition": "close > sma_1d(close, 2)"}, {"timeframe": "1h", "condition": "trend"}],
        "short": [{"timeframe": "4h", "condition": "close < close[1]"}],
    },
}


@pytest.mark.parametrize("made", [bt.Strategy(**FIELDS), msgspec.json.decode(msgspec.json.encode(FIELDS), type=bt.Strategy)])
def test_multi_timeframe_fields_equal_the_strategy_written_out(made: bt.Strategy, engine: str) -> None:
    assert made.canonical() == LONG.canonical()
    assert made.hash == LONG.hash
    assert made.warm_up_bars == LONG.warm_up_bars
    assert made.additional_timeframes == ("1h", "4h", "1d")
    bars = bt.synthetic(6_000, timeframe="15m")
    short, long = (bt.backtest(bars, strategy, engine=engine) for strategy in (made, LONG))  # type: ignore[arg-type]
    assert short.digest == long.digest
    assert short.fingerprint == long.fingerprint
    assert len(long.trades) > 10
    assert msgspec.json.decode(msgspec.json.encode(made), type=bt.Strategy) == made


def test_a_suffix_sets_the_timeframe_of_series_functions_and_definitions() -> None:
    for short, long in (
        ("close_4h > 1", "at('4h', close) > 1"),
        ("sma_4h(close, 3) > 1", "at('4h', sma(close, 3)) > 1"),
        ("macd_4h(close).hist > 1", "at('4h', macd(close).hist) > 1"),
        ("crossover_4h(close, open)", "at('4h', crossover(close, open))"),
        ("up_4h and up", "at('4h', up) and up"),
        ("close_4h[1] > hour_4h", "at('4h', close)[1] > at('4h', hour)"),
        ("sma_4h(close_1d, 3) > 1", "at('4h', sma(at('1d', close), 3)) > 1"),
    ):
        define = {"up": "close > open"}
        one = bt.Strategy(entry_long=short, define=define, additional_timeframes=["4h", "1d"])  # type: ignore[arg-type]
        assert one.hash == bt.Strategy(entry_long=long, define=define).hash


def test_months_and_minutes_can_be_appended_to_names() -> None:
    short = bt.Strategy(
        entry_long="close > sma_1M(close, 2) and open_1m > 1 and close > high_3d",
        additional_timeframes=["M", "1m", "3D"],  # type: ignore[arg-type]
        htf_filters={"long": [{"timeframe": "8H", "condition": "close > ema(close, 3, tf='1M')"}]},  # type: ignore[list-item]
        timeframe="1",
    )
    long = bt.Strategy(
        entry_long="close > at('1M', sma(close, 2)) and at('1m', open) > 1 and close > at('3d', high) and at('8h', close > at('1M', ema(close, 3)))",
        timeframe="1m",
    )
    assert short.additional_timeframes == ("1M", "1m", "3d")
    assert short.hash == long.hash
    bars = bt.synthetic(4_000, timeframe="1m")
    assert bt.backtest(bars, short).digest == bt.backtest(bars, long).digest


def test_a_filter_is_swept_with_the_strategy() -> None:
    bars = bt.synthetic(3_000, timeframe="15m")
    fields = {"entry_long": "close > open", "exit_long": "close < open", "params": {"length": 3}, "timeframe": "15m"}
    short = bt.Strategy(**fields, htf_filters={"long": [{"timeframe": "4h", "condition": "close > sma(close, length)"}]})  # type: ignore[arg-type]
    long = bt.Strategy(**{**fields, "entry_long": "close > open and at('4h', close > sma(close, length))"})  # type: ignore[arg-type]
    tables = [bt.sweep(bars, strategy, {"length": [2, 3, 8]}, objective="final_equity") for strategy in (short, long)]
    assert tables[0].column("final_equity").tolist() == tables[1].column("final_equity").tolist()
    assert len(set(tables[0].column("final_equity"))) == 3


BAD: list[tuple[dict[str, Any], str]] = [
    ({"additional_timeframes": "4h"}, 'additional_timeframes: not a list, or too long: \'4h\'; use a list such as ["4h", "1d"]'),
    ({"additional_timeframes": ["4x"]}, "additional_timeframes: unknown timeframe '4x'; use one of 1s 5s "),
    ({"additional_timeframes": ["4h"], "define": {"close_4h": "close"}}, "define: 'close_4h' is reserved by the language; "),
    ({"additional_timeframes": ["4h"], "params": {"sma_4h": 3}}, "params: 'sma_4h' is reserved by the language; "),
    ({"entry_long": "close_4h > 1"}, "entry_long, column 1: unknown name 'close_4h'; did you mean 'close'?"),
    (
        {"entry_long": "clos_4h > 1", "additional_timeframes": ["4h"]},
        "entry_long, column 1: unknown name 'clos_4h'; did you mean 'close_4h'?",
    ),
    ({"htf_filters": [1]}, "htf_filters: expected a mapping of sides, got [1]; "),
    ({"htf_filters": {"both": []}}, "htf_filters: expected a mapping of sides, got {'both': []}; "),
    ({"htf_filters": {"long": {"timeframe": "4h"}}}, "htf_filters.long: expected a list, got {'timeframe': '4h'}; "),
    ({"htf_filters": {"long": [{"timeframe": "4h"}]}}, "htf_filters.long: Object missing required field `condition`; "),
    ({"htf_filters": {"long": [{"timeframe": "4x", "condition": "True"}]}}, "htf_filters.long: "),
    ({"htf_filters": {"long": [{"timeframe": "4h", "condition": "True"}] * 21}}, "htf_filters.long: 21 filters; use at most 20"),
    (
        {"htf_filters": {"short": [{"timeframe": "4h", "condition": "True"}]}},
        "htf_filters.short: the strategy has no entry_short to filter; give one, or leave the filters out",
    ),
    (
        {"htf_filters": {"long": [{"timeframe": "4h", "condition": "True"}, {"timeframe": "4h", "condition": "close > clse"}]}},
        "htf_filters.long[1], column 9: unknown name 'clse'; did you mean 'close'?",
    ),
    (
        {"htf_filters": {"long": [{"timeframe": "4h", "condition": "close"}]}},
        "htf_filters.long[0], column 1: expected a condition, got a number; compare it, as in close > open",
    ),
    (
        {"htf_filters": {"long": [{"timeframe": "30m", "condition": "close > 1"}]}, "timeframe": "1h"},
        "htf_filters.long[0], column 1: 30m bars can't be built from 1h bars; 1h bars fit into 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M",
    ),
]


@pytest.mark.parametrize(("fields", "message"), BAD, ids=[message for _, message in BAD])
def test_an_invalid_field_is_rejected_with_its_place(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(bt.StrategyError) as caught:
        bt.Strategy(**{"entry_long": "close > 1", **fields})
    assert str(caught.value).startswith(message)
