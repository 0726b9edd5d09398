"""Files are read as bars with the same bits, or rejected with an error that names the place."""

from __future__ import annotations

import gzip
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from python_core.data.bars import Bars
from python_core.data.columns import COLUMNS
from python_core.data.synthetic import synthetic
from python_core.errors import BarsError, BarstormError
from python_core.files import headers, tables
from python_core.files import read as files
from python_core.files.formats import csv_reader
from python_core.files.options import read_options
from python_core.files.report import ImportReport
from tests.unit.python_core.files.samples import FEWER, HOURS, WRITERS, rejection, rejection_of_frame, table, text

# The table of data/dirty/README.md: the words of the error, or the counts of the report.
Expected = dict[str, int] | list[str]

DIRTY: dict[tuple[str, str], Expected] = {
    ("duplicate-same.csv", "reject"): ["line 12, time", "2021-11-17T10:00Z", "line 11", "same values", "policy='drop'"],
    ("duplicate-same.csv", "drop"): {"bars": 60, "dropped": 1},
    ("duplicate-same.csv", "repair"): {"bars": 60, "dropped": 1},
    ("duplicate-conflict.csv", "reject"): ["line 12, time", "2021-11-17T10:00Z", "line 11", "other values", "keep one"],
    ("duplicate-conflict.csv", "drop"): ["line 12, time", "line 11", "other values"],
    ("duplicate-conflict.csv", "repair"): ["line 12, time", "line 11", "other values"],
    ("unsorted.csv", "reject"): ["line 8, time", "2021-11-17T07:00Z is earlier", "policy='repair'"],
    ("unsorted.csv", "drop"): ["line 8, time", "policy='repair'"],
    ("unsorted.csv", "repair"): {"bars": 60, "sorted": 2},
    ("nan.csv", "reject"): ["line 9, close: the cell is empty", "line 10, high: NaN", "2 of 60 rows", "policy='drop'"],
    ("nan.csv", "drop"): {"bars": 58, "dropped": 2, "gap": 1},
    ("nan.csv", "repair"): ["line 9, close", "line 10, high"],
    ("high-below-low.csv", "reject"): ["line 5, high: 1.06067 is below low 1.07846"],
    ("high-below-low.csv", "repair"): ["line 5, high"],
    ("high-below-low.csv", "drop"): {"bars": 59, "dropped": 1, "gap": 1},
    ("missing-column.csv", "reject"): ["no column high among time, open, low, close, volume"],
    ("missing-column.csv", "repair"): ["no column high"],
    ("titled-header.csv", "reject"): {"bars": 60},
    ("negative-price.csv", "reject"): ["line 4, low: -1.0 is negative"],
    ("negative-price.csv", "repair"): ["line 4, low"],
    ("gap.csv", "reject"): {"bars": 55, "gap": 1},
    ("text-in-number.csv", "reject"): ["line 6, open: 'abc' is not a number"],
    ("text-in-number.csv", "repair"): ["line 6, open"],
    ("empty.csv", "reject"): ["empty"],
    ("header-only.csv", "reject"): ["no bars"],
    ("compressed.csv.gz", "reject"): {"bars": 60},
    ("semicolon-comma.csv", "reject"): {"bars": 60},
    ("iso-offset.csv", "reject"): {"bars": 60},
    ("seconds.csv", "reject"): {"bars": 60},
    ("bom-crlf.csv", "reject"): {"bars": 60},
    ("truncated.parquet", "reject"): ["not a complete Parquet file"],
    ("no-header.csv", "reject"): ["line 1", "header=False", "time, open, high, low, close, volume"],
    ("spike.csv", "reject"): {"bars": 60, "outlier": 1},
}


@pytest.mark.parametrize(("name", "policy"), DIRTY, ids=lambda value: value)
def test_a_dirty_file_gives_the_result_in_the_table(market_data: Path, name: str, policy: Any) -> None:
    path, expected = market_data / "dirty" / name, DIRTY[name, policy]
    if isinstance(expected, list):
        error = rejection(path, policy=policy)
        for words in (name, *expected):
            assert words in str(error)
        return
    bars, report = files.read_with_report(path, read_options(policy=policy))
    assert len(bars) == report.bars == expected["bars"]
    counted = {notice.kind: notice.count for notice in report.notices}
    assert counted == {kind: count for kind, count in expected.items() if kind != "bars"}


def test_every_dirty_file_is_in_the_table(market_data: Path) -> None:
    assert {path.name for path in (market_data / "dirty").iterdir()} - {"README.md"} == {name for name, _ in DIRTY}


def test_notices_name_their_lines(market_data: Path) -> None:
    def notices(name: str, policy: Any = "reject") -> list[tuple[str, tuple[int, ...]]]:
        report = files.read_with_report(market_data / "dirty" / name, read_options(policy=policy))[1]
        return [(notice.kind, notice.lines) for notice in report.notices]

    assert notices("spike.csv") == [("outlier", (32,))]
    assert notices("gap.csv") == [("gap", (21,))]
    assert notices("nan.csv", "drop") == [("dropped", (9, 10)), ("gap", (8,))]
    assert notices("unsorted.csv", "repair") == [("sorted", (8, 22))]
    assert notices("duplicate-same.csv", "repair") == [("dropped", (12,))]


def test_differences_in_form_do_not_change_the_bars(market_data: Path) -> None:
    clean = files.read_bars(market_data / "xrpusdt-perp-1h.parquet")[:60]
    for name in ("titled-header.csv", "compressed.csv.gz", "semicolon-comma.csv", "iso-offset.csv", "seconds.csv", "bom-crlf.csv"):
        assert files.read_bars(market_data / "dirty" / name).fingerprint == clean.fingerprint
    assert files.read_bars(market_data / "dirty/no-header.csv", header=False).fingerprint == clean.fingerprint
    for name, policy in (("unsorted.csv", "repair"), ("duplicate-same.csv", "drop"), ("duplicate-same.csv", "repair")):
        assert files.read_bars(market_data / "dirty" / name, policy=policy).fingerprint == clean.fingerprint


def test_the_report_states_how_a_file_was_read(market_data: Path) -> None:
    def report(name: str) -> ImportReport:
        return files.read_with_report(market_data / "dirty" / name)[1]

    assert report("seconds.csv").time_format == "epoch s"
    assert report("bom-crlf.csv").time_format == "epoch ms"
    assert report("titled-header.csv").time_format == "%Y-%m-%d %H:%M:%S"
    assert report("titled-header.csv").time_zone == "none given, taken as UTC"
    assert report("titled-header.csv").columns["time"] == "Date"
    assert report("iso-offset.csv").time_zone == "offsets, converted to UTC"
    comma = report("semicolon-comma.csv")
    assert (comma.separator, comma.decimal_mark, comma.format, comma.compression) == (";", ",", "csv", "")
    packed = report("compressed.csv.gz")
    assert (packed.separator, packed.decimal_mark, packed.format, packed.compression) == (",", ".", "csv", "gzip")
    assert (packed.rows, packed.bars, packed.timeframe, packed.first_time) == (60, 60, "1h", 1_637_110_800_000)


# Rows and gaps of data/README.md.
REAL = {
    "unittest-btc-1m.parquet": (13_681, "1m", 538),
    "ethbtc-5m.parquet": (5_760, "5m", 0),
    "ltcbtc-5m.parquet": (5_760, "5m", 0),
    "adabtc-5m.parquet": (5_720, "5m", 5),
    "xmrbtc-5m.parquet": (5_758, "5m", 2),
    "xrpusdt-perp-5m.parquet": (1_999, "5m", 0),
    "xrpusdt-perp-1h.parquet": (100, "1h", 0),
    "xrpusdt-perp-1h.csv": (100, "1h", 0),
    "goog-1d.parquet": (2_148, "1d", 463),
    "goog-1d.csv": (2_148, "1d", 463),
    "eurusd-1h.parquet": (5_000, "1h", 42),
}


@pytest.mark.parametrize("name", REAL)
def test_a_real_file_reads_with_equal_bits(market_data: Path, name: str) -> None:
    bars, report = files.read_with_report(market_data / name)
    assert (len(bars), bars.timeframe, report.count("gap")) == REAL[name]
    assert report.count("outlier") == 0
    source = polars.read_parquet(market_data / name.replace(".csv", ".parquet"))
    for column in COLUMNS:
        assert getattr(bars, column).tobytes() == source[column].to_numpy().tobytes()


def test_a_file_of_funding_rates_is_rejected_by_its_columns(market_data: Path) -> None:
    error = rejection(market_data / "xrpusdt-perp-funding-8h.parquet")
    assert error.code == "missing_column"
    assert "no column open, high, low, close among time, rate" in str(error)


def test_a_path_bytes_and_an_open_file_give_the_same_bars(market_data: Path) -> None:
    for name in ("goog-1d.csv", "goog-1d.parquet", "dirty/compressed.csv.gz"):
        path = market_data / name
        with path.open("rb") as opened:
            readings = [files.read_bars(path), files.read_bars(str(path)), files.read_bars(path.read_bytes()), files.read_bars(opened)]
        assert len({bars.fingerprint for bars in readings}) == 1


@st.composite
def some_bars(draw: st.DrawFn) -> Bars:
    n = draw(st.integers(2, 8))
    steps = draw(st.lists(st.integers(1, 5), min_size=n, max_size=n))
    time = draw(st.integers(4 * 10**11, 2 * 10**12)) + 60_000 * np.cumsum([0, 1, *steps[2:]])
    prices = st.floats(min_value=5e-324, max_value=1e308, exclude_min=False)
    rows = [sorted(draw(prices) for _ in range(4)) for _ in range(n)]
    volume = draw(st.lists(st.floats(min_value=0, max_value=1.7e308), min_size=n, max_size=n))
    low, one, two, high = np.array(rows).T
    return Bars(time, one, high, low, two, volume)


@pytest.mark.parametrize("kind", WRITERS)
def test_bars_written_and_read_have_the_same_bits(kind: str) -> None:
    @given(some_bars())
    @settings(max_examples=FEWER)
    def check(bars: Bars) -> None:
        # In so few bars, the smallest step need not be the commonest.
        assert files.read_bars(WRITERS[kind](bars), timeframe=bars.timeframe).fingerprint == bars.fingerprint

    check()
    made = synthetic(5_000, timeframe="5m")
    assert files.read_bars(WRITERS[kind](made)).fingerprint == made.fingerprint


def test_dates_integers_decimals_and_texts_of_parquet_are_read() -> None:
    days = [datetime(2021, 1, 1 + i, tzinfo=UTC).date() for i in range(3)]
    frame = polars.DataFrame(
        {"Date": days, "Open": [1, 1, 1], "High": ["2.5"] * 3, "Low": [1, 1, 1], "Close": [1.5] * 3, "Volume": [0, 1, 2]}
    )
    frame = frame.with_columns(polars.col("Low").cast(polars.Decimal(10, 2)), polars.col("Close").cast(polars.Float32))
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    bars = files.read_bars(buffer.getvalue())
    assert bars.timeframe == "1d"
    assert bars.high.tolist() == [2.5] * 3
    assert "row 2, High: 'x' is not a number" in str(rejection_of_frame(frame.with_columns(High=polars.Series(["2.5", "x", "2"]))))
    assert "row 3, High: the cell is empty" in str(rejection_of_frame(frame.with_columns(High=polars.Series(["2.5", "2.5", None]))))
    assert "has the type Boolean" in str(rejection_of_frame(frame.with_columns(Volume=polars.Series([True, False, True]))))


def test_anything_with_an_arrow_stream_becomes_bars() -> None:
    made = synthetic(100)

    class Table:
        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            return made.to_polars().__arrow_c_stream__(requested_schema)

    assert tables.from_arrow(Table()).fingerprint == made.fingerprint
    assert tables.from_arrow(made.to_polars(), timeframe="1h", symbol="X").symbol == "X"
    assert "__arrow_c_stream__" in str(rejection_of_frame({"time": [1]}))


def test_invalid_rows_are_counted_and_the_first_are_named() -> None:
    frame = synthetic(100_000, timeframe="1m").to_polars().with_columns(volume=-2 - polars.col("volume"))
    error = rejection(frame.write_csv().encode())
    assert error.where == "line 2, volume"
    assert "100,000 of 100,000 rows" in str(error)
    assert str(error).count("line ") == 5
    assert "none of 100,000 rows" in str(rejection(frame.write_csv().encode(), policy="drop"))


def test_a_file_with_the_newest_row_first_is_sorted() -> None:
    made = synthetic(500)
    data = made.to_polars().reverse().write_csv().encode()
    bars, report = files.read_with_report(data)
    assert bars.fingerprint == made.fingerprint
    assert [notice.text for notice in report.notices] == ["the newest row comes first, so all rows were sorted"]


@given(st.lists(st.integers(0, 30), min_size=2, max_size=40), st.integers(0, 3))
@settings(max_examples=FEWER)
def test_repair_sorts_and_never_chooses_between_two_rows_of_one_time(hours: list[int], spread: int) -> None:
    hours = [*range(4), *hours]
    closes = [1 + (hour * 7 + i * (spread == 0)) % 5 for i, hour in enumerate(hours)]
    rows = [[str(HOURS[0] + 3_600_000 * hour), "1", "9", "1", str(close), "3"] for hour, close in zip(hours, closes, strict=True)]
    data = text([list(COLUMNS), *rows])
    close_of: dict[int, set[int]] = {}
    for hour, close in zip(hours, closes, strict=True):
        close_of.setdefault(hour, set()).add(close)
    if any(len(found) > 1 for found in close_of.values()):
        assert "with other values" in str(rejection(data, policy="repair"))
        return
    bars, report = files.read_with_report(data, read_options(policy="repair"))
    assert bars.time.tolist() == [HOURS[0] + 3_600_000 * hour for hour in sorted(close_of)]
    assert bars.close.tolist() == [close_of[hour].pop() for hour in sorted(close_of)]
    assert report.count("dropped") == len(hours) - len(close_of)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"\n\n\n", "not a table of bars"),
        (b"hello", "the file starts with 'hello'"),
        (b'{"time": 1, "open": 2}', "no column high, low, close among time, open"),
        (b'{\n  "time": 1\n}', "no array of rows"),
        (b"[[1, 2]]", "row 1: [1,2] is not a row"),
        (b"[1, 2", "not readable JSON"),
        (b"PK\x03\x04rest", "not a complete zip file"),
        (b"BZh91AY", "not a complete bzip2 file"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"\xff\xfet\0i\0m\0e\0", "UTF-16"),
        (b"time,open,high,low,close,volume\n1,2,3\0", "zero"),
        (b"time,open,high,low,close,volume\n" + b"1" * 200_000, "no line ends"),
        (gzip.compress(gzip.compress(b"time", mtime=0), mtime=0), "compressed twice"),
        (gzip.compress(b"time,open" * 1000, mtime=0)[:-20], "not a complete gzip file"),
        (b"PAR1", "not a complete Parquet file"),
        (b"PAR1" + bytes(50) + b"PAR1", "not a complete Parquet file"),
        (b"ARROW1\0\0", "not a complete Arrow file"),
        (b"\xff\xff\xff\xff\x10\0\0\0", "not a complete Arrow file"),
        (b"time,open,high,low,close,close,volume\n1637110800000,1,1,1,1,1,1\n", "two columns are named close"),
        (b"time,open,high,low,close,volume\n1637110800000,1,1,1,1,1\n", "the timeframe of a single bar is unknown"),
        (b"time,open,high,low,close,volume\nyesterday,1,1,1,1,1\n", "line 2, time: 'yesterday' is not a time"),
        (b"time,open,high,low,close,volume\n-5,1,1,1,1,1\n", "line 2, time: '-5' is not a time"),
    ],
)
def test_a_file_without_bars_is_rejected_with_the_reason(data: bytes, words: str) -> None:
    assert words in str(rejection(data))


def test_a_wrong_argument_is_rejected_with_the_right_one(tmp_path: Path) -> None:
    good = text(table())
    assert "reject, drop or repair" in str(rejection(good, policy="fix"))
    assert "no such file" in str(rejection(tmp_path / "absent.csv"))
    assert "directory" in str(rejection(tmp_path))
    assert "no such file" in str(rejection("https://example.org/bars.parquet"))
    assert "binary mode" in str(rejection(io.StringIO("time")))
    assert "path, bytes or an open binary file" in str(rejection(7))
    with pytest.raises(BarstormError, match="unknown timeframe"):
        files.read_bars(good, timeframe="7m")
    with pytest.raises(BarsError, match="less than one 4h bar"):
        files.read_bars(good, timeframe="4h")
    assert files.read_bars(good, timeframe="30m").timeframe == "30m"


def test_a_file_with_too_many_rows_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "MAX_ROWS", 99)
    for kind in ("csv", "parquet", "arrow"):
        assert rejection(WRITERS[kind](synthetic(100))).code == "file_too_large"
        assert len(files.read_bars(WRITERS[kind](synthetic(99)))) == 99


def test_missing_volume_and_frozen_prices_are_reported() -> None:
    bars = synthetic(200, timeframe="1m")
    columns = {name: getattr(bars, name).copy() for name in ("open", "high", "low", "close", "volume")}
    columns["volume"][[3, 5]] = 0
    for name in ("open", "high", "low", "close"):
        columns[name][100:130] = 42.0
    frame = polars.DataFrame({"time": bars.time, **columns})
    notices = files.read_with_report(frame.write_csv().encode())[1].notices
    assert [(notice.kind, notice.count, notice.lines) for notice in notices if notice.kind != "outlier"] == [
        ("zero volume", 2, (5, 7)),
        ("frozen", 1, (103,)),
    ]


def test_funding_rates_are_read_by_their_columns(market_data: Path) -> None:
    path = market_data / "xrpusdt-perp-funding-8h.parquet"
    read = files.read_series(path, ("time", "rate"))
    frame = polars.read_parquet(path)
    assert read["time"].tolist() == frame["time"].to_list()
    assert read["rate"].tolist() == frame["rate"].to_list()
    assert files.read_series(frame.write_csv().encode(), ("time", "rate"))["rate"].tolist() == frame["rate"].to_list()
    with pytest.raises(BarsError, match="no column rate"):
        files.read_series(market_data / "goog-1d.csv", ("time", "rate"))


@pytest.mark.parametrize("in_files", [False, True])
@pytest.mark.parametrize("symbol", ["AAA", "BBB", "CCC", "b-bb"])
def test_one_of_several_instruments_is_read_wherever_its_rows_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, symbol: str, in_files: bool
) -> None:
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", 1 << 16)
    made = {name: synthetic(3_000, seed=seed) for seed, name in enumerate(("AAA", "BBB", "CCC"))}
    frame = polars.concat([bars.to_polars().with_columns(ticker=polars.lit(name)) for name, bars in made.items()])
    data = frame.write_csv().encode()
    bars = files.read_bars(data, symbol=symbol, scratch=tmp_path if in_files else None)
    expected = made[symbol.replace("-", "").upper()]
    assert [getattr(bars, name).tolist() for name in COLUMNS] == [getattr(expected, name).tolist() for name in COLUMNS]
    for other in ("", "DDD"):
        assert "AAA, BBB" in str(rejection(data, symbol=other))


def test_lines_of_text_after_the_rows_are_left_out_and_cut_lines_are_not() -> None:
    good = text(table())
    for footer in (b"# end\n", b"\n\nTotal rows\n", b"Source, of, some, data, with, many, commas, in it\n\n"):
        bars, report = files.read_with_report(good + footer)
        assert len(bars) == 6
        assert [notice.kind for notice in report.notices] == ["left out"]
    assert len(files.read_bars(good.removesuffix(b"\n") + b"\r\n   \n,,,,,\n")) == 6
    assert "line 8" in str(rejection(good + b"16371\n"))
    assert "line 8" in str(rejection(good + b"x,1,1,1,1,1\n"))
