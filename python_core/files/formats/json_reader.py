"""JSON: one object on each line, read block by block; or one document with the rows as arrays, as objects or as a list for each column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import msgspec

from python_core.data.columns import COLUMNS
from python_core.errors import BarsError, FileError
from python_core.files import headers
from python_core.files.cells import numbers
from python_core.files.cells.numbers import NumberStyle
from python_core.files.cells.raw_table import RawTable
from python_core.files.formats.csv_reader import MAX_LINE_BYTES, count_lines, lines_of
from python_core.files.headers import Columns
from python_core.files.options import DEFAULT, ReadOptions, option

if TYPE_CHECKING:
    import polars

# A document is parsed in memory as a whole, which takes some ten times its size.
MAX_DOCUMENT_BYTES: Final = 1 << 30
SAMPLE_ROWS: Final = 200
_LINES_HINT: Final = "use JSON with an array of rows, one object on each line, CSV, Parquet or Arrow"


def read_blocks(
    name: str, file: BinaryIO, options: ReadOptions, *, compression: str = "", columns: Sequence[str] = COLUMNS
) -> Iterator[RawTable]:
    """The given columns of lines, in blocks of tens of thousands of them, or of a document; `file` is at its first byte."""
    head = file.read(MAX_LINE_BYTES).removeprefix(b"\xef\xbb\xbf").lstrip()
    first = _object(head.split(b"\n", 1)[0])
    if first is None or any(isinstance(value, list | dict) for value in first.values()):
        yield _document(name, head, file, options, compression, columns)
        return
    titles = list(first)
    found = headers.find(titles, columns, options)
    headers.check(titles, found, name, columns, options)
    positions = found.positions | headers.day_and_clock(titles, list(map(_text, first.values())), options)
    names = {column: titles[position] for column, position in positions.items()}
    style = _style([(1, str(first[title])) for column, title in names.items() if column in columns[1:]], options, name)
    line = 1
    for block in lines_of(file, head, b"\n", name):
        with headers.translate_errors(name, "readable JSON lines"):
            frame = _frame(block, names, first, line, name)
        yield RawTable(
            frame=frame,
            names=names,
            file=name,
            unit="line",
            first=line,
            format="json lines",
            compression=compression,
            numbers=style,
            traits=found.traits,
        )
        line += count_lines(block, b"\n")


def _document(name: str, head: bytes, file: BinaryIO, options: ReadOptions, compression: str, columns: Sequence[str]) -> RawTable:
    """The rows of a JSON document."""
    data = head + file.read(MAX_DOCUMENT_BYTES + 1 - len(head))
    if len(data) > MAX_DOCUMENT_BYTES:
        hint = "use JSON lines (one object on each line), CSV or Parquet"
        raise FileError(f"a JSON document of more than {MAX_DOCUMENT_BYTES:,} bytes", where=name, hint=hint, code="file_too_large")
    try:
        document = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FileError(f"not readable JSON ({error})", where=name, hint=_LINES_HINT, code="unknown_format") from None
    tables = list(_tables(document))
    if len(tables) != 1:
        what = (
            "no array of rows"
            if not tables
            else f"{len(tables)} arrays of rows: {', '.join(path or 'the document' for path, _ in tables[:4])}"
        )
        raise FileError(f"the JSON document has {what}", where=name, hint=_LINES_HINT, code="unknown_format")
    rows = tables[0][1]
    if isinstance(rows, dict):
        titles, cells = list(rows), rows
    elif isinstance(rows[0], dict):
        titles = list(dict.fromkeys(title for row in rows[:SAMPLE_ROWS] for title in row))
        cells = {title: [row.get(title) if isinstance(row, dict) else None for row in rows] for title in titles}
    else:
        return _arrays(name, rows, options, compression, columns)
    found = headers.find(titles, columns, options)
    headers.check(titles, found, name, columns, options)
    positions = found.positions | headers.day_and_clock(titles, [_text(cells[title][0]) for title in titles], options)
    return _table(name, {column: titles[position] for column, position in positions.items()}, cells, found, options, compression, columns)


def _arrays(name: str, rows: list[Any], options: ReadOptions, compression: str, columns: Sequence[str]) -> RawTable:
    """The table of rows that are arrays, whose first cells are the columns in order unless `columns` names others."""
    titles = list(options.columns) if isinstance(options.columns, tuple) and options.columns else list(columns)
    if any(column not in titles and column != "volume" for column in columns):
        hint = f"name them with {option('columns', ','.join(columns))}"
        raise BarsError(f"no column {', '.join(c for c in columns if c not in titles)}", where=name, hint=hint, code="missing_column")
    width = len(titles) - (titles[-1] == "volume")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, list) or len(row) < width:
            text = msgspec.json.encode(row).decode()
            place = f"{name}, row {number}" if name else f"row {number}"
            hint = f"each row must have {', '.join(titles)}"
            raise BarsError(f"{text:.60} is not a row of {width} cells or more", where=place, hint=hint, code="ragged_line")
    cells = {title: [row[i] if i < len(row) else None for row in rows] for i, title in enumerate(titles) if title and title != "-"}
    names = {{"date": "time"}.get(title, title): title for title in cells}
    made = _table(name, names, cells, Columns({}), options, compression, columns)
    return msgspec.structs.replace(made, wide=not options.columns and len(rows[0]) > len(titles))


def _table(
    name: str,
    names: dict[str, str],
    cells: dict[str, list[Any]],
    found: Columns,
    options: ReadOptions,
    compression: str,
    columns: Sequence[str],
) -> RawTable:
    import polars

    if len({len(cells[title]) for title in names.values()}) > 1:
        lengths = ", ".join(f"{title} {len(cells[title]):,}" for title in names.values())
        raise BarsError(f"the columns differ in length: {lengths}", where=name, hint="give each column as many values", code="ragged_line")
    frame = polars.DataFrame({column: _series(cells[title]) for column, title in names.items()})
    sample = [
        (1, str(cell)) for column in columns[1:] if column in names for cell in cells[names[column]][:SAMPLE_ROWS] if isinstance(cell, str)
    ]
    return RawTable(
        frame=frame,
        names=names,
        file=name,
        unit="row",
        first=1,
        format="json",
        compression=compression,
        numbers=_style(sample, options, name),
        traits=found.traits,
    )


def _series(values: list[Any]) -> polars.Series:
    """Values as integers or floats if all are, else as text."""
    import polars

    kinds = {type(value) for value in values} - {type(None)}
    if kinds <= {int}:
        try:
            return polars.Series(values, dtype=polars.Int64)
        except (OverflowError, TypeError):
            pass
    if kinds <= {int, float}:
        return polars.Series(values, dtype=polars.Float64, strict=False)
    texts = [None if value is None else _text(value) for value in values]
    return polars.Series(texts, dtype=polars.String)


def _style(sample: list[tuple[int, str]], options: ReadOptions, name: str) -> NumberStyle:
    style = numbers.detect(sample, "", options.decimal, name)
    if style is None:
        raise numbers.ambiguous(sample, name)
    return style


def _tables(value: Any, path: str = "", depth: int = 3) -> Iterator[tuple[str, Any]]:
    """The arrays of rows within a JSON document, with where they are; an object with a list for each column counts as one."""
    if isinstance(value, list):
        if value and isinstance(value[0], list | dict):
            yield path, value
    elif isinstance(value, dict) and depth:
        lists = {key: item for key, item in value.items() if isinstance(item, list) and item and not isinstance(item[0], list | dict)}
        if not headers.find(list(lists), COLUMNS, DEFAULT).missing(COLUMNS):
            yield path, lists
            return
        for key, item in value.items():
            yield from _tables(item, f"{path}.{key}" if path else key, depth - 1)


def _frame(block: bytes, names: dict[str, str], first: dict[str, Any], line: int, name: str) -> polars.DataFrame:
    import polars

    texts = [title for title in names.values() if isinstance(first[title], str)]
    kinds: dict[str, Any] = {title: polars.String if title in texts else polars.Float64 for title in names.values()}
    kinds |= {names[column]: polars.Int64 for column in ("time", "clock") if column in names and isinstance(first[names[column]], int)}
    try:
        frame = polars.read_ndjson(block, schema=kinds)
        # polars skips blank lines, which would shift the line numbers.
        if len(frame) == count_lines(block, b"\n"):
            return frame.select(polars.col(title).alias(column) for column, title in names.items())
    except polars.exceptions.PolarsError:
        pass
    return _parse_lines(block, names, line, name)


def _parse_lines(block: bytes, names: dict[str, str], line: int, name: str) -> polars.DataFrame:
    """The cells as text, for lines that differ in form; BarsError names a line that is not an object."""
    import polars

    cells: dict[str, list[str | None]] = {column: [] for column in names}
    for number, text in enumerate(block.split(b"\n")[: count_lines(block, b"\n")], line):
        values = _object(text) if text.strip() else {}
        if values is None:
            place = f"{name}, line {number}" if name else f"line {number}"
            raise BarsError(
                f"{text[:40].decode(errors='replace')!r} is not a JSON object",
                where=place,
                hint="put one object on each line",
                code="ragged_line",
            )
        for column, title in names.items():
            value = values.get(title)
            cells[column].append(None if value is None else _text(value))
    return polars.DataFrame(cells, schema=dict.fromkeys(names, polars.String))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
