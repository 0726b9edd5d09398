"""Execution: trading costs, position size, and exits without a signal."""

from __future__ import annotations

import math
import sys
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from python_core.errors import ExecutionError

Sizing = Literal["equity_fraction", "fixed_notional", "fixed_quantity", "risk"]
Fill = Literal["next_open", "close"]
Intrabar = Literal["pessimistic", "path", "optimistic"]
Calendar = Literal["crypto", "exchange"]

SIZINGS: Final = ("equity_fraction", "fixed_notional", "fixed_quantity", "risk")
FILLS: Final = ("next_open", "close")
INTRABARS: Final = ("pessimistic", "path", "optimistic")
CALENDARS: Final = ("crypto", "exchange")
MAX_EXPRESSION: Final = 2_000
MAX_FLOAT: Final = sys.float_info.max


class Atr(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A distance of `multiple` times the average true range (Wilder) over `period` strategy bars, measured at the signal bar."""

    multiple: Annotated[float, Meta(gt=0, description="Multiple of the average true range.")]
    period: Annotated[int, Meta(ge=1, le=10_000, description="Period of the average, in strategy bars.")] = 14

    def __post_init__(self) -> None:
        _check_number("atr.multiple", self.multiple, above=0)
        _check_integer("atr.period", self.period, minimum=1, maximum=10_000)


Fraction = Annotated[float, Meta(gt=0, lt=1)]
Profit = Annotated[float, Meta(gt=0)]
Expression = Annotated[str, Meta(min_length=1, max_length=MAX_EXPRESSION)]


class Execution(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rules of a simulated account. Fractions are not percentages (0.01 is 1 %); amounts of money are in the quote currency.

    Raises:
        ExecutionError: names the field, its value and what would be right.
    """

    initial_capital: Annotated[float, Meta(gt=0, description="Account value before the first trade.")] = 10_000.0
    commission: Annotated[float, Meta(ge=0, lt=1, description="Commission of every fill, as a fraction of its notional.")] = 0.0006
    slippage: Annotated[float, Meta(ge=0, lt=1, description="Fraction by which market orders and stops fill at a worse price.")] = 0.0
    sizing: Annotated[Sizing, Meta(description="How `size` is interpreted.")] = "equity_fraction"
    size: Annotated[
        float,
        Meta(gt=0, description="Depending on `sizing`: fraction of equity, notional, quantity, or fraction of equity lost at the stop."),
    ] = 1.0
    step: Annotated[float, Meta(ge=0, description="Quantities are rounded down to multiples of this; 0: no rounding.")] = 0.0
    min_notional: Annotated[float, Meta(ge=0, description="Orders below this notional are dropped.")] = 0.0
    leverage: Annotated[float, Meta(ge=1, le=1000, description="Notional divided by margin; isolated margin.")] = 1.0
    maintenance_margin: Annotated[
        float, Meta(ge=0, lt=1, description="Fraction of the notional; a position whose margin falls to it is liquidated.")
    ] = 0.005
    pyramiding: Annotated[int, Meta(ge=1, le=1000, description="Maximum number of entries of a position.")] = 1
    fill: Annotated[Fill, Meta(description="Where orders from signals fill: at the next open, or at the close of the signal bar.")] = (
        "next_open"
    )
    intrabar: Annotated[Intrabar, Meta(description="Which side is reached first if a bar spans levels on both sides.")] = "pessimistic"
    stop_loss: Annotated[
        Fraction | Atr | Expression | None,
        Meta(description="Fraction of the entry price, ATR distance, or price expression fixed at entry."),
    ] = None
    take_profit: Annotated[
        Profit | Atr | Expression | None, Meta(description="Fraction of the entry price, ATR distance, or price expression fixed at entry.")
    ] = None
    trailing_stop: Annotated[
        Fraction | Atr | Expression | None,
        Meta(description="Fraction of the best price, ATR distance, or an expression for the distance in price; fixed at entry."),
    ] = None
    trailing_activation: Annotated[
        Profit | None, Meta(description="Profit (fraction of the entry price) from which the trailing stop is active.")
    ] = None
    break_even_at: Annotated[
        Profit | None, Meta(description="Profit (fraction of the entry price) at which the stop moves to the entry price.")
    ] = None
    max_bars: Annotated[int, Meta(ge=1, description="Strategy bars after which a position is closed.")] | None = None
    partial_exits: Annotated[
        tuple[tuple[Profit, Annotated[float, Meta(gt=0, le=1)]], ...],
        Meta(
            max_length=16,
            description="Pairs of profit fraction and share of the quantity to close; profits increase, shares add up to at most 1.",
        ),
    ] = ()
    calendar: Annotated[Calendar, Meta(description="Days per year in risk metrics: crypto 365, exchange 252.")] = "crypto"

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            # NumPy's float64 is a subclass of float that neither JSON nor the compiled module accepts.
            if isinstance(value := getattr(self, name), float) and type(value) is not float:
                msgspec.structs.force_setattr(self, name, float(value))
        _check_number("initial_capital", self.initial_capital, above=0)
        _check_number("commission", self.commission, minimum=0, below=1)
        _check_number("slippage", self.slippage, minimum=0, below=1)
        _check_number("size", self.size, above=0)
        _check_number("step", self.step, minimum=0)
        _check_number("min_notional", self.min_notional, minimum=0)
        _check_number("leverage", self.leverage, minimum=1, maximum=1000)
        _check_number("maintenance_margin", self.maintenance_margin, minimum=0, below=1)
        _check_integer("pyramiding", self.pyramiding, minimum=1, maximum=1000)
        for name, value, choices in (
            ("sizing", self.sizing, SIZINGS),
            ("fill", self.fill, FILLS),
            ("intrabar", self.intrabar, INTRABARS),
            ("calendar", self.calendar, CALENDARS),
        ):
            if value not in choices:
                raise ExecutionError(f"unknown value {value!r}", where=name, hint=f"use one of {', '.join(choices)}")
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
        for name in ("stop_loss", "take_profit", "trailing_stop"):
            self._check_level(name)
        for name in ("trailing_activation", "break_even_at"):
            if (value := getattr(self, name)) is not None:
                _check_number(name, value, above=0)
        if self.max_bars is not None:
            _check_integer("max_bars", self.max_bars, minimum=1, maximum=2**31 - 1)
        if self.sizing == "risk" and self.stop_loss is None:
            raise ExecutionError("risk sizing needs a stop loss", where="sizing", hint="set stop_loss")
        if self.trailing_activation is not None and self.trailing_stop is None:
            raise ExecutionError("there is no trailing stop to activate", where="trailing_activation", hint="set trailing_stop")
        self._check_partial_exits()

    def _check_level(self, name: str) -> None:
        value = getattr(self, name)
        if value is None or isinstance(value, Atr):
            return
        if isinstance(value, str):
            if not 0 < len(value) <= MAX_EXPRESSION:
                raise ExecutionError(f"the expression has {len(value)} characters", where=name, hint=f"use 1 to {MAX_EXPRESSION}")
        elif name == "take_profit":
            _check_number(name, value, above=0)
        else:
            _check_number(name, value, above=0, below=1)

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
            _check_number(where, pair[0], above=0)
            _check_number(where, pair[1], above=0, maximum=1)
            if pair[0] <= before:
                raise ExecutionError(f"profit {pair[0]} is not above the one before, {before}", where=where, hint="sort by profit")
            before, total = pair[0], total + pair[1]
        if total > 1 + 1e-9:
            raise ExecutionError(f"the shares add up to {total:.6g}", where="partial_exits", hint="they may add up to at most 1")
        msgspec.structs.force_setattr(self, "partial_exits", tuple((float(profit), float(share)) for profit, share in self.partial_exits))


def _check_number(
    where: str,
    value: object,
    *,
    above: float | None = None,
    minimum: float | None = None,
    below: float | None = None,
    maximum: float | None = None,
) -> None:
    bounds = []
    if above is not None:
        bounds.append(f"greater than {above:g}")
    if minimum is not None:
        bounds.append(f"at least {minimum:g}")
    if below is not None:
        bounds.append(f"below {below:g}")
    if maximum is not None:
        bounds.append(f"at most {maximum:g}")
    hint = f"use a finite number {' and '.join(bounds)}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ExecutionError(f"expected a number, got {_format(value)}", where=where, hint=hint)
    if (
        abs(value) > MAX_FLOAT
        or not math.isfinite(value)
        or (above is not None and value <= above)
        or (minimum is not None and value < minimum)
        or (below is not None and value >= below)
        or (maximum is not None and value > maximum)
    ):
        raise ExecutionError(f"{_format(value)} is out of range", where=where, hint=hint)


def _check_integer(where: str, value: object, *, minimum: int, maximum: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        raise ExecutionError(f"{_format(value)} is out of range", where=where, hint=f"use a whole number from {minimum} to {maximum}")


def _format(value: object) -> str:
    # Python doesn't format very long integers.
    return "a number too large for float64" if isinstance(value, int) and abs(value) > MAX_FLOAT else f"{value!r:.60}"


DEFAULT: Final = Execution()
