"""The columns of a file before anything in them is believed: how they are found, and how a place in them is named."""

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

# Header names, lower case and without punctuation; the earlier is taken when a file has several.
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
    """A file's cells, and where they came from."""

    frame: polars.DataFrame
    """Columns named as ours, of whatever type they have in the file."""
    names: dict[str, str]
    """Ours to the file's; those that were wanted."""
    file: str
    unit: str
    """What a row is called: `line` of a text, else `row`."""
    first: int
    """Number of the first row."""
    format: str
    compression: str = ""
    separator: str = ""
    decimal_mark: str = ""
    header: bool = True

    def place(self, row: int, column: str) -> str:
        return ", ".join(part for part in (self.file, f"{self.unit} {row + self.first}", self.names[column]) if part)


def plain(title: str) -> str:
    """A title without case and punctuation, as in NAMES."""
    return re.sub("[^a-z0-9]", "", title.lower())


def find(titles: Sequence[str], wanted: Sequence[str] = COLUMNS) -> dict[str, int]:
    """Position of each wanted column among a file's titles, as far as they are there."""
    names = [plain(title) for title in titles]
    found = {column: names.index(name) for column in wanted if (name := next((n for n in NAMES[column] if n in names), None)) is not None}
    # Such as «Volume BTC, Volume USDT»: the first counts the thing traded.
    volumes = [i for i, name in enumerate(names) if name.startswith("volume")]
    if volumes and "volume" in wanted:
        found.setdefault("volume", volumes[0])
    return found


def check(titles: Sequence[str], found: dict[str, int], file: str, wanted: Sequence[str] = COLUMNS) -> None:
    """BarsError if a column is missing, or there twice."""
    if missing := [column for column in wanted if column not in found]:
        raise BarsError(
            f"no column {', '.join(missing)} among {', '.join(title or '(unnamed)' for title in titles[:20])}",
            where=file,
            hint=f"{'bars have' if tuple(wanted) == COLUMNS else 'give'} the columns {', '.join(wanted)}",
            code="missing_column",
        )
    names = [plain(title) for title in titles]
    for column, position in found.items():
        if names[position] and names.count(names[position]) > 1:
            raise BarsError(f"two columns are named {titles[position]}", where=file or column, hint="keep one of them", code="two_columns")


def check_rows(rows: int, file: str) -> None:
    if rows > MAX_ROWS:
        raise FileError(f"more than {MAX_ROWS:,} rows", where=file, hint="split the file", code="file_too_large")


@contextmanager
def reading(file: str, what: str) -> Iterator[None]:
    """Turns whatever polars says of a broken file into a FileError, its panics included."""
    try:
        from polars.exceptions import PanicException
    except ImportError as error:
        raise FileError("polars is not installed", hint="pip install barstorm[files]", code="no_polars") from error
    try:
        yield
    except BarstormError:
        raise
    except (Exception, PanicException) as error:
        detail = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise FileError(f"not {what} ({detail:.200})", where=file, hint="copy or export it again", code="unreadable_file") from error
