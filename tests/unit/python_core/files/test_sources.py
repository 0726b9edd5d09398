"""Layouts of sources that were once read wrong or refused: each is read right, or refused with the way out."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pytest

import python_core as bt
from tests.unit.python_core.files.samples import rejection

HEADER = "time,open,high,low,close,volume\n"
ROWS = "2024-01-01 01:00,1,2,0.5,1,1\n2024-01-01 02:00,1,2,0.5,1,1\n"


def archive(name: str, text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        opened.writestr(name, text)
    return buffer.getvalue()


KRAKEN = {
    "error": [],
    "result": {
        "XXBTZUSD": [
            [1688671200, "30306.1", "30306.2", "30305.7", "30305.7", "30306.1", "3.39243896", 23],
            [1688671260, "30304.5", "30304.5", "30300.0", "30300.0", "30300.0", "4.42996871", 18],
        ],
        "last": 1688672160,
    },
}
DATABENTO = "ts_event,rtype,publisher_id,instrument_id,open,high,low,close,volume\n"
TARDIS = "symbol,timestamp,open,high,low,close,volume,open_timestamp\n"

REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "kraken": (json.dumps(KRAKEN).encode(), {}, "average price"),
    "lean days": (
        archive("aapl.csv", "20240102 00:00,1871500,1884400,1838800,1856400,8\n20240103 00:00,1842200,1858800,1834300,1842500,5\n"),
        {"header": False},
        "LEAN",
    ),
    "lean minutes": (archive("20240102_aapl_minute_trade.csv", "34200000,1871500,1872000,1871000,1871800,1\n" * 2), {"policy": "drop"}, "LEAN"),
    "databento": (
        (DATABENTO + "".join(f"16544736{i}0000000000,33,1,3403,109430000000,109430000000,109420000000,109430000000,5\n" for i in (0, 6))).encode(),
        {},
        "billionths",
    ),
    "databento instruments": (
        (DATABENTO + "".join(f"2022-06-06T00:0{i}:00Z,33,1,{i},109.43,109.43,109.42,109.43,5\n" for i in (0, 1))).encode(),
        {},
        "column instrument_id: bars of 2 instruments",
    ),
    "timeframes": (b"time,interval,open,high,low,close\n2024-01-01 00:00,1,1,2,0.5,1\n2024-01-01 00:01,5,1,2,0.5,1\n", {}, "several timeframes: 1, 5"),
    "title in UTC": ((HEADER.replace("time", "Time (UTC)") + ROWS).encode(), {"timezone": "Asia/Tokyo"}, "says UTC; leave out timezone"),
    "title of a zone": ((HEADER.replace("time", "Time (EET)") + ROWS).encode(), {}, "times of the zone EET; set timezone="),
    "local time": ((HEADER.replace("time", "Local time") + ROWS).encode(), {}, "that the file does not name; set timezone="),
    "ten digits": ((HEADER + "2401010930,1,2,0.5,1,1\n2401010931,1,2,0.5,1,1\n").encode(), {}, "would be in 2046"),
    "two timeframes": (
        (HEADER + "".join(f"2024-01-01 {hour:02}:00,1,2,0.5,1,1\n" for hour in range(24)) + "2024-01-02 00:00,1,2,0.5,1,1\n"
         + "".join(f"2024-01-02 00:{minute:02},1,2,0.5,1,1\n" for minute in range(1, 9))).encode(),
        {},
        "most bars are 1h apart",
    ),
    "blank lines": ((HEADER + "1704067200,1,2,0.5,1,1\n" + "\n" * 1_000_000).encode(), {"timeframe": "1m"}, "most are blank"),
    "rows without times": (b"index,open,high,low,close\n0,1,2,0.5,1\n1,1,2,0.5,1\n2,1,2,0.5,1\n", {}, "the column counts rows"),
    "32nds": (HEADER.replace(",", ";").encode() + b"2024-01-01;110'160;110'205;110'100;110'180;5\n", {}, "thousands or 32nds"),
    "wrong title": ((HEADER + ROWS).encode(), {"columns": {"close": "Nope"}}, "no column 'Nope' among time, open, high"),
    "a number as zone": ((HEADER + ROWS).encode(), {"timezone": 5}, "5 is not str"),
    "an abbreviation": ((HEADER + ROWS).encode(), {"timezone": "EDT"}, "or hours such as +02:00"),
    "a column twice": (b"1,1,1,1,1,1\n", {"header": False, "columns": ("time", "open", "high", "low", "close", "close")}, "two columns are named close"),
}  # fmt: skip

READ: dict[str, tuple[Any, dict[str, Any], tuple[int, float, float]]] = {
    "kraken": (
        json.dumps(KRAKEN).encode(),
        {"columns": ("time", "open", "high", "low", "close", "-", "volume")},
        (1_688_671_200_000, 30306.1, 3.39243896),
    ),
    "coinbase": (
        b"[[1415398768,100,100.1,100.05,100.1,12.3],[1415398708,100,100.1,100.1,100.1,10]]",
        {"columns": ("time", "low", "high", "open", "close", "volume")},
        (1_415_398_708_000, 100.1, 10.0),
    ),
    "lean crypto": (
        archive("20240102_btcusd_minute_trade.csv", "0,42000.5,42001,42000,42000.5,1\n60000,42000.5,42001,42000,42000.5,1\n"),
        {},
        (1_704_153_600_000, 42000.5, 1.0),
    ),
    "tardis": (
        (TARDIS + "".join(f"x,2024-01-01T00:0{i}:00Z,1,2,0.5,1,10,2024-01-01T00:0{i - 1}:00Z\n" for i in (1, 2))).encode(),
        {},
        (1_704_067_200_000, 1.0, 10.0),
    ),
    "polygon": (
        b"ticker,volume,open,close,high,low,window_start\nA,4930,200.3,200.5,200.63,200.29,1730462400000000000\nA,4,200.3,200.5,200.63,200.29,1730462460000000000\n",
        {"symbol": "A"},
        (1_730_462_400_000, 200.3, 4930.0),
    ),
    "utc beside local": (
        b"local_time,utc_time,open,high,low,close\n2024-01-01 01:00,2024-01-01 00:00,1,2,0.5,1\n2024-01-01 02:00,2024-01-01 01:00,1,2,0.5,1\n",
        {},
        (1_704_067_200_000, 1.0, 0.0),
    ),
    "title in GMT": ((HEADER.replace("time", "Gmt time") + ROWS).encode(), {}, (1_704_070_800_000, 1.0, 1.0)),
    "hours": ((HEADER + "2024010100,1,2,0.5,1,1\n2024010101,1,2,0.5,1,1\n").encode(), {}, (1_704_067_200_000, 1.0, 1.0)),
    "empty quoted volume": (
        (HEADER + '2024-01-01,1,2,0.5,1,"1,234,567"\n2024-01-02,1,2,0.5,1,""\n').encode(),
        {},
        (1_704_067_200_000, 1.0, 1_234_567.0),
    ),
    "barchart": (
        b'Time,Open,High,Low,Latest,Volume\n01/16/2024,1,2,0.5,1,10\n01/15/2024,1,2,0.5,1,20\n"Downloaded from Barchart.com as of 01-17-2024 02:50am CST"\nTotal,,,,,30\n',
        {},
        (1_705_276_800_000, 1.0, 20.0),
    ),
    "a chosen title": (
        b"time,open,high,low,close,Volume,Close\n2024-01-01,1,2,0.5,1,1,9\n2024-01-02,1,2,0.5,1,1,9\n",
        {"columns": {"close": "close"}},
        (1_704_067_200_000, 1.0, 1.0),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_file_leaves_open_is_refused(name: str) -> None:
    data, options, words = REFUSED[name]
    assert words in str(rejection(data, **options))


@pytest.mark.parametrize("name", READ)
def test_a_layout_of_a_source_is_read(name: str) -> None:
    data, options, (time, price, volume) = READ[name]
    bars = bt.read_bars(data, **options)
    assert (len(bars), int(bars.time[0]), bars.open[0], bars.volume[0]) == (2, time, price, volume)


def test_decimal_commas_hold_for_thousands_in_later_blocks() -> None:
    head = HEADER.replace(",", ";")
    rows = "".join(f"{1577836800 + 60 * i};100,25;101,25;99,25;100,75;10\n" for i in range(420_000))
    data = (head + rows + "1603036800;1.234;1.240;1.230;1.235;1.234\n").encode()
    assert len(data) > 16 << 20
    for options in ({}, {"decimal": ","}):
        bars = bt.read_bars(data, **options)  # type: ignore[arg-type]
        assert (bars.close[-1], bars.volume[-1]) == (1235.0, 1234.0)
    whole = "".join(f"{1577836800 + 60 * i};100;101;99;100;10\n" for i in range(600_000))
    assert rejection((head + whole + "1613836800;1.234;1.240;1.230;1.235;10\n").encode()).code == "ambiguous_number"


@pytest.mark.parametrize(
    "titles", ["Volume (USD),Volume (BTC)", "Volume USDT,Volume BTC", "volume_usd,volume_btc", "Volume BTC,Volume ETH"]
)
def test_the_volume_is_that_of_the_base(titles: str) -> None:
    data = f"time,open,high,low,close,{titles}\n2024-01-01,1,2,0.5,1,7,5\n2024-01-02,1,2,0.5,1,7,5\n"
    assert bt.read_bars(data.encode()).volume[0] == 5
