"""Execution: trading costs, position size, resting entries, hours, and exits without a signal."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from python_core.errors import ExecutionError
from python_core.levels import FractionLevel, Profit, ProfitLevel, Side, check_level, of_side, parse_level
from python_core.limits import check_integer, check_number, format_value
from python_core.numerics.scalars import plain

Sizing = Literal["equity_fraction", "fixed_notional", "fixed_quantity", "risk"]
Fill = Literal["next_open", "close"]
Intrabar = Literal["pessimistic", "path", "optimistic"]
Calendar = Literal["crypto", "exchange", "fx"]

SIZINGS: Final = ("equity_fraction", "fixed_notional", "fixed_quantity", "risk")
FILLS: Final = ("next_open", "close")
INTRABARS: Final = ("pessimistic", "path", "optimistic")
CALENDARS: Final = ("crypto", "exchange", "fx")
LEVELS: Final = ("stop_loss", "take_profit", "trailing_stop", "entry_limit", "entry_stop")
RESTING: Final = LEVELS[3:]
WHOLE: Final = ("pyramiding", "max_bars", "entry_expires", "max_entries_per_day", "cooldown")
MAX_BARS: Final = 2**31 - 1
DAY_MINUTES: Final = 1440

Whole = Annotated[int, Meta(ge=1, le=MAX_BARS)]
# Minutes of the day are how a time is kept.
Clock = Annotated[str, Meta(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$")] | Annotated[int, Meta(ge=0, lt=DAY_MINUTES)]
Limits = dict[str, float]
_CLOCK: Final = re.compile("([01][0-9]|2[0-3]):([0-5][0-9])", re.ASCII)


class Execution(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, cache_hash=True):
    """The rules of a simulated account. Fractions are not percentages (0.01 is 1 %); amounts of money are in the quote currency.

    A level for each side is a mapping such as `{"long": 0.02, "short": 0.03}`. Rules that depend on the strategy or the signals, such as that
    risk sizing needs a stop loss, are checked when they meet.

    Raises:
        ExecutionError: names the field, its value and what would be right.
    """

    initial_capital: Annotated[float, Meta(gt=0, description="Account value before the first trade; money.")] = 10_000.0
    commission: Annotated[float, Meta(ge=0, lt=1, description="Fee of a fill as taker, as a fraction of its notional.")] = 0.0006
    maker_fee: Annotated[
        Annotated[float, Meta(ge=0, lt=1)] | None,
        Meta(description="Fee of a fill as maker (a limit that has rested), as a fraction of its notional; null: as commission."),
    ] = None
    order_fee: Annotated[float, Meta(ge=0, description="Fee of every fill, on top of the fraction; money.")] = 0.0
    slippage: Annotated[
        float, Meta(ge=0, lt=1, description="Fraction by which market orders, stops and stop entries fill at a worse price.")
    ] = 0.0
    tick: Annotated[
        float,
        Meta(
            ge=0, description="Smallest step of a price in money, to which levels and fills are rounded against the trader; 0: no rounding."
        ),
    ] = 0.0
    sizing: Annotated[Sizing, Meta(description="How `size` is interpreted.")] = "equity_fraction"
    size: Annotated[
        float,
        Meta(gt=0, description="Depending on `sizing`: fraction of equity, notional, quantity, or fraction of equity lost at the stop."),
    ] = 1.0
    step: Annotated[
        float,
        Meta(
            ge=0,
            description="Smallest step of a quantity, in the base currency or in shares, to which quantities are rounded down; 0: no rounding.",
        ),
    ] = 0.0
    min_notional: Annotated[float, Meta(ge=0, description="Orders below this notional are rejected; money.")] = 0.0
    leverage: Annotated[float, Meta(ge=1, le=1000, description="Notional divided by margin, a ratio; isolated margin.")] = 1.0
    maintenance_margin: Annotated[
        float, Meta(ge=0, lt=1, description="Fraction of the notional; a position whose margin falls to it is liquidated.")
    ] = 0.005
    pyramiding: Annotated[int, Meta(ge=1, le=1000, description="Maximum number of entries of a position.")] = 1
    fill: Annotated[
        Fill, Meta(description="Where market orders from signals fill: at the next open, or at the close of the signal bar.")
    ] = "next_open"
    intrabar: Annotated[Intrabar, Meta(description="Which side is reached first if a bar spans levels on both sides.")] = "pessimistic"
    entry_limit: Annotated[
        FractionLevel,
        Meta(
            description="Makes entries rest as limit orders: at a fraction of the signal bar's close or an ATR distance on its better side, "
            "or at a price expression; for both sides, or for each."
        ),
    ] = None
    entry_stop: Annotated[
        FractionLevel,
        Meta(
            description="Makes entries rest as stop orders: at a fraction of the signal bar's close or an ATR distance beyond it, "
            "or at a price expression; for both sides, or for each."
        ),
    ] = None
    entry_expires: Annotated[int, Meta(ge=1, le=MAX_BARS, description="Strategy bars after which a resting entry is removed.")] = 1
    limit_through: Annotated[
        float, Meta(ge=0, lt=1, description="Fraction of the level by which a price must go through a limit to fill it.")
    ] = 0.0
    stop_loss: Annotated[
        FractionLevel,
        Meta(description="Fraction of the entry price, ATR distance, or price expression fixed at entry; for both sides, or for each."),
    ] = None
    take_profit: Annotated[
        ProfitLevel,
        Meta(description="Fraction of the entry price, ATR distance, or price expression fixed at entry; for both sides, or for each."),
    ] = None
    trailing_stop: Annotated[
        FractionLevel,
        Meta(
            description="Fraction of the best price, ATR distance, or an expression for the distance in price, fixed at entry; "
            "for both sides, or for each."
        ),
    ] = None
    trailing_activation: Annotated[
        Profit | None, Meta(description="Profit (fraction of the entry price) from which the trailing stop is active.")
    ] = None
    break_even_at: Annotated[
        Profit | None, Meta(description="Profit (fraction of the entry price) at which the stop moves to the entry price.")
    ] = None
    max_bars: Annotated[Whole | None, Meta(description="Strategy bars after which a position is closed.")] = None
    partial_exits: Annotated[
        tuple[tuple[Profit, Annotated[float, Meta(gt=0, le=1)]], ...],
        Meta(
            max_length=16,
            description="Pairs of profit fraction and share of the quantity to close; profits increase, shares add up to at most 1.",
            examples=[[[0.02, 0.5], [0.04, 0.5]]],
        ),
    ] = ()
    trading_hours: Annotated[
        Annotated[tuple[tuple[Clock, Clock], ...], Meta(min_length=1, max_length=16)] | None,
        Meta(
            description='Hours in which entries fill: pairs of from and to, "HH:MM" or minutes of the UTC day; '
            "from is inside, to outside, and from > to runs over midnight."
        ),
    ] = None
    trading_days: Annotated[
        Annotated[tuple[Annotated[int, Meta(ge=0, le=6)], ...], Meta(min_length=1, max_length=7)] | None,
        Meta(description="UTC days on which entries fill: 0 Monday to 6 Sunday."),
    ] = None
    flat_outside: Annotated[bool, Meta(description="Whether a position is closed at the first open outside the hours and days.")] = False
    max_entries_per_day: Annotated[Whole | None, Meta(description="Maximum number of entries in a UTC day.")] = None
    cooldown: Annotated[int, Meta(ge=0, le=MAX_BARS, description="Strategy bars without entries after a position with a loss.")] = 0
    risk_free: Annotated[float, Meta(gt=-1, description="Risk-free return a year in risk metrics, a fraction.")] = 0.0
    calendar: Annotated[Calendar, Meta(description="Days per year in risk metrics: crypto 365, exchange 252, fx 260.")] = "crypto"

    def __post_init__(self) -> None:
        # Defaults are valid, and most values are defaults.
        given = [name for name, default in FIELDS if getattr(self, name) is not default]
        for name in given:
            value = getattr(self, name)
            parsed = parse_level(name, value) if name in LEVELS else plain(value)
            if parsed is not value:
                msgspec.structs.force_setattr(self, name, parsed)
        self._check_numbers(given)
        self._check_choices(given)
        self._check_levels(given)
        if "partial_exits" in given:
            self._check_partial_exits()
        if not _TIMES.isdisjoint(given):
            self._check_times()

    def level(self, name: str, side: Side) -> Any:
        """A level (`LEVELS`) of one side: a number, an `Atr`, an expression or None."""
        return of_side(getattr(self, name), side)

    @property
    def hours(self) -> tuple[tuple[int, int], ...] | None:
        """The trading hours in minutes of the UTC day."""
        return None if self.trading_hours is None else tuple((int(begin), int(end)) for begin, end in self.trading_hours)

    @property
    def maker_rate(self) -> float:
        """Fee of a fill as maker, a fraction of its notional."""
        return self.commission if self.maker_fee is None else self.maker_fee

    def _check_numbers(self, given: Sequence[str]) -> None:
        for name in given:
            if name in _NUMBERS:
                check_number(name, getattr(self, name), **_NUMBERS[name])
            elif name in _INTEGERS:
                minimum, maximum = _INTEGERS[name]
                check_integer(name, getattr(self, name), minimum=minimum, maximum=maximum)
        if self.sizing in ("equity_fraction", "risk") and self.size > 1:
            raise ExecutionError(
                f"{self.size} is more than the whole equity", where="size", hint="use a fraction up to 1; to trade more, set leverage"
            )
        if self.leverage > 1 and self.maintenance_margin >= 1 / self.leverage:
            raise ExecutionError(
                f"{self.maintenance_margin} is too high for leverage {self.leverage}",
                where="maintenance_margin",
                hint=f"use less than 1 / leverage = {1 / self.leverage:.6g}",
            )

    def _check_choices(self, given: Sequence[str]) -> None:
        for name in filter(_CHOICES.__contains__, given):
            value, choices = getattr(self, name), _CHOICES[name]
            if value not in choices or (name == "flat_outside" and not isinstance(value, bool)):
                known = "true or false" if name == "flat_outside" else f"one of {', '.join(map(str, choices))}"
                raise ExecutionError(f"unknown value {value!r}", where=name, hint=f"use {known}")

    def _check_levels(self, given: Sequence[str]) -> None:
        for name in filter(LEVELS.__contains__, given):
            check_level(name, getattr(self, name), below=None if name == "take_profit" else 1)
        check_resting(given, self.fill)

    def _check_partial_exits(self) -> None:
        hint = "use a list of (profit fraction, share of the quantity)"
        if not isinstance(self.partial_exits, tuple | list):
            raise ExecutionError(f"expected a list, got {self.partial_exits!r:.60}", where="partial_exits", hint=hint)
        if len(self.partial_exits) > 16:
            raise ExecutionError(f"{len(self.partial_exits)} partial exits", where="partial_exits", hint="use at most 16")
        before, total = 0.0, 0.0
        for i, pair in enumerate(self.partial_exits):
            where = f"partial_exits[{i}]"
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise ExecutionError(f"expected a pair, got {pair!r:.60}", where=where, hint=hint)
            pair = (plain(pair[0]), plain(pair[1]))
            check_number(where, pair[0], above=0)
            check_number(where, pair[1], above=0, maximum=1)
            if pair[0] <= before:
                raise ExecutionError(f"profit {pair[0]} is not above the one before, {before}", where=where, hint="sort by profit")
            before, total = pair[0], total + pair[1]
        if total > 1 + 1e-9:
            raise ExecutionError(f"the shares add up to {total:.6g}", where="partial_exits", hint="they may add up to at most 1")
        msgspec.structs.force_setattr(self, "partial_exits", tuple((float(profit), float(share)) for profit, share in self.partial_exits))

    def _check_times(self) -> None:
        if self.trading_hours is not None:
            hint = 'use 1 to 16 pairs of from and to, such as [("09:30", "16:00")]'
            if not isinstance(self.trading_hours, tuple | list) or not self.trading_hours:
                raise ExecutionError(f"expected a list of pairs, got {self.trading_hours!r:.60}", where="trading_hours", hint=hint)
            if len(self.trading_hours) > 16:
                raise ExecutionError(f"{len(self.trading_hours)} pairs", where="trading_hours", hint="use at most 16")
            hours = tuple(_hours(f"trading_hours[{i}]", pair, hint) for i, pair in enumerate(self.trading_hours))
            msgspec.structs.force_setattr(self, "trading_hours", hours)
        if self.trading_days is not None:
            days = self.trading_days
            if not isinstance(days, tuple | list) or not 1 <= len(days) <= 7:
                hint = "use a list of 1 to 7 days, 0 (Monday) to 6 (Sunday)"
                raise ExecutionError(f"expected a list of days, got {days!r:.60}", where="trading_days", hint=hint)
            days = tuple(plain(day) for day in days)
            for i, day in enumerate(days):
                check_integer(f"trading_days[{i}]", day, minimum=0, maximum=6)
            msgspec.structs.force_setattr(self, "trading_days", days)
        if self.flat_outside and self.trading_hours is None and self.trading_days is None:
            raise ExecutionError("there is no time to be outside of", where="flat_outside", hint="set trading_hours or trading_days")


def check_resting(levels: Container[str], fill: Fill) -> None:
    """Check that at most one of the levels makes entries rest, and only with a fill at the next open.

    Raises:
        ExecutionError: names the field.
    """
    resting = [name for name in RESTING if name in levels]
    if len(resting) > 1:
        raise ExecutionError("entry_limit is set, too", where="entry_stop", hint="use one of the two")
    if resting and fill == "close":
        raise ExecutionError("entries that rest don't fill at a close", where=resting[0], hint='use fill="next_open"')


def _hours(where: str, pair: Any, hint: str) -> tuple[int, int]:
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise ExecutionError(f"expected a pair, got {pair!r:.60}", where=where, hint=hint)
    begin, end = (_minutes(where, value) for value in pair)
    if begin == end:
        raise ExecutionError(f"it ends where it begins, {begin // 60:02}:{begin % 60:02}", where=where, hint=hint)
    return begin, end


def _minutes(where: str, value: Any) -> int:
    """Minutes of the day of "HH:MM"; minutes stay as they are."""
    if isinstance(value, str) and (found := _CLOCK.fullmatch(value)):
        return int(found[1]) * 60 + int(found[2])
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < DAY_MINUTES:
        raise ExecutionError(
            f"{format_value(value)} is not a time of day",
            where=where,
            hint="use 00:00 (also for the end of a day) to 23:59, or minutes from 0 to 1439",
        )
    return value


# Names and defaults.
FIELDS: Final = tuple(zip(Execution.__struct_fields__, Execution.__struct_defaults__, strict=True))
_FRACTION: Final[Limits] = {"minimum": 0, "below": 1}
_POSITIVE: Final[Limits] = {"above": 0}
_NOT_NEGATIVE: Final[Limits] = {"minimum": 0}
# The limits of numbers, as arguments of `check_number`, and of whole numbers, as minimum and maximum.
_NUMBERS: Final[dict[str, Limits]] = {
    "initial_capital": _POSITIVE,
    "commission": _FRACTION,
    "maker_fee": _FRACTION,
    "order_fee": _NOT_NEGATIVE,
    "slippage": _FRACTION,
    "tick": _NOT_NEGATIVE,
    "size": _POSITIVE,
    "step": _NOT_NEGATIVE,
    "min_notional": _NOT_NEGATIVE,
    "leverage": {"minimum": 1, "maximum": 1000},
    "maintenance_margin": _FRACTION,
    "limit_through": _FRACTION,
    "trailing_activation": _POSITIVE,
    "break_even_at": _POSITIVE,
    "risk_free": {"above": -1},
}
_INTEGERS: Final = {
    "pyramiding": (1, 1000),
    "entry_expires": (1, MAX_BARS),
    "max_bars": (1, MAX_BARS),
    "max_entries_per_day": (1, MAX_BARS),
    "cooldown": (0, MAX_BARS),
}
_CHOICES: Final[dict[str, tuple[Any, ...]]] = {
    "sizing": SIZINGS,
    "fill": FILLS,
    "intrabar": INTRABARS,
    "calendar": CALENDARS,
    "flat_outside": (False, True),
}
_TIMES: Final = frozenset(("trading_hours", "trading_days", "flat_outside"))
DEFAULT: Final = Execution()
