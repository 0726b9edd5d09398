"""Known bars written as files in random layouts, as exporters write them."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import polars

from python_core.data.timeframes import MILLISECONDS

ZONES = ("America/New_York", "Europe/London", "Asia/Tokyo", "Australia/Sydney")
PRICES = ("open", "high", "low", "close")
CLOCK_FORMS = ("%H:%M:%S", "%H:%M", "%H%M%S", "seconds", "milliseconds", "%I:%M %p")


class Layout(NamedTuple):
    """A file, the options that read it, and the bars in it: time in milliseconds, prices and volume."""

    data: bytes
    options: dict[str, Any]
    rows: list[tuple[int, float, float, float, float, float]]
    timeframe: str
    words: str


def random_layout(random: Random) -> Layout:
    timeframe = random.choice(["1m", "5m", "15m", "1h", "4h", "1d", "1w", "1M"])
    options: dict[str, Any] = {}
    decimals = random.choice([0, 1, 2, 3, 4, 5])
    times = _times(random, timeframe)
    texts = [_prices(random, decimals) for _ in times]
    volumes = _volumes(random, len(times))
    rows = [(time, *map(float, prices), float(volume or 0)) for time, prices, volume in zip(times, texts, volumes, strict=True)]
    cells = [list(prices) + ([volume] if volume is not None else []) for prices, volume in zip(texts, volumes, strict=True)]
    titles = [random.choice(_TITLES[name]) for name in PRICES] + [random.choice(_TITLES["volume"])] * (volumes[0] is not None)
    stamp_ms = MILLISECONDS[timeframe] if timeframe != "1M" and random.random() < 0.1 else 0
    if stamp_ms:
        options["stamp"] = "close"
    time_titles, time_cells, words = _time_columns(random, [time + stamp_ms for time in times], timeframe, options)
    order = list(range(len(titles)))
    if random.random() < 0.3:
        random.shuffle(order)
    table = [time + [row[i] for i in order] for time, row in zip(time_cells, cells, strict=True)]
    titles = time_titles + [titles[i] for i in order]
    if random.random() < 0.3:
        at = random.randrange(len(time_titles), len(titles) + 1)
        titles.insert(at, random.choice(["trades", "Adj Close", "Volume MA", "VWAP", "quote_volume", "Symbol"]))
        for row in table:
            row.insert(at, "AAA" if titles[at] == "Symbol" else str(random.randrange(1, 99)))
    if len(table) > 3 and random.random() < 0.15:
        table.reverse()
        words += ", newest first"
    data, form = _write(random, titles, table, options)
    return Layout(data, options, rows, timeframe, f"{form}, {words}, {decimals} decimals, {titles}")


_TITLES = {
    "open": ["open", "Open", "OPEN", "<OPEN>", "o"],
    "high": ["high", "High", "HIGH", "<HIGH>", "h"],
    "low": ["low", "Low", "LOW", "<LOW>", "l"],
    "close": ["close", "Close", "CLOSE", "<CLOSE>", "c", "Close/Last"],
    "volume": ["volume", "Volume", "<VOL>", "v", "Vol.", "Volume BTC"],
}


def _times(random: Random, timeframe: str) -> list[int]:
    count = random.choice([4, 5, 12, 40, 90])
    year = random.choice([1981, 1999, 2001, 2009, 2016, 2023, 2024, 2031])
    first = datetime(year, random.randrange(1, 13), random.randrange(1, 29), tzinfo=UTC)
    if timeframe == "1M":
        months = [(first.year * 12 + first.month - 1 + i) for i in range(count)]
        return [_ms(datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)) for month in months]
    step = MILLISECONDS[timeframe]
    start = _ms(first) + (random.randrange(24) * 3_600_000 if step < 86_400_000 else 0)
    times, time = [], start // step * step
    for i in range(count):
        times.append(time)
        time += step * (random.choice([1, 1, 1, 1, 1, 1, 1, 3]) if i > 2 else 1)
    return times


def _ms(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _prices(random: Random, decimals: int) -> list[str]:
    base = random.choice([0.5, 7, 150, 1500, 42_000])
    low = round(base * (0.8 + 0.4 * random.random()), decimals) + 10**-decimals
    values = sorted(round(low * (1 + 0.05 * random.random()), decimals) for _ in range(4))
    low, one, two, high = values
    return [f"{value:.{decimals}f}" for value in (one, high, low, two)]


def _volumes(random: Random, count: int) -> list[str | None]:
    kind = random.choice(["none", "integers", "decimals", "large", "zero"])
    if kind == "none":
        return [None] * count
    if kind == "zero":
        return ["0"] * count
    if kind == "decimals":
        return [f"{random.random() * 1000:.4f}" for _ in range(count)]
    return [str(random.randrange(1, 900 if kind == "integers" else 90_000_000)) for _ in range(count)]


def _time_columns(random: Random, times: list[int], timeframe: str, options: dict[str, Any]) -> tuple[list[str], list[list[str]], str]:
    """Titles and cells of the time, in one column or in two, and how they are written."""
    kind = random.choice(["epoch", "epoch", "text", "text", "text", "two columns", "compact", "offset", "zone"])
    is_day = MILLISECONDS[timeframe] >= 86_400_000
    if kind == "epoch":
        scale = random.choice([1, 1_000, 1_000_000, 1_000_000_000])
        title = random.choice(["time", "timestamp", "unix", "open_time", "t", "Date"])
        return [title], [[str(time * scale // 1000)] for time in times], f"epoch x {scale}"
    zone = None
    if kind in ("zone", "two columns", "text") and random.random() < (1.0 if kind == "zone" else 0.3):
        zone = random.choice(ZONES)
    moments = [datetime.fromtimestamp(time / 1000, UTC).astimezone(ZoneInfo(zone) if zone else UTC) for time in times]
    if zone and kind != "zone":
        options["timezone"] = zone
    if kind == "compact":
        form = random.choice(["%Y%m%d%H%M%S", "%Y%m%d%H%M"]) if not is_day else "%Y%m%d"
        return ["Date"], [[moment.strftime(form)] for moment in moments], form
    if kind == "offset":
        offset = timedelta(hours=random.choice([-5, 0, 2, 5.5]))
        shifted = [(moment + offset).strftime("%Y-%m-%dT%H:%M:%S") + _offset(random, offset) for moment in moments]
        return ["datetime"], [[text] for text in shifted], "offset"
    day = random.choice(["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y.%m.%d", "%Y/%m/%d", "%d-%b-%Y", "%b %d, %Y", "%m/%d/%y"])
    if kind == "two columns":
        form = random.choice(CLOCK_FORMS)
        day = random.choice(["%Y-%m-%d", "%Y.%m.%d", "%Y%m%d", "%d/%m/%Y"])
        return ["Date", "Time"], [[moment.strftime(day), _clock(moment, form)] for moment in moments], f"{day} and {form} in {zone}"
    clock = random.choice(["%H:%M:%S", "%H:%M", "%I:%M:%S %p", "%H:%M:%S.000"]) if not is_day or zone else ""
    form = f"{day}{random.choice([' ', 'T']) if day == '%Y-%m-%d' and clock else ' '}{clock}".strip()
    suffix = f" {zone}" if kind == "zone" else "" if zone else random.choice(["", "", "Z", " UTC"]) if clock and "%I" not in clock else ""
    return (
        [random.choice(["Date", "time", "datetime"])],
        [[moment.strftime(form) + suffix] for moment in moments],
        f"{form}{suffix} in {zone}",
    )


def _clock(moment: datetime, form: str) -> str:
    since = (moment.hour * 60 + moment.minute) * 60 + moment.second
    return str(since) if form == "seconds" else str(since * 1000) if form == "milliseconds" else moment.strftime(form)


def _offset(random: Random, offset: timedelta) -> str:
    minutes = int(offset.total_seconds() // 60)
    sign, hours, rest = "-" if minutes < 0 else "+", abs(minutes) // 60, abs(minutes) % 60
    return f"{sign}{hours:02}{random.choice([':', ''])}{rest:02}"


def _write(random: Random, titles: list[str], table: list[list[str]], options: dict[str, Any]) -> tuple[bytes, str]:
    kind = random.choice(["csv", "csv", "csv", "csv", "csv", "objects", "lines", "wrapped", "parquet"])
    if kind == "csv":
        return _write_csv(random, titles, table, options)
    records = [dict(zip(titles, map(_value, row), strict=True)) for row in table]
    if kind == "lines":
        return "\n".join(map(json.dumps, records)).encode(), kind
    if kind == "parquet":
        buffer = io.BytesIO()
        polars.DataFrame(records).write_parquet(buffer)
        return buffer.getvalue(), kind
    return json.dumps({"status": "OK", "results": records} if kind == "wrapped" else records).encode(), kind


def _value(cell: str) -> int | float | str:
    try:
        return int(cell)
    except ValueError:
        try:
            return float(cell)
        except ValueError:
            return cell


def _write_csv(random: Random, titles: list[str], table: list[list[str]], options: dict[str, Any]) -> tuple[bytes, str]:
    separator = random.choice(",,,;\t|")
    comma = separator != "," and random.random() < 0.4
    thousands = random.choice(["", "", "", " ", "'", "." if comma else ","])
    is_number = [
        title not in ("Symbol",) and not any(part in title.lower() for part in ("time", "date", "unix", "stamp")) and title != "t"
        for title in titles
    ]

    def style(cell: str) -> str:
        whole, dot, part = cell.partition(".")
        if thousands and len(whole) > 3:
            whole = f"{int(whole):,}".replace(",", thousands)
        return whole + dot.replace(".", "," if comma else ".") + part

    rows = [[style(cell) if number else cell for cell, number in zip(row, is_number, strict=True)] for row in table]
    quote = random.random() < 0.2 or any(separator in cell for row in rows for cell in row)
    lines = [[f'"{cell}"' if quote else cell for cell in row] for row in rows]
    header = random.random() < 0.9 or titles[0] == "Date"
    if not header:
        if titles[1:] != [title for name in (*PRICES, "volume") for title in titles[1:] if title in _TITLES[name]] or len(titles) < 5:
            header = True
        else:
            options["header"] = False
    end = random.choice(["\n", "\n", "\r\n"])
    text = end.join([separator.join(titles)] * header + [separator.join(line) for line in lines]) + end * random.randrange(3)
    if header and random.random() < 0.1:
        text = f"# exported by a program{end}{text}"
    if random.random() < 0.1:
        text = text.rstrip() + f"{end}# end of data{end}"
    if random.random() < 0.2 and decimal_is_unclear(rows, is_number):
        options["decimal"] = "," if comma else "."
    data = text.encode("utf-8-sig" if random.random() < 0.1 else "utf-8")
    packing = random.choice(["", "", "", "", "gzip", "bzip2", "xz", "zip"])
    form = f"csv {separator!r} {'comma' if comma else 'dot'} thousands {thousands!r} {'quoted' if quote else ''} {packing}"
    return _pack(data, packing), form


def decimal_is_unclear(rows: list[list[str]], is_number: list[bool]) -> bool:
    cells = [cell for row in rows for cell, number in zip(row, is_number, strict=True) if number]
    return any("," in cell or "." in cell for cell in cells)


def _pack(data: bytes, packing: str) -> bytes:
    if packing == "zip":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("bars.csv", data)
        return buffer.getvalue()
    pack = {"": bytes, "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}[packing]
    return pack(data)
