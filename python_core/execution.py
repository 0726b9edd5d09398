"""Execution: what trading costs, how big a position is, and when it is closed without a signal."""

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
    """A distance of `multiple` times the average true range (Wilder) over `period` strategy bars, taken at the signal bar."""

    multiple: Annotated[float, Meta(gt=0)]
    period: Annotated[int, Meta(ge=1, le=10_000)] = 14

    def __post_init__(self) -> None:
        _number("atr.multiple", self.multiple, above=0)
        _whole("atr.period", self.period, least=1, most=10_000)


Fraction = Annotated[float, Meta(gt=0, lt=1)]
Profit = Annotated[float, Meta(gt=0)]
Expression = Annotated[str, Meta(min_length=1, max_length=MAX_EXPRESSION)]


class Execution(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rules of a simulated account; fractions are fractions (0.01 is 1 %), money is in the quote currency.

    Raises:
        ExecutionError: names the field, its value and what would be right.
    """

    capital: Annotated[float, Meta(gt=0, description="Money at the start.")] = 10_000.0
    commission: Annotated[float, Meta(ge=0, lt=1, description="Fraction of the traded notional, paid on every fill.")] = 0.0006
    slippage: Annotated[float, Meta(ge=0, lt=1, description="Fraction by which market orders and stops fill worse.")] = 0.0
    sizing: Annotated[Sizing, Meta(description="What `size` means.")] = "equity_fraction"
    size: Annotated[
        float, Meta(gt=0, description="Fraction of equity, notional, quantity, or fraction of equity lost at the stop, after `sizing`.")
    ] = 1.0
    step: Annotated[float, Meta(ge=0, description="Quantities are rounded down to whole steps; 0: not rounded.")] = 0.0
    min_notional: Annotated[float, Meta(ge=0, description="Orders below this notional are dropped.")] = 0.0
    leverage: Annotated[float, Meta(ge=1, le=1000, description="Notional per margin; isolated margin.")] = 1.0
    maintenance_margin: Annotated[float, Meta(ge=0, lt=1, description="Fraction of the notional at which a position is liquidated.")] = (
        0.005
    )
    pyramiding: Annotated[int, Meta(ge=1, le=1000, description="Entries a position may have.")] = 1
    fill: Annotated[Fill, Meta(description="Where orders from signals fill.")] = "next_open"
    intrabar: Annotated[Intrabar, Meta(description="Which side is met first when one bar spans levels on both sides.")] = "pessimistic"
    stop_loss: Annotated[
        Fraction | Atr | Expression | None, Meta(description="Fraction of the entry, ATR distance, or price expression frozen at entry.")
    ] = None
    take_profit: Annotated[
        Profit | Atr | Expression | None, Meta(description="Fraction of the entry, ATR distance, or price expression frozen at entry.")
    ] = None
    trailing_stop: Annotated[
        Fraction | Atr | Expression | None,
        Meta(description="Fraction of the best price, ATR distance from it, or an expression for that distance in price, frozen at entry."),
    ] = None
    trailing_activation: Annotated[
        Profit | None, Meta(description="Profit (fraction of the entry) from which the trailing stop works.")
    ] = None
    break_even_at: Annotated[Profit | None, Meta(description="Profit (fraction of the entry) from which the stop is the entry price.")] = (
        None
    )
    max_bars: Annotated[int, Meta(ge=1, description="Strategy bars after which a position is closed.")] | None = None
    partial_exits: Annotated[
        tuple[tuple[Profit, Annotated[float, Meta(gt=0, le=1)]], ...],
        Meta(max_length=16, description="Ladder of (profit fraction, share of the quantity), profits increasing, shares at most 1 in sum."),
    ] = ()
    calendar: Annotated[Calendar, Meta(description="Days in a year of risk metrics: crypto 365, exchange 252.")] = "crypto"

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            # NumPy's float64 is a float that neither JSON nor the compiled module knows.
            if isinstance(value := getattr(self, name), float) and type(value) is not float:
                msgspec.structs.force_setattr(self, name, float(value))
        _number("capital", self.capital, above=0)
        _number("commission", self.commission, least=0, below=1)
        _number("slippage", self.slippage, least=0, below=1)
        _number("size", self.size, above=0)
        _number("step", self.step, least=0)
        _number("min_notional", self.min_notional, least=0)
        _number("leverage", self.leverage, least=1, most=1000)
        _number("maintenance_margin", self.maintenance_margin, least=0, below=1)
        _whole("pyramiding", self.pyramiding, least=1, most=1000)
        for name, value, choices in (
            ("sizing", self.sizing, SIZINGS),
            ("fill", self.fill, FILLS),
            ("intrabar", self.intrabar, INTRABARS),
            ("calendar", self.calendar, CALENDARS),
        ):
            if value not in choices:
                raise ExecutionError(f"{value!r} is none of the choices", where=name, hint=f"use one of {', '.join(choices)}")
        if self.sizing in ("equity_fraction", "risk") and self.size > 1:
            raise ExecutionError(
                f"{self.size} of the equity is more than there is", where="size", hint="use a fraction up to 1; see leverage"
            )
        if self.leverage > 1 and self.maintenance_margin >= 1 / self.leverage:
            raise ExecutionError(
                f"{self.maintenance_margin} leaves no room at leverage {self.leverage}",
                where="maintenance_margin",
                hint=f"use less than 1 / leverage = {1 / self.leverage:.6g}",
            )
        for name in ("stop_loss", "take_profit", "trailing_stop"):
            self._check_level(name)
        for name in ("trailing_activation", "break_even_at"):
            if (value := getattr(self, name)) is not None:
                _number(name, value, above=0)
        if self.max_bars is not None:
            _whole("max_bars", self.max_bars, least=1, most=2**31 - 1)
        if self.sizing == "risk" and self.stop_loss is None:
            raise ExecutionError("risk sizing needs a stop to measure the loss at", where="sizing", hint="set stop_loss")
        if self.trailing_activation is not None and self.trailing_stop is None:
            raise ExecutionError("there is no trailing stop to activate", where="trailing_activation", hint="set trailing_stop")
        self._check_ladder()

    def _check_level(self, name: str) -> None:
        value = getattr(self, name)
        if value is None or isinstance(value, Atr):
            return
        if isinstance(value, str):
            if not 0 < len(value) <= MAX_EXPRESSION:
                raise ExecutionError(f"an expression of {len(value)} characters", where=name, hint=f"use 1 to {MAX_EXPRESSION}")
        elif name == "take_profit":
            _number(name, value, above=0)
        else:
            _number(name, value, above=0, below=1)

    def _check_ladder(self) -> None:
        hint = "give a list of (profit fraction, share of the quantity)"
        if not isinstance(self.partial_exits, tuple | list):
            raise ExecutionError(f"{self.partial_exits!r:.60} is no list", where="partial_exits", hint=hint)
        if len(self.partial_exits) > 16:
            raise ExecutionError(f"{len(self.partial_exits)} rungs", where="partial_exits", hint="use at most 16")
        before, total = 0.0, 0.0
        for i, rung in enumerate(self.partial_exits):
            where = f"partial_exits[{i}]"
            if not isinstance(rung, tuple | list) or len(rung) != 2:
                raise ExecutionError(f"{rung!r:.60} is no rung", where=where, hint=hint)
            _number(where, rung[0], above=0)
            _number(where, rung[1], above=0, most=1)
            if rung[0] <= before:
                raise ExecutionError(f"profit {rung[0]} does not lie above the rung before, {before}", where=where, hint="order by profit")
            before, total = rung[0], total + rung[1]
        if total > 1 + 1e-9:
            raise ExecutionError(f"the shares add up to {total:.6g}", where="partial_exits", hint="together they are at most 1")
        msgspec.structs.force_setattr(self, "partial_exits", tuple((float(profit), float(share)) for profit, share in self.partial_exits))


def _number(
    where: str,
    value: object,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
) -> None:
    words = []
    if above is not None:
        words.append(f"greater than {above:g}")
    if least is not None:
        words.append(f"at least {least:g}")
    if below is not None:
        words.append(f"below {below:g}")
    if most is not None:
        words.append(f"at most {most:g}")
    right = f"use a finite number {' and '.join(words)}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ExecutionError(f"{_shown(value)} is no number", where=where, hint=right)
    if (
        abs(value) > MAX_FLOAT
        or not math.isfinite(value)
        or (above is not None and value <= above)
        or (least is not None and value < least)
        or (below is not None and value >= below)
        or (most is not None and value > most)
    ):
        raise ExecutionError(f"{_shown(value)} is out of range", where=where, hint=right)


def _whole(where: str, value: object, *, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ExecutionError(f"{_shown(value)} is out of range", where=where, hint=f"use a whole number from {least} to {most}")


def _shown(value: object) -> str:
    # Python refuses to write out very long numbers.
    return "a number beyond float64" if isinstance(value, int) and abs(value) > MAX_FLOAT else f"{value!r:.60}"


DEFAULT: Final = Execution()
