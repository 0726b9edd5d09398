"""Tables that clients download, as CSV, Parquet or Arrow. Times are dates, in UTC, and codes are words."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Final, Literal

import python_core as bt
from workers.errors import Conflict
from workers.storage import artifacts
from workers.storage.artifacts import ArtifactLost, Artifacts

if TYPE_CHECKING:
    import polars

TableFormat = Literal["csv", "parquet", "arrow"]
# ISO 8601 with a space, which spreadsheets take for a date.
_SECONDS: Final = "%Y-%m-%d %H:%M:%S"
_MILLISECONDS: Final = "%Y-%m-%d %H:%M:%S%.3f"
# A text that begins so would be a formula.
_FORMULA: Final = r"^([=+\-@\t\r])"


def write(table: polars.DataFrame, table_format: TableFormat, file: BinaryIO) -> None:
    """Write a table whose times are of type `Datetime("ms", "UTC")`, and seek to the start of the file.

    Parquet, and Arrow as an IPC stream, keep every bit. CSV has the shortest decimals that read back to the same values, times such as
    `2024-01-31 16:00:00`, and an apostrophe before a text that a spreadsheet would take for a formula.

    Raises:
        OSError: the file can't be written.
    """
    import polars

    if table_format == "parquet":
        artifacts.write_parquet(table, file)
    elif table_format == "arrow":
        table.write_ipc_stream(file, compat_level=polars.CompatLevel.oldest())
    else:
        times = table.select(polars.col(polars.Datetime))
        whole = all((column.dt.timestamp("ms") % 1000 == 0).all() for column in times)
        texts = polars.col(polars.String).str.replace(_FORMULA, "'$1")
        table.with_columns(texts).write_csv(file, datetime_format=_SECONDS if whole else _MILLISECONDS)
    file.seek(0)


def times(*columns: str) -> list[polars.Expr]:
    """Columns of epoch milliseconds as times."""
    import polars

    return [polars.col(column).cast(polars.Datetime("ms", "UTC")) for column in columns]


def trades(stored: polars.DataFrame) -> polars.DataFrame:
    """The trades of a result, with the columns of `Trade`, from those that are stored."""
    import polars

    side = polars.when(polars.col("side") > 0).then(polars.lit("long")).otherwise(polars.lit("short")).alias("side")
    held = (polars.col("exit_index") - polars.col("entry_index")).alias("bars_held")
    return stored.with_columns(*times("entry_time", "exit_time"), side, held).select(bt.Trade.__struct_fields__)


def read(store: Artifacts, name: str) -> polars.DataFrame:
    """A file of a result.

    Raises:
        Conflict: it is lost.
    """
    import polars

    try:
        return polars.read_parquet(store.read(name))
    except ArtifactLost as error:
        raise Conflict(f"a file of this result {error}", where="result", hint="run it again", code="result_lost") from error
