"""Numbers are read as they are written, and refused where they could be two."""

from __future__ import annotations

import polars
import pytest
from hypothesis import given
from hypothesis import strategies as st

import python_core as bt
from python_core.errors import BarsError
from python_core.files.cells.numbers import NumberStyle, detect, parse
from tests.unit.python_core.files.samples import HOURS, rejection, text


@pytest.mark.parametrize(
    ("cell", "decimal", "value"),
    [
        ("39,983.2", ".", 39_983.2),
        ("39.983,2", ",", 39_983.2),
        ("1 234,5", ",", 1_234.5),
        ("1'234'567.25", ".", 1_234_567.25),
        ("1\u2019234.5", ".", 1_234.5),
        ("1\u202f234.5", ".", 1_234.5),
        ("$174.39", ".", 174.39),
        ("174,39 €", ",", 174.39),
        ("78.09M", ".", 78_090_000.0),
        ("1.2k", ".", 1_200.0),
        ("0.01%", ".", 0.0001),
        ("-1.5e-3", ".", -0.0015),
        (".5", ".", 0.5),
        ('"12"', ".", 12.0),
        ("1,23", ".", None),
        ("1.2.3", ".", None),
        ("12-3", ".", None),
        ("1,2,345", ".", None),
        ("1.5", ",", None),
        ("M", ".", None),
        ("", ".", None),
    ],
)
def test_a_number_is_read_as_it_is_written(cell: str, decimal: str, value: float | None) -> None:
    style = NumberStyle(decimal, False)  # type: ignore[arg-type]
    assert parse(polars.Series([cell]), style).to_list() == [value]


@given(st.floats(0, 1e15, allow_nan=False), st.sampled_from([",.", ".,", " .", "' ."]), st.integers(0, 8))
def test_thousands_and_decimals_keep_every_bit(value: float, marks: str, places: int) -> None:
    thousands, decimal = marks[0], marks[-1]
    cell = f"{value:,.{places}f}".translate(str.maketrans({",": thousands, ".": decimal}))
    assert parse(polars.Series([cell]), NumberStyle(decimal, False)).to_list() == [float(f"{value:.{places}f}")]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cells", "separator", "decimal"),
    [
        (["1,234", "1.5"], "\t", "."),
        (["1.234", "1,5"], ";", ","),
        (["1.115", "1.234"], ",", "."),
        (["1.115", "1.234"], ";", None),
        (["1,115"], ",", None),
        (["0.115"], ";", "."),
        (["1234,115"], ";", ","),
        (["1,234,567"], ";", "."),
        (["100", "200"], ";", "."),
    ],
)
def test_the_decimal_mark_is_detected_or_left_open(cells: list[str], separator: str, decimal: str | None) -> None:
    style = detect(enumerate(cells, 1), separator, None, "")
    assert (style.decimal if style else None) == decimal


def test_two_decimal_marks_in_a_file_are_refused_with_both_lines() -> None:
    with pytest.raises(BarsError, match=r"line 1 has '1.5' and line 2 '1,5'.*decimal='.' or decimal=','"):
        detect(enumerate(["1.5", "1,5"], 1), ";", None, "")


def rows(prices: list[str], separator: str = ";") -> bytes:
    table = [["time", "open", "high", "low", "close"], *([str(time), *[price] * 4] for time, price in zip(HOURS, prices, strict=False))]
    return text(table, separator)


def test_rows_beyond_the_sample_tell_thousands_from_decimals() -> None:
    prices = ["1.234"] * 400 + ["1.2345"]
    table = [["time", "open", "high", "low", "close"], *([str(HOURS[0] + 60_000 * i), *[price] * 4] for i, price in enumerate(prices))]
    assert bt.read_bars(text(table, ";")).open[0] == 1.234
    assert rejection(text(table[:-1], ";")).code == "ambiguous_number"


def test_a_comma_is_no_thousands_separator_where_no_decimal_mark_is_known() -> None:
    quoted = rows(["100"] * 3, ",") + b'1637200800000,"1,234","1,234","1,234","1,234"\n'
    assert rejection(quoted).code == "ambiguous_number"
    many = text([["time", "open", "high", "low", "close"], *([str(HOURS[0] + 60_000 * i), *["100"] * 4] for i in range(500))])
    assert "line 502: more cells" in str(rejection(many + b'1637200800000,"1,234","1,234","1,234","1,234"\n'))
    tabs = many.replace(b",", b"\t") + b"1637200800000\t1,234\t1,234\t1,234\t1,234\n"
    assert "line 502: '1,234' may be 1234 or 1.234" in str(rejection(tabs))
