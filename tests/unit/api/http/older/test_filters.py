"""Filters of older requests as expressions."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from api.http.older.filters import OlderFilter, parse_timeframe


@pytest.mark.parametrize(
    ("fields", "condition"),
    [
        ({"type": "trend_ma", "period": 200, "condition": "price_above"}, "close > sma(close, 200)"),
        ({"type": "trend_ma", "period": 50, "condition": "price_below"}, "close < sma(close, 50)"),
        ({"period": 50, "condition": "price_below"}, "close < sma(close, 50)"),
        ({"type": "ema_direction", "period": 21, "condition": "rising"}, "rising(ema(close, 21), 1)"),
        ({"period": 21, "condition": "falling"}, "falling(ema(close, 21), 1)"),
        ({"type": "rsi_range", "min": 30, "max": 70}, "30.0 <= rsi(close, 14) <= 70.0"),
        ({"type": "rsi_range", "period": 7, "max": 70}, "rsi(close, 7) <= 70.0"),
        ({"type": "rsi_range", "min": 30.5}, "30.5 <= rsi(close, 14)"),
        ({"condition": "close > open"}, "close > open"),
    ],
)
def test_a_filter_is_an_expression_on_its_timeframe(fields: dict[str, Any], condition: str) -> None:
    found = msgspec.convert({"timeframe": "240", **fields}, OlderFilter).to_filter()
    assert (found.timeframe, found.condition) == ("4h", condition)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "type: missing; use one of trend_ma, ema_direction, rsi_range"),
        ({"type": "trend_ma", "condition": "price_above"}, "period: missing, but required by trend_ma"),
        ({"type": "trend_ma", "period": 5, "condition": "rising"}, "condition: 'rising' is not a condition of trend_ma"),
        ({"type": "ema_direction", "period": 5}, "condition: '' is not a condition of ema_direction; use one of rising, falling"),
        ({"type": "ema_direction", "period": 5, "condition": "rising", "min": 3}, "min: not a field of ema_direction; leave it out"),
        ({"type": "rsi_range", "period": 14}, "min: missing, and max, too"),
        ({"type": "rsi_range", "min": 70, "max": 30}, "min: 70 is above max 30; swap them"),
        ({"type": "rsi_range", "min": 30, "condition": "rising"}, "condition: not a field of rsi_range"),
        ({"condition": "close > open", "period": 5}, "period: not a field of an expression"),
    ],
)
def test_a_filter_that_says_too_little_or_too_much_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert({"timeframe": "240", **fields}, OlderFilter)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (60, "1h"), ("60", "1h"), ("60m", "1h"), ("1H", "1h"), ("4H", "4h"), ("240", "4h"), ("240m", "4h"), ("D", "1d"), ("W", "1w"),
        ("M", "1M"), ("1M", "1M"), ("1m", "1m"), (1, "1m"), ("1440m", "1d"),
    ],
)  # fmt: skip
def test_minutes_months_and_codes_are_told_apart(given: Any, name: str) -> None:
    assert parse_timeframe(given, "timeframe") == name


@pytest.mark.parametrize("given", ["60M", "7m", "m", "m60", "60 m", "44640m", "\u0666\u0660m", "", 0, -60, 10**30])
def test_other_timeframes_are_refused_as_they_were_sent(given: Any) -> None:
    with pytest.raises(ValueError, match=r"^here: unknown timeframe .*; use one of") as caught:
        parse_timeframe(given, "here")
    assert repr(given)[:30] in str(caught.value)
