"""Ready-made signals, in place of a strategy's conditions, with sizes and levels for each bar."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from python_core.errors import StrategyError
from python_core.execution import LEVELS
from python_core.immutable import Immutable, frozen
from python_core.levels import SIDES, PerSide
from python_core.strategy.compile import CONDITIONS

Floats = npt.NDArray[np.float64]
PerBar = npt.ArrayLike | Mapping[str, Any] | None
_NUMBER_HINT: Final = "give one number for each bar; NaN means no entry"


class Shape(NamedTuple):
    """What signals or a strategy bring to a run.

    Attributes:
        levels: names of the levels that they have, for one side at least.
        has_sizes: whether they have sizes.
        can_enter: whether there are entries: long, short.
        has_stop: whether they have a stop-loss: long, short.
    """

    levels: tuple[str, ...]
    has_sizes: bool
    can_enter: tuple[bool, bool]
    has_stop: tuple[bool, bool]


class Signals(Immutable):
    """Ready-made signals, bool[bars] each; omitted ones are always false. A signal on bar i becomes an order for bar i + 1.

    Sizes and levels are float64[bars], those of an entry at its signal's bar. `size` is what `Execution.size` would be, greater than 0.
    `stop_loss`, `take_profit`, `entry_limit` and `entry_stop` are prices, `trailing_stop` distances in price; each is one array for both sides
    or `{"long": ..., "short": ...}`. NaN means no entry; 0 or infinity means no level on that bar (an entry then fills at the market).
    Arrays that can be written to are copied.

    Attributes:
        masks: the four signals, bool[bars] each, None for those omitted.
        size: float64[bars] or None.
        levels: float64[bars] or None for each level and side, in the order of `python_core.strategy.compile.LEVEL_SIDES`.
        length: number of bars.

    Raises:
        StrategyError: no array, arrays of different lengths, signals that are not booleans, or sizes and levels that are not numbers.

    Example:
        bars = bt.synthetic(1_000)
        bt.Signals(entry_long=bars.close > bars.open, exit_long=bars.close < bars.open, stop_loss=bars.low * 0.99)
    """

    masks: tuple[npt.NDArray[np.bool_] | None, ...]
    size: Floats | None
    levels: tuple[Floats | None, ...]
    length: int

    def __init__(
        self,
        entry_long: npt.ArrayLike | None = None,
        exit_long: npt.ArrayLike | None = None,
        entry_short: npt.ArrayLike | None = None,
        exit_short: npt.ArrayLike | None = None,
        *,
        size: npt.ArrayLike | None = None,
        stop_loss: PerBar = None,
        take_profit: PerBar = None,
        trailing_stop: PerBar = None,
        entry_limit: PerBar = None,
        entry_stop: PerBar = None,
    ) -> None:
        masks = tuple(
            None if mask is None else _mask(name, mask)
            for name, mask in zip(CONDITIONS, (entry_long, exit_long, entry_short, exit_short), strict=True)
        )
        if all(mask is None for mask in masks):
            raise StrategyError("no signals", where="signals", hint="give at least one boolean array")
        given = (stop_loss, take_profit, trailing_stop, entry_limit, entry_stop)
        levels = tuple(array for name, value in zip(LEVELS, given, strict=True) for array in _per_side(name, value))
        sizes = None if size is None else _sizes(size)
        names = (*CONDITIONS, "size", *(f"{name}.{side}" for name in LEVELS for side in SIDES))
        lengths = {name: len(array) for name, array in zip(names, (*masks, sizes, *levels), strict=True) if array is not None}
        if len(set(lengths.values())) > 1:
            raise StrategyError(f"the arrays differ in length: {lengths}", where="signals", hint="give one value for each bar")
        vars(self).update(masks=masks, size=sizes, levels=levels, length=next(iter(lengths.values())))

    @cached_property
    def native(self) -> tuple[tuple[npt.NDArray[np.uint8] | None, ...], tuple[Floats | None, ...], Floats | None]:
        """Masks, levels and sizes for the compiled engine, to which any byte of a mask but 0 is true."""
        return tuple(None if mask is None else mask.view(np.uint8) for mask in self.masks), self.levels, self.size

    @cached_property
    def shape(self) -> Shape:
        """Which arrays there are."""
        return Shape(
            tuple(
                name
                for name, long, short in zip(LEVELS, self.levels[::2], self.levels[1::2], strict=True)
                if long is not None or short is not None
            ),
            self.size is not None,
            (self.masks[0] is not None, self.masks[2] is not None),
            (self.levels[0] is not None, self.levels[1] is not None),
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("native", "shape")}

    def __getitem__(self, key: slice) -> Signals:
        """The signals of a range of bars, without a copy."""
        part = Signals.__new__(Signals)
        vars(part).update(
            masks=tuple(None if mask is None else mask[key] for mask in self.masks),
            size=None if self.size is None else self.size[key],
            levels=tuple(None if level is None else level[key] for level in self.levels),
            length=len(range(self.length)[key]),
        )
        return part

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of all arrays."""
        digest = hashlib.sha256()
        for array in (*self.masks, self.size, *self.levels):
            digest.update(b"-" if array is None else b"+" + array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
        return digest.hexdigest()


def _mask(name: str, values: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    array = _array(name, values, "give true or false for each bar")
    if array.dtype != np.bool_:
        raise StrategyError(f"the dtype is {array.dtype}", where=name, hint="give booleans, as in close > average")
    # Booleans that are a view of other bytes may hold more than 0 and 1, which NumPy's operators treat differently.
    return frozen(array if array.view(np.uint8).max(initial=0) <= 1 else array.view(np.uint8) != 0)


def _per_side(name: str, value: PerBar | PerSide) -> tuple[Floats | None, Floats | None]:
    """The levels of long and short entries."""
    if isinstance(value, PerSide):
        value = {"long": value.long, "short": value.short}
    if not isinstance(value, Mapping):
        array = None if value is None else _numbers(name, value)
        return array, array
    hint = 'give one array, or {"long": ..., "short": ...}'
    if not set(value) <= set(SIDES):
        raise StrategyError(f"got {sorted(map(str, value))}", where=name, hint=hint)
    if all(part is None for part in value.values()):
        raise StrategyError("neither side has an array", where=name, hint=hint)
    long, short = (None if (part := value.get(side)) is None else _numbers(f"{name}.{side}", part) for side in SIDES)
    return long, short


def _sizes(values: npt.ArrayLike) -> Floats:
    sizes = _numbers("size", values)
    valid = np.isnan(sizes) | ((sizes > 0) & (sizes < np.inf))
    if not valid.all():
        i = int(np.argmin(valid))
        raise StrategyError(f"bar {i} has {sizes[i]!s}", where="size", hint="sizes must be finite and greater than 0; NaN means no entry")
    return sizes


def _numbers(name: str, values: npt.ArrayLike) -> Floats:
    array = _array(name, values, _NUMBER_HINT)
    if array.size and (array.dtype.kind not in "fiu" or array.dtype.itemsize > 8):
        raise StrategyError(f"the dtype is {array.dtype}", where=name, hint=_NUMBER_HINT)
    return frozen(array.astype(np.float64, copy=False))


def _array(name: str, values: npt.ArrayLike, hint: str) -> npt.NDArray[Any]:
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise StrategyError(f"bar {int(np.ma.getmaskarray(values).argmax())} is masked", where=name, hint=hint)
    try:
        array = np.asarray(values)
    except Exception as error:  # an object's own conversion may raise anything
        raise StrategyError(f"not an array ({error})", where=name, hint=hint) from error
    if array.ndim != 1:
        raise StrategyError(f"the shape is {array.shape}", where=name, hint="give one dimension, one value for each bar")
    return np.ascontiguousarray(array)
