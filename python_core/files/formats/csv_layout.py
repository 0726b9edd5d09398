"""How the lines of a CSV file are split into cells, and which of them are the columns of bars."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from python_core.data.columns import COLUMNS
from python_core.errors import BarsError, FileError
from python_core.files import headers
from python_core.files.cells.dates import looks_like_clock, looks_like_day
from python_core.files.cells.raw_table import Traits
from python_core.files.cells.timestamps import NUMBER
from python_core.files.options import DEFAULT, ReadOptions, option

# Lines that may come before the header, such as a title or the address of a source.
PREAMBLE_LINES: Final = 10
# Lines of a header with fields, tickers and the name of the index.
STACKED_LINES: Final = 3
UNKNOWN_HINT: Final = "use CSV, JSON, Parquet or Arrow"


class Layout(msgspec.Struct, frozen=True):
    """How lines are split into cells."""

    start: int
    """Index of the first line of values."""
    separator: str
    titles: list[str]
    positions: dict[str, int]
    """Positions of our columns, and of `clock` if date and time of day are two columns."""
    traits: Traits = Traits()


def find_layout(name: str, lines: Sequence[str], columns: Sequence[str], options: ReadOptions) -> Layout:
    """The header line and separator for which all columns are found."""
    best, most = Layout(0, ",", [], {}), 0
    for i, line in enumerate(lines[: PREAMBLE_LINES + 1]):
        for separator in ";\t|,":
            titles = [title.strip() for title in split_cells(line, separator)]
            start = i + 1
            if len(titles) > len(columns) // 2 and (stacked := _stacked_titles(name, lines[i : i + STACKED_LINES], separator, options)):
                titles, start = stacked, i + STACKED_LINES
            try:
                found = headers.find(titles, columns, options)
            except BarsError:
                known = headers.find(titles, columns, DEFAULT).positions
                if len(titles) > 1 and len(known) > most:
                    best, most = Layout(start, separator, titles, known), len(known)
                continue
            positions = found.positions
            if not found.missing(columns):
                headers.check(titles, found, name, columns, options)
                following = next((split_cells(row, separator) for row in lines[start:] if row.strip()), [])
                return Layout(start, separator, titles, positions | headers.day_and_clock(titles, following, options), found.traits)
            if len(titles) > 1 and len(positions) > most:
                best, most = Layout(start, separator, titles, positions), len(positions)
    first = next((line for line in lines if line.strip()), "")
    if len(split_cells(first, _separator(first))) >= len(columns) and not re.search("[A-Za-z]{2}", first):
        hint = f"add a header line, or set {option('header', False)} if the columns are {', '.join(COLUMNS)}"
        raise FileError("line 1 holds values, not column names", where=name, hint=hint, code="no_header")
    if not most and not best.titles:
        raise FileError(f"not a table of bars; the file starts with {first[:40]!r}", where=name, hint=UNKNOWN_HINT, code="unknown_format")
    headers.check(best.titles, headers.find(best.titles, columns, options), name, columns, options)
    return best


def _stacked_titles(name: str, lines: Sequence[str], separator: str, options: ReadOptions) -> list[str] | None:
    """Titles of a header in three lines, of fields, tickers and the name of the index, as pandas writes the tables of yfinance."""
    rows = [[cell.strip() for cell in split_cells(line, separator)] for line in lines]
    if len(rows) < STACKED_LINES or not all(rows) or len(rows[0]) != len(rows[1]):
        return None
    index = rows[2][0]
    if not {headers.normalize(row[0]) for row in rows[:2]} <= {"price", "ticker", ""}:
        return None
    fields, tickers = sorted(rows[:2], key=headers.count_fields, reverse=True)
    if headers.normalize(index) not in headers.NAMES["time"] or any(rows[2][1:]):
        return None
    return headers.one_ticker([index, *fields[1:]], ["", *tickers[1:]], options, name)


def layout_without_header(name: str, lines: Sequence[str], columns: Sequence[str], options: ReadOptions) -> Layout:
    start = next((i for i, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")), 0)
    first = lines[start] if lines else ""
    separator = _separator(first)
    row = [cell.strip() for cell in split_cells(first, separator)]
    if not headers.find(row, columns, DEFAULT).missing(columns):
        hint = f"read it without {option('header', False)}"
        raise FileError("line 1 holds column names", where=name, hint=hint, code="header")
    if isinstance(options.columns, tuple) and options.columns:
        titles = ["" if title == "-" else title for title in options.columns]
    elif len(row) > len(columns) and looks_like_day(row[0]) and looks_like_clock(row[1]) and not NUMBER.fullmatch(row[1]):
        titles = ["date", "clock", *columns[1:]]
    else:
        titles = list(columns)
    if not options.columns and titles[-1] == "volume" and len(row) == len(titles) - 1:
        titles.pop()
    positions = {{"date": "time"}.get(title, title): i for i, title in enumerate(titles) if title}
    missing = [column for column in columns if column not in positions and column != "volume"]
    if missing or len(row) < len(titles) - ("volume" in positions):
        hint = (
            f"without a header the columns are {', '.join(columns)}; others are named with {option('columns', ','.join(['time', '...']))}"
        )
        raise BarsError(
            f"no column {', '.join(missing)}" if missing else f"{len(row)} cells",
            where=f"{name}, line {start + 1}" if name else f"line {start + 1}",
            hint=hint,
            code="missing_column",
        )
    return Layout(start, separator, titles + [""] * (len(row) - len(titles)), positions)


def _separator(line: str) -> str:
    return next((separator for separator in ";\t|" if line.count(separator) >= len(COLUMNS) - 2), ",")


def split_cells(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return line.split(separator)
