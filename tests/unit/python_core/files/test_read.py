"""Files are read as bars with the same bits, or rejected with an error that names the place."""

from __future__ import annotations

import gzip
import io
import itertools
import random
import re
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from python_core.data.bars import Bars
from python_core.data.columns import COLUMNS
from python_core.data.synthetic import synthetic
from python_core.errors import BarsError, BarstormError, FileError
from python_core.files import compression, csv_reader, headers
from python_core.files import read as files
from python_core.files.report import ImportReport

FEWER = max(settings().max_examples // 5, 1)
HOURS = np.array([1_637_110_800_000 + 3_600_000 * i for i in range(6)])


def table(rows: int = 6) -> list[list[str]]:
    """A header and hourly rows, as text."""
    lines = [[str(time), "1.5", "2.25", "1.25", "1.75", "10"] for time in itertools.islice(itertools.cycle(HOURS.tolist()), rows)]
    return [list(COLUMNS), *lines]


def text(rows: list[list[str]], separator: str = ",", end: str = "\n") -> bytes:
    return "".join(separator.join(row) + end for row in rows).encode()


def with_times(times: list[str]) -> bytes:
    return text([list(COLUMNS), *([time, "1.5", "2.25", "1.25", "1.75", "10"] for time in times)])


def rejection(source: Any, **options: Any) -> BarstormError:
    with pytest.raises((FileError, BarsError)) as caught:
        files.read_bars(source, **options)
    error = caught.value
    assert error.code
    assert error.hint
    return error


# The table of data/dirty/README.md: the words of the error, or the counts of the report.
Expected = dict[str, int] | list[str]
DIRTY: dict[tuple[str, str], Expected] = {
    ("duplicate-same.csv", "reject"): ["line 12, time", "2021-11-17T10:00Z", "line 11", "same values", "policy='drop'"],
    ("duplicate-same.csv", "drop"): {"bars": 60, "dropped": 1},
    ("duplicate-same.csv", "repair"): {"bars": 60, "dropped": 1},
    ("duplicate-conflict.csv", "reject"): ["line 12, time", "2021-11-17T10:00Z", "line 11", "other values", "policy='repair'"],
    ("duplicate-conflict.csv", "drop"): ["line 12, time", "line 11", "other values", "policy='repair'"],
    ("duplicate-conflict.csv", "repair"): {"bars": 60, "replaced": 1},
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
    bars, report = files.read_with_report(path, policy=policy)
    assert len(bars) == report.bars == expected["bars"]
    counted = {notice.kind: notice.count for notice in report.notices}
    assert counted == {kind: count for kind, count in expected.items() if kind != "bars"}


def test_every_dirty_file_is_in_the_table(market_data: Path) -> None:
    assert {path.name for path in (market_data / "dirty").iterdir()} - {"README.md"} == {name for name, _ in DIRTY}


def test_notices_name_their_lines(market_data: Path) -> None:
    def notices(name: str, policy: Any = "reject") -> list[tuple[str, tuple[int, ...]]]:
        report = files.read_with_report(market_data / "dirty" / name, policy=policy)[1]
        return [(notice.kind, notice.lines) for notice in report.notices]

    assert notices("spike.csv") == [("outlier", (32,))]
    assert notices("gap.csv") == [("gap", (21,))]
    assert notices("nan.csv", "drop") == [("dropped", (9, 10)), ("gap", (8,))]
    assert notices("unsorted.csv", "repair") == [("sorted", (8, 22))]
    assert notices("duplicate-conflict.csv", "repair") == [("replaced", (12,))]


def test_differences_in_form_do_not_change_the_bars(market_data: Path) -> None:
    clean = files.read_bars(market_data / "xrpusdt-perp-1h.parquet")[:60]
    for name in ("titled-header.csv", "compressed.csv.gz", "semicolon-comma.csv", "iso-offset.csv", "seconds.csv", "bom-crlf.csv"):
        assert files.read_bars(market_data / "dirty" / name).fingerprint == clean.fingerprint
    assert files.read_bars(market_data / "dirty/no-header.csv", header=False).fingerprint == clean.fingerprint
    for name, policy in (("unsorted.csv", "repair"), ("duplicate-same.csv", "drop"), ("duplicate-same.csv", "repair")):
        assert files.read_bars(market_data / "dirty" / name, policy=policy).fingerprint == clean.fingerprint


def test_repair_keeps_the_last_of_two_rows_of_the_same_time(market_data: Path) -> None:
    bars = files.read_bars(market_data / "dirty/duplicate-conflict.csv", policy="repair")
    assert bars.close[9] == 1.10394284


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
    assert "no column open, high, low, close, volume among time, rate" in str(error)


def test_a_path_bytes_and_an_open_file_give_the_same_bars(market_data: Path) -> None:
    for name in ("goog-1d.csv", "goog-1d.parquet", "dirty/compressed.csv.gz"):
        path = market_data / name
        with path.open("rb") as opened:
            readings = [files.read_bars(path), files.read_bars(str(path)), files.read_bars(path.read_bytes()), files.read_bars(opened)]
        assert len({bars.fingerprint for bars in readings}) == 1


def zstd(data: bytes) -> bytes:
    packed: bytes = compression._zstd().compress(data)
    return packed


def written(write: Callable[[polars.DataFrame, io.BytesIO], object], bars: Bars) -> bytes:
    buffer = io.BytesIO()
    write(bars.to_polars(), buffer)
    return buffer.getvalue()


WRITERS: dict[str, Callable[[Bars], bytes]] = {
    "csv": lambda bars: written(lambda frame, to: frame.write_csv(to), bars),
    "csv with semicolons": lambda bars: written(lambda frame, to: frame.write_csv(to, separator=";"), bars),
    "csv with decimal commas": lambda bars: written(lambda frame, to: frame.write_csv(to, separator="\t", decimal_comma=True), bars),
    "quoted csv": lambda bars: written(lambda frame, to: frame.write_csv(to, quote_style="always"), bars),
    "gzip": lambda bars: gzip.compress(WRITERS["csv"](bars), 1),
    "zstd": lambda bars: zstd(WRITERS["csv"](bars)),
    "parquet": lambda bars: written(lambda frame, to: frame.write_parquet(to), bars),
    "arrow": lambda bars: written(lambda frame, to: frame.write_ipc(to), bars),
    "arrow stream": lambda bars: written(lambda frame, to: frame.write_ipc_stream(to), bars),
}


@st.composite
def some_bars(draw: st.DrawFn) -> Bars:
    n = draw(st.integers(2, 8))
    steps = draw(st.lists(st.integers(1, 5), min_size=n, max_size=n))
    # Before 1973 a time in milliseconds can be taken for seconds; see the test of that below.
    time = draw(st.integers(10**11, 2 * 10**12)) + 60_000 * np.cumsum([0, 1, *steps[2:]])
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
        assert files.read_bars(WRITERS[kind](bars)).fingerprint == bars.fingerprint

    check()
    made = synthetic(5_000, timeframe="5m")
    assert files.read_bars(WRITERS[kind](made)).fingerprint == made.fingerprint


@pytest.mark.parametrize(
    ("header", "separator", "end"),
    [
        ("Timestamp;OPEN;High;low;Close;Volume", ";", "\r\n"),
        ("<DATE>|<OPEN>|<HIGH>|<LOW>|<CLOSE>|<VOL>", "|", "\n"),
        ('"Date","Open","High","Low","Close","Volume"', ",", "\n"),
        ("unix\topen\thigh\tlow\tclose\tVolume BTC", "\t", "\r"),
        ("t,o,h,l,c,v", ",", "\n"),
        ("Open time,Open,High,Low,Close,Volume", ",", "\n"),
        (",open,high,low,close,volume", ",", "\n"),
    ],
)
def test_headers_separators_and_line_ends_are_detected(header: str, separator: str, end: str) -> None:
    rows = [header.split(separator), *table()[1:]]
    bars, report = files.read_with_report(text(rows, separator, end))
    assert bars.time.tolist() == HOURS.tolist()
    assert report.separator == separator


def test_other_columns_blank_lines_and_a_title_are_skipped() -> None:
    rows = table()
    data = b"https://example.org/history\n" + text([[*row[:1], "caf\xe9", *row[1:], "0"] for row in rows]).replace(b"\xc3\xa9", b"\xe9")
    data = data.replace(b"time,caf\xe9", b"time,name").replace(b"volume,0", b"volume,trades") + b"\n\n"
    bars = files.read_bars(data)
    assert bars.time.tolist() == HOURS.tolist()
    broken = data.replace(b"1.75", b"x", 1)
    assert "line 3, close: 'x' is not a number" in str(rejection(broken))


def test_a_trailing_separator_is_not_a_column() -> None:
    rows = [table()[0], *([*row, ""] for row in table()[1:])]
    assert len(files.read_bars(text(rows))) == 6


def test_blanks_and_quotes_around_numbers_are_ignored() -> None:
    rows = [[f" {cell} " for cell in row] for row in table()]
    assert files.read_bars(text(rows)).close.tolist() == [1.75] * 6


def test_date_and_time_of_day_may_be_two_columns() -> None:
    rows = [["2021.11.17", f"0{hour}:00", "1.5", "2.25", "1.25", "1.75", "10"] for hour in range(1, 7)]
    header = ["<DATE>", "<TIME>", "<OPEN>", "<HIGH>", "<LOW>", "<CLOSE>", "<TICKVOL>"]
    assert files.read_bars(text([header, *rows], "\t")).time.tolist() == HOURS.tolist()
    assert files.read_bars(text(rows), header=False).time.tolist() == HOURS.tolist()


@pytest.mark.parametrize(
    "form",
    [
        "%Y-%m-%dT%H:%M:%SZ",
        "%Y-%m-%dT%H:%M:%S.%fZ",
        "%Y-%m-%d %H:%M:%S UTC",
        "%Y-%m-%d %H:%M",
        "%Y-%m-%d %H:%M:%S+00:00",
        "%Y/%m/%d %H:%M:%S",
        "%Y.%m.%d %H:%M",
        "%Y%m%d %H%M%S",
        "%d.%m.%Y %H:%M:%S.%f GMT+0000",
        "%d/%m/%Y %H:%M",
        "%m/%d/%Y %H:%M",
    ],
)
def test_times_are_read_in_every_supported_format(form: str) -> None:
    times = [datetime.fromtimestamp(time / 1000, UTC).strftime(form) for time in HOURS.tolist()]
    assert files.read_bars(with_times(times)).time.tolist() == HOURS.tolist()


@pytest.mark.parametrize("per_second", [1, 1_000, 1_000_000, 1_000_000_000])
@pytest.mark.parametrize("suffix", ["", ".0"])
def test_the_unit_of_epoch_times_is_detected(per_second: int, suffix: str) -> None:
    times = [f"{time // 1000 * per_second}{suffix}" for time in HOURS.tolist()]
    if suffix and per_second == 1_000_000_000:
        assert "whole milliseconds" in str(rejection(with_times(times)))  # floats of that size skip most integers
    else:
        assert files.read_bars(with_times(times)).time.tolist() == HOURS.tolist()
    frame = polars.DataFrame(table()[1:], schema=list(COLUMNS), orient="row").with_columns(polars.all().cast(polars.Float64))
    frame = frame.with_columns(time=polars.Series([time // 1000 * per_second for time in HOURS.tolist()]))
    assert files.from_arrow(frame).time.tolist() == HOURS.tolist()


def test_milliseconds_of_the_first_years_are_known_by_their_step() -> None:
    assert files.read_bars(with_times(["0", "60000", "120000"])).timeframe == "1m"
    assert files.read_bars(with_times(["0", "60", "120"])).time.tolist() == [0, 60_000, 120_000]


def test_times_with_and_without_seconds_or_fractions_may_be_mixed() -> None:
    bars, report = files.read_with_report(
        with_times(["2021-11-17", "2021-11-17 00:01", "2021-11-17 00:02:00.000", "2021-11-17T03:03:00+03:00"])
    )
    assert np.diff(bars.time).tolist() == [60_000] * 3
    assert report.time_zone == "none given, taken as UTC or offsets, converted to UTC"


def test_an_ambiguous_order_of_day_and_month_is_rejected() -> None:
    error = rejection(with_times(["01/02/2021", "02/02/2021", "03/02/2021"]))
    assert error.code == "ambiguous_time"
    assert "2024-03-01" in error.hint


def test_a_bad_day_does_not_turn_day_first_into_month_first() -> None:
    times = [f"{day}/01/2021" for day in range(10, 20)]
    times[5] = "01/15/2021"
    assert "line 7, time: '01/15/2021'" in str(rejection(with_times(times)))


@pytest.mark.parametrize(
    ("dtype", "zone"),
    [
        (polars.Datetime("ns"), "none given, taken as UTC"),
        (polars.Datetime("us", "UTC"), "UTC"),
        (polars.Datetime("ms", "Europe/Berlin"), "Europe/Berlin, converted to UTC"),
    ],
)
def test_date_times_of_parquet_are_utc_or_converted_to_it(dtype: Any, zone: str) -> None:
    frame = synthetic(10).to_polars().with_columns(polars.from_epoch("time", "ms").dt.replace_time_zone("UTC"))
    frame = frame.with_columns(
        frame["time"]
        .dt.convert_time_zone(dtype.time_zone or "UTC")
        .dt.replace_time_zone(None)
        .dt.replace_time_zone(dtype.time_zone)
        .cast(dtype)
    )
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    bars, report = files.read_with_report(buffer.getvalue())
    assert bars.fingerprint == synthetic(10).fingerprint
    assert report.time_zone == zone


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
    assert "row 3, Volume: the cell is empty" in str(rejection_of_frame(frame.with_columns(Volume=polars.Series([0, 1, None]))))
    assert "has the type Boolean" in str(rejection_of_frame(frame.with_columns(Volume=polars.Series([True, False, True]))))


def rejection_of_frame(frame: Any) -> BarstormError:
    with pytest.raises((BarsError, FileError)) as caught:
        files.from_arrow(frame)
    return caught.value


def test_anything_with_an_arrow_stream_becomes_bars() -> None:
    made = synthetic(100)

    class Table:
        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            return made.to_polars().__arrow_c_stream__(requested_schema)

    assert files.from_arrow(Table()).fingerprint == made.fingerprint
    assert files.from_arrow(made.to_polars(), timeframe="1h", symbol="X").symbol == "X"
    assert "__arrow_c_stream__" in str(rejection_of_frame({"time": [1]}))


@pytest.mark.parametrize("line", [2, 3, 150, 5_000])
@pytest.mark.parametrize("names", [False, True])
def test_an_unclosed_quote_does_not_swallow_rows(line: int, names: bool) -> None:
    rows = [[*row, '"Alphabet, Inc."'] if names else row for row in table(6_000)]
    for i, row in enumerate(rows[1:]):
        row[0] = str(HOURS[0] + 60_000 * i)
    good = text(rows)
    assert len(files.read_bars(good)) == 6_000
    rows[line - 1][1] = '"' + rows[line - 1][1]
    try:
        outcome = files.read_bars(text(rows)).fingerprint
    except (FileError, BarsError) as error:
        outcome = str(error)
    assert outcome == files.read_bars(good).fingerprint or "close each quote" in outcome or f"line {line}, open" in outcome


def test_files_of_well_known_sources_are_read() -> None:
    def rows(header: str, form: str) -> bytes:
        return (header + "\n" + "".join(form.format(t, t // 1000, i + 1) + "\n" for i, t in enumerate(HOURS.tolist()))).encode()

    exchange = rows(
        "https://www.example.com\nunix,date,symbol,open,high,low,close,Volume BTC,Volume USDT",
        "{1},2021-11-17 0{2}:00:00,BTC/USDT,1,2,1,2,3,4",
    )
    klines = rows("open_time,open,high,low,close,volume,close_time,quote_volume,count", "{0},1,2,1,2,3,{0},4,5")
    shares = rows("Date,Open,High,Low,Close,Adj Close,Volume", "2021-11-{2:02},1,2,1,2,9,3")
    ticks = rows("Gmt time,Open,High,Low,Close,Volume", "17.11.2021 0{2}:00:00.000,1,2,1,2,3")
    for data in (exchange, klines, shares, ticks):
        bars = files.read_bars(data)
        assert len(bars) == 6
        assert [getattr(bars, name)[0] for name in COLUMNS[1:]] == [1, 2, 1, 2, 3]
    assert files.read_with_report(exchange)[1].time_format == "epoch s"
    headless = klines.partition(b"\n")[2]
    assert files.read_bars(headless, header=False).fingerprint == files.read_bars(klines).fingerprint
    assert "without header=False" in str(rejection(klines, header=False))


@pytest.mark.parametrize("line", [2, 150, 5_000, 19_999])
def test_a_line_with_too_many_cells_is_named(line: int) -> None:
    lines = WRITERS["csv"](synthetic(20_000)).split(b"\n")
    lines[line - 1] += b",1"
    error = rejection(b"\n".join(lines))
    assert f"line {line}" in error.where


@pytest.mark.parametrize("line", [2, 150, 19_999])
def test_a_line_with_too_few_cells_is_named(line: int) -> None:
    lines = WRITERS["csv"](synthetic(20_000)).split(b"\n")
    lines[line - 1] = lines[line - 1].rpartition(b",")[0]
    assert f"line {line}, volume: the cell is empty" in str(rejection(b"\n".join(lines)))


def test_invalid_rows_are_counted_and_the_first_are_named() -> None:
    frame = synthetic(100_000, timeframe="1m").to_polars().with_columns(volume=-polars.col("volume"))
    error = rejection(frame.write_csv().encode())
    assert error.where == "line 2, volume"
    assert "100,000 of 100,000 rows" in str(error)
    assert str(error).count("line ") == 5
    assert "none of 100,000 rows" in str(rejection(frame.write_csv().encode(), policy="drop"))


def test_a_file_with_the_newest_row_first_is_rejected_or_sorted() -> None:
    made = synthetic(500)
    data = made.to_polars().reverse().write_csv().encode()
    assert "the newest row comes first" in str(rejection(data))
    assert files.read_bars(data, policy="repair").fingerprint == made.fingerprint


@given(st.lists(st.integers(0, 30), min_size=2, max_size=40), st.integers(0, 3))
@settings(max_examples=FEWER)
def test_repair_sorts_and_keeps_the_last_row_of_each_time(hours: list[int], spread: int) -> None:
    hours = [0, 1, *hours]
    rows = [[str(HOURS[0] + 3_600_000 * hour), "1", "9", "1", str(1 + i % (spread + 1)), str(i)] for i, hour in enumerate(hours)]
    bars, report = files.read_with_report(text([list(COLUMNS), *rows]), policy="repair")
    last = {hour: i for i, hour in enumerate(hours)}
    assert bars.time.tolist() == [HOURS[0] + 3_600_000 * hour for hour in sorted(last)]
    assert bars.volume.tolist() == [last[hour] for hour in sorted(last)]
    assert report.count("replaced") == len(hours) - len(last)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"\n\n\n", "not a table of bars"),
        (b"hello", "the file starts with 'hello'"),
        (b'{"time": 1, "open": 2}', "no column high, low, close, volume among time, open"),
        (b'{\n  "time": 1\n}', "not a JSON object"),
        (b"[[1, 2]]", "JSON lines"),
        (b"PK\x03\x04rest", "zip"),
        (b"BZh91AY", "bzip2"),
        (b"\xff\xfet\0i\0m\0e\0", "UTF-16"),
        (b"time,open,high,low,close,volume\n1,2,3\0", "zero"),
        (b"time,open,high,low,close,volume\n" + b"1" * 200_000, "no line ends"),
        (gzip.compress(gzip.compress(b"time", mtime=0), mtime=0), "compressed twice"),
        (gzip.compress(b"time,open" * 1000, mtime=0)[:-20], "not a complete gzip file"),
        (b"PAR1", "not a complete Parquet file"),
        (b"PAR1" + bytes(50) + b"PAR1", "not a complete Parquet file"),
        (b"ARROW1\0\0", "not a complete Arrow file"),
        (b"\xff\xff\xff\xff\x10\0\0\0", "not a complete Arrow file"),
        (b"time,open,high,low,close,close,volume\n1,1,1,1,1,1,1\n", "two columns are named close"),
        (b"time,open,high,low,close,volume\n1637110800000,1,1,1,1,1\n", "the timeframe of a single bar is unknown"),
        (b"time,open,high,low,close,volume\nyesterday,1,1,1,1,1\n", "line 2, time: 'yesterday' is not a time"),
        (b"time,open,high,low,close,volume\n-5,1,1,1,1,1\n", "line 2, time: '-5' is not a time"),
    ],
)
def test_a_file_without_bars_is_rejected_with_the_reason(data: bytes, words: str) -> None:
    assert words in str(rejection(data))


def test_a_wrong_argument_is_rejected_with_the_right_one(tmp_path: Path) -> None:
    good = text(table())
    assert "reject, drop or repair" in str(rejection(good, policy="mend"))
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


def test_a_decompression_bomb_is_rejected_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "MAX_BYTES", 1 << 20)
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = packer.compress(bytes(1 << 24)) + packer.flush()
    assert rejection(bomb).code == "file_too_large"


def test_a_zstd_file_is_bounded_and_checked_like_a_gzip_file(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = zstd(text(table()))
    assert "not a complete zstd file" in str(rejection(packed[:-5]))
    monkeypatch.setattr(compression, "MAX_BYTES", 1 << 20)
    assert len(files.read_bars(packed)) == 6
    assert rejection(zstd(bytes(1 << 24))).code == "file_too_large"


def test_without_a_zstd_module_the_error_says_how_to_install_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "_zstd", lambda: None)
    assert "backports.zstd" in str(rejection(b"\x28\xb5\x2f\xfd"))


def test_a_text_with_unwritten_parts_is_rejected() -> None:
    made = WRITERS["csv"](synthetic(5_000))
    assert "zero" in str(rejection(made[:100_000] + bytes(100_000) + made[200_000:]))
    assert len(made) > 2 * csv_reader.MAX_LINE_BYTES


VALID = {kind: WRITERS[kind](synthetic(300)) for kind in ("csv", "gzip", "parquet", "arrow", "arrow stream")}


def read_or_reject(data: bytes) -> None:
    for policy in ("reject", "drop", "repair"):
        try:
            outcome = f"{len(files.read_bars(data, policy=policy))} bars"
        except (FileError, BarsError) as error:
            outcome = str(error)
        assert "not a readable file" not in outcome  # the last resort for unforeseen errors


@given(
    st.binary(max_size=400),
    st.sampled_from(
        [b"", b"PAR1", b"ARROW1\0\0", b"\xff\xff\xff\xff", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"time,open,high,low,close,volume\n"]
    ),
)
@example(b"\r\r\r", b"")
def test_random_bytes_raise_only_library_errors(data: bytes, start: bytes) -> None:
    read_or_reject(start + data)


@settings(max_examples=FEWER)
@given(st.text(alphabet=",;\t|\n\r\"'.-+eE0123456789 :TZNaninf/éx", max_size=300))
def test_random_cells_raise_only_library_errors(cells: str) -> None:
    read_or_reject(b"time,open,high,low,close,volume\n" + cells.encode())
    read_or_reject(text(table()) + cells.encode())


@pytest.mark.parametrize("kind", VALID)
@given(st.data())
@settings(max_examples=FEWER)
def test_a_damaged_file_raises_only_library_errors(kind: str, data: st.DataObject) -> None:
    damaged = bytearray(VALID[kind])
    for position in data.draw(st.lists(st.integers(0, len(damaged) - 1), max_size=4)):
        damaged[position] = data.draw(st.integers(0, 255))
    read_or_reject(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))
    read_or_reject(bytes(damaged))


@pytest.mark.long
def test_two_million_rows_of_csv_are_read_within_seconds(tmp_path: Path) -> None:
    path = tmp_path / "big.csv"
    made = synthetic(2_000_000, timeframe="1m")
    made.to_polars().write_csv(path)
    begin = datetime.now(UTC)
    bars = files.read_bars(path)
    seconds = (datetime.now(UTC) - begin).total_seconds()
    assert bars.fingerprint == made.fingerprint
    assert seconds < 4, f"{seconds:.2f} s; about 0.6 s are usual on two cores"


def test_random_damage_at_a_line_names_that_line() -> None:
    chance = random.Random(5)
    for _ in range(30):
        lines = WRITERS["csv"](synthetic(1_000)).split(b"\n")
        line = chance.randrange(2, 1_001)
        cells = lines[line - 1].split(b",")
        column = chance.randrange(6)
        cells[column] = chance.choice([b"", b"nan", b"-", b"1,5".replace(b",", b"."), b"inf", b"-1", b"--5", b"x"])
        lines[line - 1] = b",".join(cells)
        if cells[column] == b"1.5":
            continue  # a price, perhaps a valid one
        error = rejection(b"\n".join(lines))
        assert re.search(rf"line {line}\b", error.where), str(error)


def test_json_lines_are_read_with_the_same_bits_and_errors_name_the_line() -> None:
    bars = synthetic(2_000, timeframe="1m")
    text = bars.to_polars().write_ndjson()
    assert files.read_bars(text.encode()).fingerprint == bars.fingerprint
    assert files.read_bars(gzip.compress(text.encode())).fingerprint == bars.fingerprint
    lines = text.splitlines()
    strings = [re.sub(r":([\d.]+)", r':"\1"', line) for line in lines]
    assert files.read_bars("\n".join(strings).encode()).fingerprint == bars.fingerprint
    assert files.read_bars("\n\n".join(lines).encode()).fingerprint == bars.fingerprint
    lines[1200] = lines[1200].replace('"high":', '"hi":')
    assert "line 1201, high: the cell is empty" in str(rejection("\n".join(lines).encode()))
    lines[1200] = '{"time": oops'
    assert "line 1201" in str(rejection("\n".join(lines).encode()))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("in_files", [False, True])
def test_a_file_of_many_blocks_is_read_as_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, packed: bool, in_files: bool) -> None:
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", 1 << 16)
    bars = synthetic(10_000, timeframe="1m")
    lines = bars.to_polars().write_csv().splitlines()

    def read(rows: list[str], **options: Any) -> tuple[Bars, ImportReport]:
        content = "\n".join(rows).encode()
        scratch = tmp_path / "scratch" if in_files else None
        return files.read_with_report(gzip.compress(content) if packed else content, scratch=scratch, **options)

    assert read(lines)[0].fingerprint == bars.fingerprint
    lines[5_001] = lines[5_001].replace(",", ",x", 1)
    lines[9_001] += ",7"
    with pytest.raises(BarsError, match="line 9002"):
        read(lines)
    lines[9_001] = lines[9_002]
    with pytest.raises(BarsError, match="line 5002, open: 'x"):
        read(lines)
    kept, report = read(lines, policy="drop")
    assert len(kept) == 9_998
    assert [(notice.kind, notice.lines) for notice in report.notices] == [
        ("dropped", (5_002,)),
        ("dropped", (9_003,)),
        ("gap", (5_001, 9_001)),
    ]
    assert not in_files or not list((tmp_path / "scratch").iterdir())


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
