"""CSV: the header, separator, decimal mark and kind of times are detected in the first lines; polars reads the rest."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import msgspec

from python_core.data.columns import COLUMNS
from python_core.errors import BarsError, FileError
from python_core.files import headers
from python_core.files.cells import numbers
from python_core.files.cells.numbers import BLANKS, NumberStyle
from python_core.files.cells.raw_table import CUT, RawTable
from python_core.files.cells.timestamps import NUMBER
from python_core.files.formats.csv_layout import UNKNOWN_HINT, Layout, find_layout, layout_without_header, split_cells
from python_core.files.options import Decimal, ReadOptions, option

if TYPE_CHECKING:
    import polars

# No line of bars is this long, and polars takes minutes for one of gigabytes.
MAX_LINE_BYTES: Final = 1 << 16
# Read at a time: enough to keep all cores busy, and little memory.
BLOCK_BYTES: Final = 16 << 20
SAMPLE_LINES: Final = 200
# A line of bars has more bytes than this, and a block of many shorter ones is mostly blank.
SHORTEST_LINE: Final = 8
MAX_BLANK_LINES: Final = 100_000
# Words of a time, as in `Nov 01, 2024 08:00 PM`.
MAX_TIME_WORDS: Final = 6
# Lines of text that may follow the last row, such as a total or a note about the source.
FOOTER_LINES: Final = 10


def read_blocks(
    name: str, file: BinaryIO, options: ReadOptions, *, compression: str = "", columns: Sequence[str] = COLUMNS
) -> Iterator[RawTable]:
    """The given columns of a CSV file, in blocks of tens of thousands of lines; `file` is at its first byte."""
    head = file.read(MAX_LINE_BYTES)
    end = "\r" if b"\n" not in head and b"\r" in head else "\n"
    rest = file.read(BLOCK_BYTES)
    dialect = _detect(name, head, end, options, complete=not rest, compression=compression, columns=columns)
    line, at = 1, 0
    blocks = lines_of(file, head + rest, end.encode(), name)
    block = next(blocks)
    while True:
        following = next(blocks, None)
        left_out: tuple[int, ...] = ()
        _check_blank_lines(block, end.encode(), name)
        if following is None:
            block, left_out = dialect.without_footer(block, line)
        lines = count_lines(block, end.encode())
        yield dialect.read(block, line, at, lines, left_out)
        if following is None:
            return
        line, at, block = line + lines, at + len(block), following


def lines_of(file: BinaryIO, begun: bytes, end: bytes, name: str) -> Iterator[bytes]:
    """A text in blocks of complete lines; `begun` is the part that was already read."""
    rest = begun
    while more := file.read(BLOCK_BYTES):
        if not (cut := rest.rfind(end) + 1):
            raise _endless_line(name, 0)
        yield rest[:cut]
        rest = rest[cut:] + more
    yield rest


class _Dialect(msgspec.Struct, kw_only=True):
    """How the blocks of a file are parsed."""

    name: str
    layout: Layout
    end: str
    width: int
    epoch: bool
    numbers: NumberStyle
    is_open: bool
    """Whether no cell so far has told the decimal mark from thousands."""
    decimal: Decimal | None
    is_wide: bool
    """Whether neither the file nor the caller names the columns, and rows have more cells than these."""
    quoted: bool
    compression: str
    header: bool
    columns: Sequence[str]

    def without_footer(self, block: bytes, line: int) -> tuple[bytes, tuple[int, ...]]:
        """The last block of a file, which begins in `line`, without blank lines and lines of text at its end, and the numbers of the latter."""
        end = self.end.encode()
        stop, number = len(block), line + count_lines(block, end) - 1
        left_out: list[int] = []
        while number >= (line + self.layout.start if line == 1 else line) and len(left_out) < FOOTER_LINES:
            begin = block.rfind(end, 0, stop - len(end) if block.endswith(end, 0, stop) else stop) + 1
            cells = split_cells(block[begin:stop].decode("utf-8", "replace").strip(), self.layout.separator)
            if any(cell.strip() for cell in cells):
                if not self._is_text(cells):
                    break
                left_out.append(number)
            stop, number = begin, number - 1
        return block[:stop], tuple(reversed(left_out))

    def _is_text(self, cells: Sequence[str]) -> bool:
        """Whether the cells of a line are no row: a comment, or without a digit where a time and prices should be."""
        if cells[0].lstrip().startswith(("#", "//")):
            return True

        def has_digit(column: str) -> bool:
            place = self.layout.positions[column]
            return place < len(cells) and any(character.isdigit() for character in cells[place])

        if any(has_digit(column) for column in self.columns[1:] if column != "volume" and column in self.layout.positions):
            return False
        # A row that was cut in its time is no text: that has more words.
        return not has_digit("time") or (len(cells[0].split()) > MAX_TIME_WORDS and cells[0].lstrip()[:1].isalpha())

    def _settle_decimal_mark(self, frame: polars.DataFrame, first: int) -> None:
        """Tell the decimal mark by the cells of a block, if they have marks."""
        import polars

        texts = [name for name in self.columns[1:] if name in frame.columns and frame[name].dtype == polars.String]
        if not (cells := numbers.marked_cells(frame, texts, first)):
            return
        style = numbers.detect(cells, self.layout.separator, self.decimal, self.name)
        if style is None:
            raise numbers.ambiguous(cells, self.name)
        self.numbers, self.is_open = msgspec.structs.replace(style, plain=False), not style.certain

    def _mark_cut_lines(self, frame: polars.DataFrame, block: bytes, skipped: int) -> polars.DataFrame:
        """Mark the volume in lines that end before it: an empty cell is no volume, a line that was cut is an error."""
        import polars

        if "volume" not in frame.columns or self.quoted or not frame["volume"].null_count():
            return frame
        lines, separator = block.split(self.end.encode()), self.layout.separator.encode()
        place = self.layout.positions["volume"]
        empty = frame["volume"].is_null().arg_true().to_list()
        cut = [row for row in empty if lines[row + skipped].strip() and lines[row + skipped].count(separator) < place]
        if not cut:
            return frame
        return frame.with_columns(volume=frame["volume"].cast(polars.String).scatter(cut, [CUT] * len(cut)))

    def read(self, block: bytes, line: int, at: int, lines: int, left_out: tuple[int, ...] = ()) -> RawTable:
        """The cells of a block that starts at byte `at` of the file, in line `line`."""
        _check_text(self.name, block, self.end.encode(), at)
        layout = self.layout
        skipped = layout.start if line == 1 else 0
        options: dict[str, Any] = {
            "has_header": False,
            "skip_lines": skipped,
            "separator": layout.separator,
            "eol_char": self.end,
            "quote_char": '"' if self.quoted else None,
            "decimal_comma": self.numbers.decimal == "," and self.numbers.plain,
            "encoding": "utf8-lossy",
            "missing_columns": "insert",
            "n_rows": lines,
            "glob": False,
        }
        with headers.translate_errors(self.name, "readable CSV"):
            import polars

            try:
                # polars takes a dot for a decimal mark, too.
                is_plain = self.numbers.plain and not (b"." in block and (self.is_open or self.numbers.decimal == ","))
                frame = _frame(block, layout, self.width, self.epoch if is_plain else None, options)
                # Read as text, invalid cells can be shown in messages, and numbers in blanks or quotes be parsed.
                if is_plain and sum(frame.null_count().row(0)):
                    frame = _frame(block, layout, self.width, None, options)
            except polars.exceptions.NoDataError:
                frame = polars.DataFrame(schema=dict.fromkeys(layout.positions, polars.String))
            except polars.exceptions.ComputeError as error:
                if "more fields" in str(error) and (wide := _wide_line(block, skipped, layout.separator, self.width)):
                    raise _too_wide(self.name, line - 1 + wide, len(layout.titles)) from None
                raise
        if self.quoted and len(frame) != lines - skipped:
            what = f"{lines - skipped:,} lines hold {len(frame):,} rows"
            raise FileError(what, where=self.name, hint="close each quote in the line where it opens", code="unclosed_quote")
        if self.is_open:
            self._settle_decimal_mark(frame, line + skipped)
        frame = self._mark_cut_lines(frame, block, skipped)
        return RawTable(
            frame=frame,
            names={column: layout.titles[position] or column for column, position in layout.positions.items()},
            file=self.name,
            unit="line",
            first=line + skipped,
            format="csv",
            compression=self.compression,
            separator=layout.separator,
            numbers=self.numbers,
            header=self.header,
            wide=self.is_wide,
            traits=layout.traits,
            left_out=left_out,
        )


def _detect(
    name: str, head: bytes, end: str, options: ReadOptions, *, complete: bool, compression: str, columns: Sequence[str]
) -> _Dialect:
    """Detect the dialect from the first lines, which are the `complete` file or end in the middle of a line."""
    _check_text(name, head, end.encode(), 0)
    if options.header and isinstance(options.columns, tuple) and options.columns:
        hint = f"give titles, such as {option('columns', {'close': 'Adj Close'})}, or {option('header', False)} if line 1 holds values"
        raise FileError("names in order are for a file without a header", where="columns", hint=hint)
    lines = [line.rstrip("\r") for line in head.decode("utf-8-sig", "replace").split(end)]
    if not complete:
        lines.pop()
    layout = find_layout(name, lines, columns, options) if options.header else layout_without_header(name, lines, columns, options)
    sampled = lines[layout.start : layout.start + SAMPLE_LINES]
    sample = [split_cells(line, layout.separator) for line in sampled]
    titles, positions = layout.titles, layout.positions
    for number, row in enumerate(sample, layout.start + 1):
        if any(cell.strip() for cell in row[len(titles) :]) and any(map(str.isdigit, "".join(row[: len(titles)]))):
            raise _too_wide(name, number, len(titles))
    places = [positions[column] for column in columns[1:] if column in positions]
    style = numbers.detect(_cells_at(sample, places, layout.start + 1), layout.separator, options.decimal, name)
    times = [cell.strip(BLANKS) for _, cell in _cells_at(sample, [positions["time"]], 0) if cell.strip()]
    return _Dialect(
        name=name,
        layout=layout,
        end=end,
        # Empty cells may follow the named ones if each line ends in a separator.
        width=max([len(titles), *map(len, sample)]),
        epoch="clock" not in positions and all(NUMBER.fullmatch(cell) for cell in times),
        numbers=style or NumberStyle(plain=False, certain=False),
        is_open=style is None or not (style.certain or layout.separator == ","),
        decimal=options.decimal,
        is_wide=not (options.header or options.columns) and len(titles) > len(positions),
        # If not, quotes are stripped like blanks: an unclosed one would swallow the rest of the file.
        quoted=any(line.count(layout.separator) >= len(row) > 0 for line, row in zip(sampled, sample, strict=True)),
        compression=compression,
        header=options.header,
        columns=columns,
    )


def _cells_at(rows: Iterable[Sequence[str]], places: Sequence[int], first: int) -> Iterator[tuple[int, str]]:
    """The cells at some places of each row, each with its line."""
    for number, row in enumerate(rows, first):
        for place in places:
            if place < len(row):
                yield number, row[place]


def _frame(block: bytes, layout: Layout, width: int, epoch: bool | None, options: dict[str, Any]) -> polars.DataFrame:
    """The columns: numbers as floats, and times as integers if `epoch`; all as text if it is None."""
    import polars

    sources = {column: f"column_{position + 1}" for column, position in layout.positions.items()}
    schema: dict[str, Any] = {f"column_{i + 1}": polars.String for i in range(width)}
    if epoch is not None:
        schema |= {source: polars.Float64 for column, source in sources.items() if column not in ("time", "clock", "symbol", "interval")}
    if epoch:
        schema[sources["time"]] = polars.Int64
    wanted = list(dict.fromkeys(sources.values()))
    frame = polars.read_csv(block, schema=schema, columns=wanted, ignore_errors=epoch is not None, **options)
    return frame.select(polars.col(title).alias(column) for column, title in sources.items())


def _check_text(name: str, data: bytes, end: bytes, base: int) -> None:
    if (at := data.find(b"\0")) >= 0:
        what = f"byte {base + at:,} is zero: the file is binary, or part of it was never written"
        raise FileError(what, where=name, hint=UNKNOWN_HINT, code="unknown_format")
    for at in range(0, len(data) - MAX_LINE_BYTES, MAX_LINE_BYTES):
        if data.find(end, at, at + MAX_LINE_BYTES) < 0:
            raise _endless_line(name, base + at)


def _check_blank_lines(block: bytes, end: bytes, name: str) -> None:
    lines = count_lines(block, end)
    if lines > MAX_BLANK_LINES and lines * SHORTEST_LINE > len(block):
        what = f"{lines:,} lines in {len(block):,} bytes: most are blank"
        raise FileError(what, where=name, hint="use a file without blank lines", code="unknown_format")


def _endless_line(name: str, at: int) -> FileError:
    what = f"no line ends within {MAX_LINE_BYTES:,} bytes of byte {at:,}"
    return FileError(what, where=name, hint=UNKNOWN_HINT, code="unknown_format")


def count_lines(data: bytes, end: bytes) -> int:
    """Number of lines, counting a last one without a line end."""
    return data.count(end) + (not data.endswith(end))


def _wide_line(data: bytes, skipped: int, separator: str, width: int) -> int:
    """Number of the first line with more than `width` cells; 0 if none is found."""
    lines = enumerate(io.BytesIO(data), 1)
    return next((number for number, line in lines if number > skipped and line.count(separator.encode()) >= width), 0)


def _too_wide(name: str, line: int, expected: int) -> BarsError:
    place = f"{name}, line {line}" if name else f"line {line}"
    return BarsError("more cells than the header has names", where=place, hint=f"each line must have {expected} cells", code="ragged_line")
