"""Cells of a file before their values are checked, and how a cell is located in messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from python_core.files.cells.numbers import NumberStyle

if TYPE_CHECKING:
    import polars


# In place of the volume in a line that ends before it.
CUT: Final = "\0"


class Traits(msgspec.Struct, frozen=True):
    """What the titles of a file say about its values."""

    stamp: str = ""
    """`close` if times are those at which bars end."""
    zone: str = ""
    """Zone of the times: `UTC`, another name, or `local`."""
    scaled: bool = False
    """Whether the titles are those of Databento, which may write prices as whole billionths."""


class RawTable(msgspec.Struct, frozen=True, kw_only=True):
    """Cells of a file, and where they came from."""

    frame: polars.DataFrame
    """Columns with our names and the types of the file: `time`, the prices, and those of `clock`, `volume`, `volume again`, `tick volume` and
    `symbol` that the file has."""
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
    numbers: NumberStyle = NumberStyle()
    header: bool = True
    traits: Traits = Traits()
    wide: bool = False
    """Whether neither the file nor the caller names the columns, and rows have more cells than these."""
    left_out: tuple[int, ...] = ()
    """Lines of text at the end of the file."""
    day_ms: int | None = None
    """The day of times of the day, if the file is named after it, as in LEAN; epoch milliseconds."""

    def location(self, row: int, column: str) -> str:
        return ", ".join(part for part in (self.file, f"{self.unit} {row + self.first}", self.names[column]) if part)

    def place(self, column: str) -> str:
        """The file and the column."""
        return ", ".join(part for part in (self.file, self.names[column]) if part)
