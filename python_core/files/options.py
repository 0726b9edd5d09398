"""How a file is to be read, and how hints name these options to who is asking."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Final, Literal, TypedDict, get_args

import msgspec

from python_core.data import timeframes
from python_core.data.columns import COLUMNS
from python_core.data.epoch import Moment, to_epoch_ms
from python_core.errors import FileError

Policy = Literal["reject", "drop", "repair"]
Stamp = Literal["open", "close"]
Decimal = Literal[".", ","]
Asker = Literal["python", "command line", "http"]

# In whose words `option` names an option. Set by the command line and by the API.
asker: ContextVar[Asker] = ContextVar("asker", default="python")

# 1980-01-01: numbers that were misread as times are mostly earlier.
EARLIEST_MS: Final = 315_532_800_000
# What `columns` may name, besides the columns of bars: a day and a time of the day in two columns, and the instrument of each row.
SPECIAL: Final = ("date", "clock", "symbol")


class ReadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a file is read; `python_core.read_bars` documents each option."""

    timezone: str | None = None
    stamp: Stamp = "open"
    decimal: Decimal | None = None
    day_first: bool | None = None
    header: bool = True
    columns: dict[str, str] | tuple[str, ...] = ()
    timeframe: str | int | None = None
    symbol: str = ""
    policy: Policy = "reject"
    earliest_ms: int = EARLIEST_MS


DEFAULT: Final = ReadOptions()


class Keywords(TypedDict, total=False):
    """The options of `read_bars` as keywords."""

    timezone: str | None
    stamp: str
    decimal: str | None
    day_first: bool | None
    header: bool
    columns: Mapping[str, str] | Sequence[str] | str | None
    timeframe: str | int | None
    symbol: str
    policy: str
    earliest: Moment


def read_options(
    *,
    timezone: str | None = None,
    stamp: str = "open",
    decimal: str | None = None,
    day_first: bool | None = None,
    header: bool = True,
    columns: Mapping[str, str] | Sequence[str] | str | None = None,
    timeframe: str | int | None = None,
    symbol: str = "",
    policy: str = "reject",
    earliest: Moment = EARLIEST_MS,
) -> ReadOptions:
    """Options that have been checked.

    Raises:
        FileError: an unknown value; names the option and what would be right.
        BarstormError: an unknown timeframe, or `earliest` is not a time.
    """
    expected: tuple[tuple[str, Any, tuple[type, ...]], ...] = (
        ("timezone", timezone, (str, type(None))),
        ("header", header, (bool,)),
        ("day_first", day_first, (bool, type(None))),
        ("symbol", symbol, (str,)),
        ("columns", columns, (str, Mapping, list, tuple, type(None))),
    )
    for name, value, types in expected:
        if not isinstance(value, types):
            raise FileError(
                f"{value!r:.40} is not {types[0].__name__}", where=name, hint=f"use {' or '.join(one.__name__ for one in types)}"
            )
    for name, value, choices in (("policy", policy, Policy), ("stamp", stamp, Stamp), ("decimal", decimal, Decimal)):
        if value not in (allowed := get_args(choices)) and value is not None:
            raise FileError(f"unknown {name} {value!r:.40}", where=name, hint=f"use {', '.join(allowed[:-1])} or {allowed[-1]}")
    if timeframe is not None:
        timeframes.parse(timeframe)
    return ReadOptions(
        timezone=_timezone(timezone) if timezone else None,
        stamp=stamp,  # type: ignore[arg-type]
        decimal=decimal,  # type: ignore[arg-type]
        day_first=day_first,
        header=header,
        columns=_columns(columns, header),
        timeframe=timeframe,
        symbol=symbol,
        policy=policy,  # type: ignore[arg-type]
        earliest_ms=to_epoch_ms(earliest, "earliest"),
    )


def option(name: str, value: Any = None) -> str:
    """An option with a value as who is asking writes it: `timezone="EST"`, `--timezone EST` or `?timezone=EST`; without a value the name."""
    speaker = asker.get()
    if speaker == "python":
        return name if value is None else f"{name}={value!r}"
    if speaker == "http":
        text = str(value).lower() if isinstance(value, bool) else _pairs(value)
        return f"?{name}=" if value is None else f"?{name}={text}"
    flag = f"--{name.replace('_', '-')}"
    if value is True or value is None:
        return flag
    if value is False:
        return f"--no-{name.replace('_', '-')}"
    text = _pairs(value)
    return f'{flag} "{text}"' if " " in text else f"{flag} {text}"


def _pairs(value: Any) -> str:
    return ",".join(f"{name}={title}" for name, title in value.items()) if isinstance(value, dict) else str(value)


def _timezone(name: str) -> str:
    import polars

    try:
        polars.Series([], dtype=polars.Datetime("us")).dt.replace_time_zone(name)
    except Exception as error:
        from zoneinfo import available_timezones

        # Abbreviations resemble others of other hours.
        near = difflib.get_close_matches(name, available_timezones(), 1) if "/" in name else []
        hint = "use a name such as America/New_York or Europe/London, or hours such as +02:00" + (
            f"; did you mean {near[0]}?" if near else ""
        )
        raise FileError(f"unknown time zone {name!r:.60}", where="timezone", hint=hint) from error
    return name


def _columns(columns: Mapping[str, str] | Sequence[str] | str | None, header: bool) -> dict[str, str] | tuple[str, ...]:
    """`columns` as a mapping from our names to titles, or as names in order for a file without a header."""
    if isinstance(columns, str) and columns:
        parts = [part.strip() for part in columns.split(",")]
        columns = dict(part.split("=", 1) for part in parts) if all("=" in part for part in parts) else parts
    if not columns:
        return ()
    known = (*COLUMNS, *SPECIAL)
    example = f"{', '.join(COLUMNS)} or {', '.join(SPECIAL)}"
    if isinstance(columns, Mapping):
        if not header:
            hint = f"give the names in order, such as {option('columns', 'time,open,high,low,close,volume')}"
            raise FileError("a file without a header has no names to choose from", where="columns", hint=hint)
        if unknown := [name for name in columns if name not in known and name != "rate"]:
            raise FileError(f"unknown column {unknown[0]!r:.40}", where="columns", hint=f"choose the titles of {example}")
        return {str(name): str(title) for name, title in columns.items()}
    names = tuple(str(name) for name in columns)
    if twice := [name for name in names if names.count(name) > 1 and name not in ("", "-")]:
        raise FileError(f"two columns are named {twice[0]}", where="columns", hint="name each column once, and - for one to leave out")
    if unknown := [name for name in names if name not in known and name not in ("", "-")]:
        raise FileError(f"unknown column {unknown[0]!r:.40}", where="columns", hint=f"name {example}, and - for a column to leave out")
    return names
