"""How the columns of a file are found by name."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec

from python_core.data.columns import COLUMNS
from python_core.errors import BarsError, BarstormError, FileError
from python_core.files.cells.dates import looks_like_clock, looks_like_day
from python_core.files.cells.raw_table import Traits
from python_core.files.options import ReadOptions, option

MAX_ROWS: Final = 50_000_000

# Names of columns, in lower case and without punctuation. Of several, the first in this order is used: an open time before other times, and a
# number before a text.
NAMES: Final[dict[str, tuple[str, ...]]] = {
    "time": (
        "opentime", "timeopen", "opentimestamp", "starttime", "starttimestamp", "start", "begin", "windowstart", "tsevent", "openat", "timestamp", "unix", "unixtime", "epoch", "time", "datetime", "date",
        "ts", "t", "gmttime", "localtime", "timeutc", "dateutc", "utctime", "utc", "candlebegintime", "startat", "calctime", "fundingtime",
        "fundingratetimestamp", "index", "indexlevel0", "unnamed0", "day", "日期", "时间", "交易日期", "交易时间", "开盘时间", "datum", "fecha", "data", "дата", "",
    ),
    "date": ("date", "day", "tradingday", "dtyyyymmdd", "日期", "交易日期", "datum", "fecha", "дата"),
    "clock": ("time", "clock", "时间", "交易时间", "zeit", "uhrzeit", "hora", "время"),
    "open": ("open", "openprice", "o", "first", "开盘", "开盘价", "eröffnung", "eröffn", "apertura", "abertura", "ouv", "ouverture", "otwarcie", "открытие"),
    "high": ("high", "highprice", "max", "h", "最高", "最高价", "hoch", "máximo", "máxima", "massimo", "plushaut", "najwyzszy", "максимум"),
    "low": ("low", "lowprice", "min", "l", "最低", "最低价", "tief", "mínimo", "mínima", "minimo", "plusbas", "najnizszy", "минимум"),
    "close": ("close", "closeprice", "closelast", "last", "c", "latest", "price", "收盘", "收盘价", "最新价", "schluss", "zuletzt", "cierre", "último", "ultimo",
              "dernier", "clôture", "zamkniecie", "закрытие"),
    "rate": ("rate", "fundingrate", "lastfundingrate", "realizedrate", "funding"),
    "volume": ("volume", "vol", "basevolume", "volumefrom", "volumebase", "qty", "quantity", "v", "成交量", "volumen", "wolumen", "объем"),
    "tick volume": ("tickvolume", "tickvol", "tickqty"),
    "symbol": (
        "symbol", "ticker", "instrument", "pair", "symbolname", "instrumentname", "contract", "stock", "tscode", "code", "secid", "isin", "figi",
        "permno", "productid", "instid", "instrumentid", "name", "代码", "股票代码",
    ),
    "interval": ("interval", "per", "timeframe", "resolution", "granularity"),
}  # fmt: skip
# Columns whose times are those at which bars end.
CLOSE_TIMES: Final = ("closetime", "timeclose", "endtime", "end", "收盘时间")
_INDICATORS: Final = frozenset(
    "ma sma ema wma rma hma vwma avg average mean osc oscillator roc ratio delta change chg profile rsi up down".split()
)
_QUOTES: Final = dict.fromkeys("USDT USDC BUSD TUSD FDUSD DAI USD EUR GBP JPY KRW TRY BRL AUD CHF CAD".split(), 3) | {"BTC": 2, "ETH": 1}


class Columns(msgspec.Struct, frozen=True):
    """Where the columns are among a file's titles."""

    positions: dict[str, int]
    traits: Traits = Traits()

    def missing(self, columns: Sequence[str]) -> list[str]:
        """Of the columns that are needed, those that are absent; bars can do without a volume."""
        return [column for column in columns if column not in self.positions and column != "volume"]


def normalize(title: str) -> str:
    """A title in lower case and without punctuation, as in NAMES."""
    return re.sub(r"[\W_]", "", title.lower())


def find(titles: Sequence[str], columns: Sequence[str], options: ReadOptions) -> Columns:
    """The position of each column among a file's titles; columns that are missing are left out.

    Raises:
        BarsError: `options.columns` names a title that the file does not have.
    """
    names, zones = names_of(titles)
    chosen = options.columns if isinstance(options.columns, Mapping) else {}

    def first(column: str) -> int | None:
        return next((names.index(name) for name in NAMES[column] if name in names), None)

    found: dict[str, int] = {}
    for column in columns:
        if column != "volume" and (position := first(column)) is not None:
            found[column] = position
    if "time" in found and zones[found["time"]] == "local":
        found["time"] = next((i for i, zone in enumerate(zones) if zone == "UTC"), found["time"])
    stamp = ""
    if "time" in columns and ("time" not in found or titles[found["time"]] == "") and not any(name in names for name in NAMES["time"][:-1]):
        ends = next((names.index(name) for name in CLOSE_TIMES if name in names), None)
        if ends is not None:
            found["time"], stamp = ends, "close"
    if "volume" in columns:
        found |= _volumes(titles, names)
    if "open" in columns:
        found |= {column: place for column in ("symbol", "interval") if (place := first(column)) is not None}
    for column, title in chosen.items():
        if title not in titles:
            shown = ", ".join(name or "(unnamed)" for name in titles[:20])
            raise BarsError(f"no column {title!r} among {shown}", where="columns", hint="use a title of the file", code="missing_column")
        if column == "volume":
            found.pop("tick volume", None)
        found[{"date": "time"}.get(column, column)] = list(titles).index(title)
    zone = zones[found["time"]] if "time" in found else ""
    return Columns(found, Traits(stamp, zone, scaled={"rtype", "publisherid"} <= set(names)))


def names_of(titles: Sequence[str]) -> tuple[list[str], list[str]]:
    """The normalized name of each title, without the zone of its times, and that zone: `UTC`, an abbreviation in brackets, `local` or none."""
    names, zones = [normalize(title) for title in titles], [""] * len(titles)
    for i, title in enumerate(titles):
        words = [word.lower() for word in re.split(r"[^A-Za-z]+", title)]
        brackets = re.search(r"\(([A-Z]{3,4})\)", title)
        is_utc = "utc" in words or "gmt" in words or names[i] in ("gmttime", "timeutc", "dateutc", "utctime")
        zone = "UTC" if is_utc else brackets[1] if brackets else "local" if "local" in words else ""
        bare = normalize(re.sub(f"(?i)utc|gmt|{zone}" if zone != "local" else "^$", "", title)) or "utc"
        if zone and bare in (*NAMES["time"], *NAMES["clock"]):
            names[i], zones[i] = bare, zone
    return names, zones


def _volumes(titles: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    """The volume, and a tick volume beside it, which counts where the volume is 0 throughout.

    An exact name comes first, then one with an asset (`Volume BTC`), of several that of the base; averages of the volume are none.
    """
    exact = next((names.index(name) for name in NAMES["volume"] if name in names), None)
    ticks = next((names.index(name) for name in NAMES["tick volume"] if name in names), None)
    if exact is not None:
        again = [i for i, name in enumerate(names) if name == names[exact] and i != exact]
        return {"volume": exact} | ({} if ticks is None else {"tick volume": ticks}) | ({"volume again": again[0]} if again else {})
    if ticks is not None:
        return {"volume": ticks}
    assets = {
        i: found[1].upper()
        for i, title in enumerate(titles)
        if (found := re.fullmatch(r"volume[ _(\-]*([a-z0-9]{2,10})\)?", title.strip().lower())) and found[1] not in _INDICATORS
    }
    # The base asset is the one that is less of a currency to quote in; of two such, the first.
    ranked = sorted(assets, key=lambda i: _QUOTES.get(assets[i], 0))
    return {"volume": ranked[0]} if ranked else {}


def day_and_clock(titles: Sequence[str], following: Sequence[str], options: ReadOptions) -> dict[str, int]:
    """The positions of a date and a time of the day if these are two columns, judged by the first row of values."""
    if "time" in options.columns and "clock" not in options.columns:
        return {}
    names = names_of(titles)[0]
    days = [names.index(name) for name in NAMES["date"] if name in names]
    clocks = [names.index(name) for name in NAMES["clock"] if name in names]
    for day, clock in ((day, clock) for day in days for clock in clocks if day != clock):
        if max(day, clock) < len(following) and looks_like_day(following[day]) and looks_like_clock(following[clock]):
            return {"time": day, "clock": clock}
    return {}


def check(titles: Sequence[str], found: Columns, file: str, columns: Sequence[str], options: ReadOptions) -> None:
    """Raise BarsError if a column is missing, or if two columns have its name."""
    if missing := found.missing(columns):
        shown = ", ".join(title or "(unnamed)" for title in titles[:20])
        needed = "bars need" if tuple(columns) == COLUMNS else "the file needs"
        raise BarsError(
            f"no column {', '.join(missing)} among {shown}",
            where=file,
            hint=f"{needed} the columns {', '.join(columns)}; for another name set {option('columns', {missing[0]: 'TITLE'})}",
            code="missing_column",
        )
    names = [normalize(title) for title in titles]
    for column, position in found.positions.items():
        is_chosen = isinstance(options.columns, Mapping) and options.columns.get(column) == titles[position]
        twice = list(titles).count(titles[position]) if is_chosen else names.count(names[position])
        if names[position] and not column.startswith("volume") and twice > 1:
            raise two_columns(titles[position], file or column)


def two_columns(title: str, where: str) -> BarsError:
    return BarsError(f"two columns are named {title}", where=where, hint="keep one of them", code="two_columns")


def one_ticker(fields: Sequence[str], tickers: Sequence[str], options: ReadOptions, file: str) -> list[str]:
    """Titles of a table whose columns have a field and a ticker each, as from yfinance: the fields of one ticker, others without a title.

    Raises:
        BarsError: several tickers, of which `symbol` names none.
    """
    known = list(
        dict.fromkeys(ticker for field, ticker in zip(fields, tickers, strict=True) if ticker and normalize(field) in _PRICE_NAMES)
    )
    if len(known) > 1 and options.symbol not in known:
        raise several_symbols(known, "the second line of the header", file)
    wanted = options.symbol if len(known) > 1 else known[0] if known else ""
    return [field if ticker in (wanted, "") else f"{field} {ticker}" for field, ticker in zip(fields, tickers, strict=True)]


def count_fields(titles: Sequence[str]) -> int:
    """How many titles are names of prices or of a volume."""
    return sum(normalize(title) in _PRICE_NAMES for title in titles[1:])


def several_symbols(symbols: Sequence[str], where: str, file: str) -> BarsError:
    shown = ", ".join(sorted(symbols)[:5]) + (", ..." if len(symbols) > 5 else "")
    return BarsError(
        f"bars of {len(symbols):,} instruments: {shown}",
        where=f"{file}, {where}" if file else where,
        hint=f"set {option('symbol', sorted(symbols)[0])} to read one of them",
        code="several_symbols",
    )


_PRICE_NAMES: Final = frozenset(name for column in COLUMNS[1:] for name in NAMES[column])


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
    except (BarstormError, MemoryError):
        raise
    except (Exception, PanicException) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise  # of the folder of temporary files
        detail = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise FileError(f"not {expected} ({detail:.200})", where=file, hint="copy or export it again", code="unreadable_file") from error
