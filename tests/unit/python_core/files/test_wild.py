"""Files as traders have them (shared/data/wild) are read right, or refused with the way out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import python_core as bt
from python_core.data.columns import COLUMNS
from python_core.files import read as files
from python_core.files.options import read_options
from tests.conftest import MARKET_DATA

EXPECTED: dict[str, dict[str, Any]] = json.loads(path.read_text()) if (path := MARKET_DATA / "wild" / "expected.json").exists() else {}

# What the message of each refusal says.
REFUSED = {
    "df.h5": ["HDF5"],
    "excel-serial.csv": ["line 2", "day numbers of Excel", "2020-03-28"],
    "lean-crypto-minute.csv": ["LEAN", "day"],
    "ms-first-row-s.csv": ["line 2", "1704067200 is a time in seconds", "milliseconds"],
    "polygon-two-tickers.csv": ["column ticker", "AAPL, MSFT", "symbol='AAPL'"],
    "th-dot-semi.csv": ["38000 or 38.000", "decimal='.'", "decimal=','"],
    "th-tab.tsv": ["38000 or 38.000", "decimal='.'", "decimal=','"],
}

# Words of the notices that a file must bring.
NOTICED = {
    "binance-one-ms-then-us.csv": "milliseconds and microseconds",
    "binance-concat-msmajor-1h.csv": "milliseconds and microseconds",
    "cdd-quote-first.csv": "newest row comes first",
    "mt5-h1.csv": "<VOL> is 0 throughout, so that the volume is <TICKVOL>",
    "tv-novol.csv": "no column of the volume",
    "tv-volma-only.csv": "no column of the volume",
    "x-empty-vol.csv": "60 rows whose volume is missing",
    "yahoo-weekly-plus1d.csv": "were left out: line 32",
    "yf-fp-noise.csv": "by rounding, and was set to it: line 22",
}

TIMEFRAMES = {
    "binance-1M.csv": "1M",
    "binance-8h.csv": "8h",
    "daily-local-dst.csv": "1d",
    "stooq-weekly.csv": "1w",
    "yahoo-weekly-plus1d.csv": "1w",
}

# Files with options other than those of expected.json.
ALSO = [
    ("th-dot-semi.csv", {"decimal": ","}, 38_000.0),
    ("th-dot-semi.csv", {"decimal": "."}, 38.0),
    ("th-tab.tsv", {"decimal": "."}, 38_000.0),
    ("polygon-two-tickers.csv", {"symbol": "MSFT"}, 3.345),
]


def test_every_wild_file_is_expected(market_data: Path) -> None:
    assert {file.name for file in (market_data / "wild").iterdir()} - {"README.md", "expected.json"} == EXPECTED.keys()


@pytest.mark.parametrize("name", EXPECTED or [pytest.param("", marks=pytest.mark.skip("shared/data/wild is absent"))])
def test_a_wild_file_is_read_or_refused_as_expected(market_data: Path, name: str) -> None:
    expected, path = EXPECTED[name], market_data / "wild" / name
    options = read_options(**expected["options"])
    if name == "c-binance-funding.csv":
        found = files.read_series(path, ("time", "rate"))
        assert (len(found["time"]), int(found["time"][0]), float(found["rate"][0])) == (30, 1_704_067_200_000, 0.0001)
        return
    if expected["outcome"] == "refuse":
        with pytest.raises(bt.BarstormError) as caught:
            files.read_with_report(path, options)
        for words in REFUSED[name]:
            assert words in str(caught.value)
        return
    bars, report = files.read_with_report(path, options)
    assert len(bars) == expected.get("bars", len(bars))
    assert bars.timeframe == TIMEFRAMES.get(name, bars.timeframe)
    assert NOTICED.get(name, "") in " ".join(notice.text for notice in report.notices)
    for end, i in (("first", 0), ("last", -1)):
        if end in expected:
            row = [float(getattr(bars, column)[i]) for column in COLUMNS]
            if name == "investing.csv":  # whose prices are not those of expected.json
                assert row[0] == expected[end][0]
            else:
                assert row == pytest.approx(expected[end], rel=1e-15)
    if name == "investing.csv":
        assert [getattr(bars, column)[-1] for column in COLUMNS[1:]] == [40_109.7, 40_112.0, 39_976.3, 39_983.2, 78_090_000.0]


@pytest.mark.parametrize(("name", "options", "price"), ALSO)
def test_an_option_settles_what_a_wild_file_leaves_open(market_data: Path, name: str, options: dict[str, Any], price: float) -> None:
    bars = bt.read_bars(market_data / "wild" / name, **options)
    assert np.isclose(bars.open[0], price)


def test_bars_of_a_session_belong_to_their_hours(market_data: Path) -> None:
    bars = bt.read_bars(market_data / "wild" / "ib-1h-rth.csv", timeframe="1h")
    strategy = bt.Strategy(entry_long="close > close[1]", exit_long="close < close[1]", timeframe="4h")
    assert bars.resample("1d").open.tolist() == bars.open[:-7:7].tolist()
    assert bt.backtest(bars, strategy, engine="python").digest == bt.backtest(bars, strategy).digest
