"""CSV files: detection of their form, and errors that name the line."""

from __future__ import annotations

import gzip
import random
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from python_core.data.bars import Bars
from python_core.data.columns import COLUMNS
from python_core.data.synthetic import synthetic
from python_core.errors import BarsError, FileError
from python_core.files import read as files
from python_core.files.formats import csv_reader
from python_core.files.options import read_options
from python_core.files.report import ImportReport
from tests.unit.python_core.files.samples import HOURS, WRITERS, rejection, table, text


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
    assert "read it without header=False" in str(rejection(klines, header=False))


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


def test_a_text_with_unwritten_parts_is_rejected() -> None:
    made = WRITERS["csv"](synthetic(5_000))
    assert "zero" in str(rejection(made[:100_000] + bytes(100_000) + made[200_000:]))
    assert len(made) > 2 * csv_reader.MAX_LINE_BYTES


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
        if cells[column] == b"1.5" or (column == 5 and cells[5] in (b"", b"nan", b"-", b"-1")):
            continue  # a price, perhaps a valid one, or a volume that is missing
        error = rejection(b"\n".join(lines))
        assert re.search(rf"line {line}\b", error.where), str(error)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("in_files", [False, True])
def test_a_file_of_many_blocks_is_read_as_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, packed: bool, in_files: bool) -> None:
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", 1 << 16)
    bars = synthetic(10_000, timeframe="1m")
    lines = bars.to_polars().write_csv().splitlines()

    def read(rows: list[str], **options: Any) -> tuple[Bars, ImportReport]:
        content = "\n".join(rows).encode()
        scratch = tmp_path / "scratch" if in_files else None
        return files.read_with_report(gzip.compress(content) if packed else content, read_options(**options), scratch=scratch)

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
