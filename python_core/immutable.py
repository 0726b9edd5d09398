"""Arrays and objects that can't be changed, so that a fingerprint or a digest holds for as long as they exist."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from typing import Any, Never, Self, TypeVar

import numpy as np

K = TypeVar("K")
V = TypeVar("V")
A = TypeVar("A", bound=np.ndarray)


def freeze(array: A) -> A:
    """Make an array read-only in place, with all arrays that it is a view of; for new arrays, which nobody else can write to."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner.setflags(write=False)
        owner = owner.base
    return array


def frozen(array: A) -> A:
    """The array itself if nobody can write to its memory, else a read-only copy."""
    return array if is_frozen(array) else freeze(array.copy())


def is_frozen(array: np.ndarray) -> bool:
    """Whether the array and all that it is a view of are read-only: arrays, bytes, or a file that is mapped for reading."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        if owner.flags.writeable:
            return False
        owner = owner.base
    if isinstance(owner, memoryview):
        owner = owner.obj if owner.readonly else None
        return isinstance(owner, bytes | mmap.mmap)
    return owner is None or isinstance(owner, bytes | mmap.mmap)


class Immutable:
    """Base of classes whose attributes are set once, in `vars(self)`. Arrays in attributes stay read-only when an object is pickled."""

    def __setattr__(self, name: str, value: object) -> Never:
        raise AttributeError(f"{name}: {type(self).__name__} can't be changed; make a new one")

    def __delattr__(self, name: str) -> Never:
        raise AttributeError(f"{name}: {type(self).__name__} can't be changed; make a new one")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        for value in state.values():
            _freeze_all(value)
        vars(self).update(state)


def _freeze_all(value: Any) -> None:
    """Freeze the arrays that an unpickled value holds."""
    if isinstance(value, np.ndarray):
        freeze(value)
    elif isinstance(value, tuple | FrozenDict):
        for each in value.values() if isinstance(value, FrozenDict) else value:
            _freeze_all(each)


class FrozenDict(dict[K, V]):
    """A dict that can't be changed."""

    def _refuse(self, *_: object, **__: object) -> Never:
        raise TypeError("this mapping can't be changed; make a new object with another one")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenDict, (dict(self),)
