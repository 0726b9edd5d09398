"""Parses numbers as people and programs write them: decimal marks, thousands, currencies, percent and 1.2M."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import msgspec

from python_core.errors import BarsError
from python_core.files.options import Decimal, option

if TYPE_CHECKING:
    import polars

_CURRENCIES: Final = "$€£¥₿"
# Around the values of cells.
BLANKS: Final = " \t\r\"'"
# Thousands are separated by the mark that is not the decimal mark, or by any of these.
_OTHER_THOUSANDS: Final = "'\u2019_ \u00a0\u202f"
_EXPONENTS: Final = {"k": 3, "m": 6, "b": 9, "t": 12}
# A quote is of thousands in Switzerland, and of 32nds in bonds.
_GROUP: Final = re.compile(r"\d{1,3}[.,']\d{3}")
_GROUP_ALONE: Final = r"^[^0-9]*[1-9]\d{0,2}[.,']\d{3}[^0-9]*$"
SEPARATORS_BESIDE_COMMAS: Final = (";", "\t", "|")
_PLAIN: Final = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")


class NumberStyle(msgspec.Struct, frozen=True):
    """How the numbers of a file are written."""

    decimal: Decimal = "."
    plain: bool = True
    """Whether numbers have neither thousands nor a currency or a unit, so that a reader of CSV can parse them."""
    certain: bool = True
    """Whether the decimal mark was given or seen, so that the other mark separates thousands."""


def detect(cells: Iterable[tuple[int, str]], separator: str, given: Decimal | None, file: str) -> NumberStyle | None:
    """The style of some cells, each with its line; None if all that tells the decimal mark from thousands could be either.

    Raises:
        BarsError: the cells contradict each other.
    """
    proofs: dict[str, tuple[int, str]] = {}
    unclear: dict[str, tuple[int, str]] = {}
    plain = True
    for line, cell in cells:
        text = cell.strip(BLANKS + _CURRENCIES + "%")
        if not text or not (text[0].isdigit() or text[0] in "+-.,"):
            continue
        body = text.lstrip("+-").rstrip("kKmMbBtT " + BLANKS)
        proof = _decimal_mark(body)
        mark = next((mark for mark in ".,'" if mark in body), "")
        is_unclear = mark and not proof and _GROUP.fullmatch(body) is not None
        if proof:
            proofs.setdefault(proof, (line, cell))
        elif is_unclear:
            unclear.setdefault(mark, (line, cell))
        # A cell that is not a number is reported later, with its line.
        plain &= _PLAIN.fullmatch(cell.strip(BLANKS)) is not None or not (proof or is_unclear or body.replace(" ", "").isdigit())
    if given is not None:
        return NumberStyle(given, plain and not unclear.keys() - {given})
    if len(proofs) == 2:
        (dot_line, dot), (comma_line, comma) = proofs["."], proofs[","]
        raise BarsError(
            f"line {dot_line} has {dot.strip()!r} and line {comma_line} {comma.strip()!r}: is the decimal mark a dot or a comma?",
            where=file or "decimal",
            hint=f"set {option('decimal', '.')} or {option('decimal', ',')}",
            code="ambiguous_number",
        )
    if proofs:
        mark = next(iter(proofs))
        return NumberStyle(mark, plain and not unclear.keys() - {mark})  # type: ignore[arg-type]
    # A file with decimal commas has another separator.
    if not unclear or (unclear.keys() == {"."} and separator not in SEPARATORS_BESIDE_COMMAS):
        return NumberStyle(".", plain, certain=bool(unclear))
    return None


def ambiguous(cells: Iterable[tuple[int, str]], file: str) -> BarsError:
    """The error that the first of these cells with a mark can be read in two ways."""
    line, cell = next((line, cell.strip(BLANKS)) for line, cell in cells if any(mark in cell for mark in ".,'"))
    if "'" in cell:
        return BarsError(
            f"{cell!r} may have thousands or 32nds",
            where=f"{file}, line {line}" if file else f"line {line}",
            hint=f"set {option('decimal', '.')} if they are thousands",
            code="ambiguous_number",
        )
    mark = "." if "." in cell else ","
    thousands, decimal = cell.replace(mark, ""), cell.replace(mark, ".")
    return BarsError(
        f"{cell!r} may be {thousands} or {decimal}: every {'dot' if mark == '.' else 'comma'} is followed by three digits",
        where=f"{file}, line {line}" if file else f"line {line}",
        hint=f"set {option('decimal', mark)} to read {decimal}, or {option('decimal', ',' if mark == '.' else '.')} to read {thousands}",
        code="ambiguous_number",
    )


def marked_cells(frame: polars.DataFrame, columns: Iterable[str], first: int) -> list[tuple[int, str]]:
    """Cells with a mark, each with its line: some that can be read in one way only, or else one that can be read in two."""
    cells = []
    for name in columns:
        text = frame[name]
        marked = text.str.contains("[.,']").fill_null(False)
        decisive = (marked & ~text.str.contains(_GROUP_ALONE).fill_null(False)).arg_true().head(50)
        rows = (decisive if len(decisive) else marked.arg_true().head(1)).to_list()
        cells += [(first + row, str(text[row])) for row in rows]
    return cells


def _decimal_mark(text: str) -> str:
    """The decimal mark, if the text can be read as a number in one way only."""
    for mark, other in (".,", ",."):
        whole, found, part = text.rpartition(mark)
        is_grouped = re.fullmatch(rf"\d{{1,3}}({re.escape(other)}\d{{3}})+", whole) is not None
        if found and is_grouped and part.isdigit():
            return mark
        if re.fullmatch(rf"\d{{1,3}}({re.escape(other)}\d{{3}}){{2,}}", text):
            return mark
        if (
            found
            and other not in text
            and mark not in whole
            and not (len(part) == 3 and part.isdigit() and re.fullmatch(r"[1-9]\d{0,2}", whole))
        ):
            return mark
    return ""


def parse(cells: polars.Series, style: NumberStyle) -> polars.Series:
    """Texts as floats; null where a cell is not a number."""
    import polars

    text = cells.str.strip_chars(BLANKS)
    if style.decimal == ".":
        plain = text.cast(polars.Float64, strict=False)
        if plain.null_count() == text.null_count():
            return plain
    mark, other = re.escape(style.decimal), re.escape("," if style.decimal == "." else ".")
    group = f"[{other if style.certain else ''}{_OTHER_THOUSANDS}]"
    exponents = "".join(_EXPONENTS)
    pattern = (
        rf"^[{_CURRENCIES}]? ?(?<sign>[+-]?)[{_CURRENCIES}]?(?<whole>\d{{1,3}}(?:{group}\d{{3}})+|\d*)(?:{mark}(?<part>\d*))?"
        rf"(?<exponent>[eE][+-]?\d+)? ?(?<unit>[{exponents}{exponents.upper()}%]?) ?[{_CURRENCIES}]?$"
    )
    groups = polars.DataFrame({"text": text}).select(polars.col("text").str.extract_groups(pattern)).unnest("text")
    unit = groups["unit"].str.to_lowercase()
    power = {name: f"e{exponent}" for name, exponent in _EXPONENTS.items()} | {"%": "e-2", "": ""}
    number = polars.concat_str(
        polars.col("sign"),
        polars.col("whole").str.replace_all("[^0-9]", ""),
        polars.lit("."),
        polars.col("part").fill_null(""),
        polars.when(polars.col("unit") == "").then(polars.col("exponent").fill_null("")).otherwise(polars.col("power")),
    )
    written = groups.with_columns(power=unit.replace_strict(power, default=None)).select(number.alias("number"))["number"]
    parsed = written.cast(polars.Float64, strict=False)
    words = text.cast(polars.Float64, strict=False)
    # Such as NaN and inf, which the message then names.
    return polars.select(polars.coalesce(parsed, polars.when(words.is_finite()).then(None).otherwise(words))).to_series()
