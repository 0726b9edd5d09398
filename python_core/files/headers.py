"""The columns of a file before their values are checked: how they are found by name, and how a cell is located in messages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import msgspec

from python_core.data.columns import COLUMNS
from python_core.errors import BarsError, BarstormError, FileError

if TYPE_CHECKING:
    import polars

MAX_ROWS: Final = 50_000_000

# Header names, lower case and without punctuation; the first one found is used.
NAMES: Final[dict[str, tuple[str, ...]]] = {
    "time": (
        "opentime", "timestamp", "unix", "unixtime", "epoch", "time", "datetime", "date", "ts", "t",
        "starttime", "start", "gmttime", "timeutc", "dateutc", "indexlevel0", "unnamed0", "",
    ),
    "open": ("open", "openprice", "o"),
    "high": ("high", "highprice", "max", "h"),
    "low": ("low", "lowprice", "min", "l"),
    "close": ("close", "closeprice", "last", "c"),
    "rate": ("rate", "fundingrate", "funding"),
    "volume": ("volume", "vol", "basevolume", "volumefrom", "qty", "v", "tickvolume", "tickvol"),
}  # fmt: skip


class RawTable(msgspec.Struct, frozen=True, kw_only=True):
    """Cells of a file, and where they came from."""

    frame: polars.DataFrame
    """Columns with our names and the types of the file."""
    names: dict[str, str]
    """The file's name of each of our columns."""
    file: str
    unit: str
    """What a row is called in messages: `line` for text files, else `row`."""
    first: int
    """Number of the first row."""
    format: str
    compression: str = ""
    separator: str = ""
    decimal_mark: str = ""
    header: bool = True

    def location(self, row: int, column: str) -> str:
        return ", ".join(part for part in (self.file, f"{self.unit} {row + self.first}", self.names[column]) if part)


def normalize(title: str) -> str:
    """A title in lower case and without punctuation, as in NAMES."""
    return re.sub("[^a-z0-9]", "", title.lower())


def find(titles: Sequence[str], columns: Sequence[str] = COLUMNS) -> dict[str, int]:
    """Position of each column among a file's titles; columns that are missing are left out."""
    names = [normalize(title) for title in titles]
    positions = {
        column: names.index(name) for column in columns if (name := next((n for n in NAMES[column] if n in names), None)) is not None
    }
    # Such as «Volume BTC, Volume USDT»: the first is in units of the base asset.
    volumes = [i for i, name in enumerate(names) if name.startswith("volume")]
    if volumes and "volume" in columns:
        positions.setdefault("volume", volumes[0])
    return positions


def check(titles: Sequence[str], positions: dict[str, int], file: str, columns: Sequence[str] = COLUMNS) -> None:
    """Raise BarsError if a column is missing, or if two columns have its name."""
    if missing := [column for column in columns if column not in positions]:
        raise BarsError(
            f"no column {', '.join(missing)} among {', '.join(title or '(unnamed)' for title in titles[:20])}",
            where=file,
            hint=f"{'bars need' if tuple(columns) == COLUMNS else 'the file needs'} the columns {', '.join(columns)}",
            code="missing_column",
        )
    names = [normalize(title) for title in titles]
    for column, position in positions.items():
        if names[position] and names.count(names[position]) > 1:
            raise BarsError(f"two columns are named {titles[position]}", where=file or column, hint="keep one of them", code="two_columns")


def check_rows(rows: int, file: str) -> None:
    if rows > MAX_ROWS:
        raise FileError(f"more than {MAX_ROWS:,} rows", where=file, hint="split the file", code="file_too_large")


@contextmanager
def translate_errors(file: str, expected: str) -> Iterator[None]:
    """Turn any error of polars about a broken file, even a panic, into a FileError."""
    try:
        from polars.exceptions import PanicException
    except ImportError as error:
        hint = "run `make install` or `pip install '.[files]'` in the checkout"
        raise FileError("reading files needs the package polars", hint=hint, code="no_polars") from error
    try:
        yield
    except BarstormError:
        raise
    except (Exception, PanicException) as error:
        detail = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise FileError(f"not {expected} ({detail:.200})", where=file, hint="copy or export it again", code="unreadable_file") from error
