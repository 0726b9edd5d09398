"""Market history as one checked, immutable set of columns."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from python_core.data import timeframes
from python_core.data.buckets import Buckets
from python_core.data.columns import (
    COLUMNS,
    LAST_TIME_MS,
    PRICES,
    Floats,
    Integers,
    float_column,
    funding_columns,
    integer_column,
    iso,
    mark_columns,
    mark_extremes,
)
from python_core.data.epoch import Moment, to_epoch_ms
from python_core.errors import BarsError
from python_core.immutable import Immutable

if TYPE_CHECKING:
    import pandas
    import polars

_BLOCK: Final = 1 << 14  # bars whose values stay in the cache while they are checked


class Bars(Immutable):
    """Bars of one market in one timeframe.

    Args:
        time: open times, UTC epoch milliseconds, int64[n], strictly increasing.
        open, high, low, close: prices, float64[n], finite and > 0, `low <= min(open, close)`, `high >= max(open, close)`.
        volume: float64[n], finite and >= 0.
        timeframe: a name (`1s 5s 10s 30s 1m 2m 3m 5m 10m 15m 30m 45m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M`), minutes, or a code (`D W M 3D 30S`);
            default: the smallest step between bars.
        symbol: a label; not part of the fingerprint.
        funding: `(time int64[k], rate float64[k])` of a perpetual; longs pay a positive rate.
        mark: `(low float64[n], high float64[n])` of the mark price, which then decides liquidations.

    The attributes are read-only arrays. They are copies, unless an array has its dtype and neither it nor what it is a view of can be written to,
    as in a file mapped for reading. Arrays of other dtypes are converted if no value changes.

    Raises:
        BarsError: names the column and the first index that breaks a rule.
    """

    time: Integers
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    timeframe: str
    timeframe_ms: int
    symbol: str
    funding: tuple[Integers, Floats] | None
    mark: tuple[Floats, Floats] | None

    def __init__(
        self,
        time: npt.ArrayLike,
        open: npt.ArrayLike,
        high: npt.ArrayLike,
        low: npt.ArrayLike,
        close: npt.ArrayLike,
        volume: npt.ArrayLike,
        *,
        timeframe: str | int | None = None,
        symbol: str = "",
        funding: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
        mark: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    ) -> None:
        attributes = vars(self)
        attributes["time"] = integer_column("time", time)
        for name, values in zip(COLUMNS[1:], (open, high, low, close, volume), strict=True):
            attributes[name] = float_column(name, values)
        attributes["symbol"] = symbol
        self._check_columns()
        attributes["timeframe"] = timeframes.infer(self.time) if timeframe is None else timeframes.parse(timeframe)
        attributes["timeframe_ms"] = timeframes.milliseconds(self.timeframe)
        if (i := timeframes.first_overlap(self.time, self.timeframe_ms)) is not None:
            raise BarsError(
                f"bar {i} opens {int(self.time[i] - self.time[i - 1]):,} ms after the bar before, less than one {self.timeframe} bar",
                where="time",
                hint="pass the actual timeframe of the bars",
            )
        attributes["funding"] = None if funding is None else funding_columns(*_unpack("funding", funding, "time, rate"))
        attributes["mark"] = None if mark is None else mark_extremes(self.time, *_unpack("mark", mark, "low, high"))

    @classmethod
    def _from_checked(
        cls,
        columns: dict[str, Any],
        *,
        timeframe: str,
        symbol: str,
        funding: tuple[Integers, Floats] | None,
        mark: tuple[Floats, Floats] | None,
        fingerprint: str | None = None,
    ) -> Bars:
        """Bars of read-only columns that were checked before; for slices and `files.mapped`."""
        bars = cls.__new__(cls)
        length = timeframes.milliseconds(timeframe)
        vars(bars).update(columns, symbol=symbol, timeframe=timeframe, timeframe_ms=length, funding=funding, mark=mark)
        if fingerprint is not None:
            vars(bars)["fingerprint"] = fingerprint
        return bars

    def _check_columns(self) -> None:
        n = len(self.time)
        for name in (*PRICES, "volume"):
            if len(getattr(self, name)) != n:
                raise BarsError(
                    f"{len(getattr(self, name)):,} values, but time has {n:,}", where=name, hint="every column has one value for each bar"
                )
        if n == 0:
            raise BarsError("no bars", where="time", hint="pass at least one bar")
        if self.time[0] < 0 or self.time[-1] > LAST_TIME_MS:
            i = 0 if self.time[0] < 0 else n - 1
            raise BarsError(f"bar {i} is at {self.time[i]}", where="time", hint="times are epoch milliseconds between 1970 and 9999")
        if n > 1 and not (ordered := self.time[1:] > self.time[:-1]).all():
            i = int((~ordered).argmax()) + 1
            relation = "repeats the time of" if self.time[i] == self.time[i - 1] else "is earlier than"
            raise BarsError(
                f"bar {i} ({iso(self.time[i])}) {relation} the bar before", where="time", hint="times must be strictly increasing"
            )
        if all(self._valid(begin, begin + _BLOCK) for begin in range(0, n, _BLOCK)):
            return
        for name in (*PRICES, "volume"):
            values = getattr(self, name)
            bad = ~np.isfinite(values) | (values < 0 if name == "volume" else values <= 0)
            if bad.any():
                i = int(bad.argmax())
                raise BarsError(
                    f"bar {i} ({iso(self.time[i])}) has {values[i]!s}",
                    where=name,
                    hint="volume must be finite and not negative" if name == "volume" else "prices must be finite and greater than 0",
                )
        for name, bad in (
            ("low", self.low > np.minimum(self.open, self.close)),
            ("high", self.high < np.maximum(self.open, self.close)),
        ):
            if bad.any():
                i = int(bad.argmax())
                raise BarsError(
                    f"bar {i} ({iso(self.time[i])}) has open {self.open[i]}, high {self.high[i]}, low {self.low[i]}, close {self.close[i]}",
                    where=name,
                    hint="low must be the lowest and high the highest of the four",
                )

    def _valid(self, begin: int, end: int) -> bool:
        """Whether the values of bars `begin` to `end` are valid."""
        open_, high, low, close, volume = (getattr(self, name)[begin:end] for name in (*PRICES, "volume"))
        # NaN fails every comparison, and prices between 0 and a finite high are finite.
        return bool(
            low.min() > 0
            and high.max() < np.inf
            and volume.min() >= 0
            and volume.max() < np.inf
            and (low <= open_).all()
            and (low <= close).all()
            and (high >= open_).all()
            and (high >= close).all()
        )

    def __len__(self) -> int:
        return len(self.time)

    def __getitem__(self, key: slice) -> Bars:
        """Bars between two positions, without a copy. The funding series is not cut, as its times decide when it applies."""
        if not isinstance(key, slice) or key.step not in (None, 1):
            raise BarsError(f"expected a slice, got {key!r}", hint="use a slice without a step, as in bars[100:200]")
        columns = {name: getattr(self, name)[key] for name in COLUMNS}
        if not len(columns["time"]):
            raise BarsError("no bars", where="time", hint="pass at least one bar")
        mark = None if self.mark is None else (self.mark[0][key], self.mark[1][key])
        return Bars._from_checked(columns, timeframe=self.timeframe, symbol=self.symbol, funding=self.funding, mark=mark)

    def between(self, start: Moment | None = None, end: Moment | None = None) -> Bars:
        """The bars that open at or after `start` and before `end`, without a copy, with the funding of their time only.

        Times are epoch milliseconds, ISO 8601 text such as `"2012-01-01"`, datetimes or dates, in UTC unless they have an offset. Returns the
        same object if that is all of them.

        Raises:
            BarsError: not a time, or there are no such bars.
        """
        begin = 0 if start is None else int(np.searchsorted(self.time, to_epoch_ms(start, "start")))
        stop = len(self) if end is None else int(np.searchsorted(self.time, to_epoch_ms(end, "end")))
        if begin >= stop:
            raise BarsError(
                f"no bar opens between {'the first' if start is None else start} and {'the last' if end is None else end}",
                where="end" if start is None else "start",
                hint=f"the bars run from {self.time[0]} ({iso(self.time[0])}) to {self.time[-1]} ({iso(self.time[-1])}), epoch milliseconds",
                code="empty_range",
            )
        if stop - begin == len(self):
            return self
        part = self[begin:stop]
        if part.funding is not None:
            times, rates = part.funding
            first, last = np.searchsorted(times, [part.time[0], timeframes.bar_end(part.time[-1:], self.timeframe_ms)[0]])
            vars(part)["funding"] = (times[first:last], rates[first:last]) if first < last else None
        return part

    def resample(self, timeframe: str | int) -> Bars:
        """Bars of a longer timeframe: first open, highest high, lowest low, last close, sum of volume.

        They are aligned to the UTC epoch, weeks to Monday, months to their first day. An unfinished last bar is dropped. Funding is unchanged;
        mark prices are the lowest low and highest high of each bar.

        Raises:
            BarsError: these bars don't fit into the timeframe, or none of its bars is complete.
        """
        name = timeframes.parse(timeframe)
        length_ms = timeframes.milliseconds(name)
        if not timeframes.fits(self.timeframe_ms, length_ms):
            message, hint = timeframes.misfit(self.timeframe, name)
            raise BarsError(message, where="timeframe", hint=hint)
        buckets = Buckets.of(self.time, self.timeframe_ms, length_ms)
        if not len(buckets.start):
            raise BarsError(f"no {name} bar is complete", where="timeframe", hint="use more bars or a shorter timeframe")
        return Bars(
            buckets.start,
            self.open[buckets.first],
            buckets.highest(self.high),
            buckets.lowest(self.low),
            self.close[buckets.last],
            buckets.sums(self.volume),
            timeframe=name,
            symbol=self.symbol,
            funding=self.funding,
            mark=None if self.mark is None else (buckets.lowest(self.mark[0]), buckets.highest(self.mark[1])),
        )

    def with_series(
        self,
        *,
        funding: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
        mark: tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike] | None = None,
    ) -> Bars:
        """The same bars with a funding series `(times, rates)` and mark prices `(open times, lows, highs)`, each covering any range of time.

        A bar without a mark price gets its own low and high.
        """
        pair = self.mark
        if mark is not None:
            times, lows, highs = mark_columns(*_unpack("mark", mark, "time, low, high"))
            low, high = self.low.copy(), self.high.copy()
            at = np.searchsorted(self.time, times)
            matched = (at < len(self)) & (self.time[np.minimum(at, len(self) - 1)] == times)
            low[at[matched]], high[at[matched]] = lows[matched], highs[matched]
            pair = (low, high)
        return Bars(
            *(getattr(self, name) for name in COLUMNS),
            timeframe=self.timeframe,
            symbol=self.symbol,
            funding=self.funding if funding is None else funding,
            mark=pair,
        )

    def __repr__(self) -> str:
        return f"<Bars {self.symbol or '?'} {self.timeframe}, {len(self):,} bars, {iso(self.time[0])} .. {iso(self.time[-1])}>"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the timeframe and the little-endian bytes of all columns; equal fingerprints mean equal values."""
        digest = hashlib.sha256(f"bars 1 {self.timeframe} {len(self)}\n".encode())
        for name in COLUMNS:
            digest.update(_little_endian(getattr(self, name)))
        for label, pair in (("funding", self.funding), ("mark", self.mark)):
            if pair is not None:
                digest.update(f"{label} {len(pair[0])}\n".encode())
                for values in pair:
                    digest.update(_little_endian(values))
        return digest.hexdigest()

    @classmethod
    def from_pandas(cls, frame: pandas.DataFrame, **options: Any) -> Bars:
        """Bars of a pandas DataFrame, whose columns may have any case and order; times are its DatetimeIndex, or a column.

        Options and errors are those of `read_bars`: times without a zone are in UTC, or in `timezone`.
        """
        bars: Bars = _tables().from_pandas(frame, **options)
        return bars

    @classmethod
    def from_polars(cls, frame: polars.DataFrame, **options: Any) -> Bars:
        """Bars of a polars DataFrame, whose columns may have any case and order. Options and errors are those of `read_bars`."""
        bars: Bars = _tables().from_polars(frame, **options)
        return bars

    def to_polars(self) -> polars.DataFrame:
        """The six columns as a polars DataFrame: time int64, the others float64."""
        import polars

        return polars.DataFrame({name: getattr(self, name) for name in COLUMNS})

    def to_pandas(self) -> pandas.DataFrame:
        """Prices and volume as a pandas DataFrame, float64, with the open times as its DatetimeIndex in UTC, called `time`."""
        import pandas

        index = pandas.DatetimeIndex(self.time.astype("datetime64[ms]"), name="time").tz_localize("UTC")
        return pandas.DataFrame({name: getattr(self, name) for name in COLUMNS[1:]}, index=index)


def _tables() -> Any:
    """Reading tables is a layer above, where files are read."""
    return import_module("python_core.files.tables")


def _little_endian(values: np.ndarray) -> memoryview:
    return values.astype(values.dtype.newbyteorder("<"), copy=False).data.cast("B")


def _unpack(name: str, value: Any, parts: str) -> tuple[Any, ...]:
    arrays = tuple(value) if isinstance(value, Iterable) else ()
    if len(arrays) != len(parts.split(", ")):
        got = type(value).__name__ + (f" of {len(arrays)}" if arrays else "")
        raise BarsError(f"expected ({parts}), got {got}", where=name, hint="pass a tuple of these arrays")
    return arrays
