"""Ready-made signals, in place of a strategy's conditions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from python_core.errors import StrategyError
from python_core.immutable import Immutable, frozen
from python_core.strategy.compile import CONDITIONS


class Signals(Immutable):
    """Ready-made signals, bool[bars] each; omitted ones are always false. Arrays that can be written to are copied. A signal on bar i becomes an order for bar i + 1.

    Raises:
        StrategyError: no array, arrays of different lengths, or values that are not booleans.

    Example:
        bars = bt.synthetic(1_000)
        bt.Signals(entry_long=bars.close > bars.open, exit_long=bars.close < bars.open)
    """

    masks: tuple[npt.NDArray[np.bool_] | None, ...]
    length: int

    def __init__(
        self,
        entry_long: npt.ArrayLike | None = None,
        exit_long: npt.ArrayLike | None = None,
        entry_short: npt.ArrayLike | None = None,
        exit_short: npt.ArrayLike | None = None,
    ) -> None:
        masks = tuple(
            None if mask is None else _mask(name, mask)
            for name, mask in zip(CONDITIONS, (entry_long, exit_long, entry_short, exit_short), strict=True)
        )
        lengths = {name: len(mask) for name, mask in zip(CONDITIONS, masks, strict=True) if mask is not None}
        if not lengths:
            raise StrategyError("no signals", where="signals", hint="give at least one boolean array")
        if len(set(lengths.values())) > 1:
            raise StrategyError(f"the arrays differ in length: {lengths}", where="signals", hint="give one value for each bar")
        vars(self).update(masks=masks, length=next(iter(lengths.values())))

    @property
    def bytes(self) -> tuple[npt.NDArray[np.uint8] | None, ...]:
        """The masks for the compiled engine, to which any byte but 0 is true."""
        return tuple(None if mask is None else mask.view(np.uint8) for mask in self.masks)


def _mask(name: str, values: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise StrategyError(f"bar {int(np.ma.getmaskarray(values).argmax())} is masked", where=name, hint="give true or false for each bar")
    try:
        array = np.asarray(values)
    except Exception as error:  # an object's own conversion may raise anything
        raise StrategyError(f"not an array ({error})", where=name, hint="give true or false for each bar") from error
    if array.ndim != 1:
        raise StrategyError(f"the shape is {array.shape}", where=name, hint="give one dimension, one value for each bar")
    if array.dtype != np.bool_:
        raise StrategyError(f"the dtype is {array.dtype}", where=name, hint="give booleans, as in close > average")
    array = np.ascontiguousarray(array)
    # Booleans that are a view of other bytes may hold more than 0 and 1, which NumPy's operators treat differently.
    return frozen(array if array.view(np.uint8).max(initial=0) <= 1 else array.view(np.uint8) != 0)
