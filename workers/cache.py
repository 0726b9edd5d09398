"""Caches in this process: `Recent`, and the decorators `cached`, `cache_with_key` and `invalidate_cache`, for plain and async functions.

The decorators store values as MessagePack and decode them for each caller by the return annotation of the function. So only data can be cached
(structs, numbers, texts and collections of them), and no caller can change the value of another. Equal concurrent calls are one call. Errors are not
cached.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
import typing
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from functools import cached_property, wraps
from typing import Any, Final, ParamSpec, TypeVar

import msgspec

P = ParamSpec("P")
R = TypeVar("R")
K = TypeVar("K")
V = TypeVar("V")

MAX_ENTRIES: Final = 10_000
MAX_BYTES: Final = 64_000_000


class Recent(dict[K, V]):
    """A dictionary that holds the `size` entries that were added last."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        if len(self) > self._size:
            del self[next(iter(self))]


def cached(*, ttl_s: float) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Cache the values of a function by all of its arguments, which must be data, too."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        cached_function = _CachedFunction(function)

        def key(arguments: dict[str, Any]) -> str:
            encoded = msgspec.json.encode(arguments, order="deterministic").decode()
            return f"{function.__module__}.{function.__qualname__}({encoded})"

        return _wrap(cached_function, key, ttl_s)

    return decorate


def cache_with_key(template: str, *, ttl_s: float) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Cache the values of a function by a key, such as `"strategy:{reference}"`, formatted with the arguments."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        return _wrap(_CachedFunction(function), lambda arguments: template.format(**arguments), ttl_s)

    return decorate


def invalidate_cache(*templates: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Delete the values of these keys, formatted with the arguments, after each call of the function, even if it fails."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = _CachedFunction(function)

        def invalidate(*args: Any, **kwargs: Any) -> None:
            arguments = signature.arguments(args, kwargs)
            _cache.delete([template.format(**arguments) for template in templates])

        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def async_wrapper(*args: P.args, **kwargs: P.kwargs) -> Any:
                try:
                    return await function(*args, **kwargs)
                finally:
                    invalidate(*args, **kwargs)

            return typing.cast(Callable[P, R], async_wrapper)

        @wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            finally:
                invalidate(*args, **kwargs)

        return wrapper

    return decorate


class _CachedFunction:
    """A decorated function, with its signature and return type."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self._signature = inspect.signature(function)

    def arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments

    @cached_property
    def decoder(self) -> msgspec.msgpack.Decoder[Any]:
        hints = typing.get_type_hints(self.function, include_extras=True)
        if "return" not in hints:
            raise TypeError(f"{self.function.__qualname__} has no return annotation; add one, which the cache decodes by")
        return msgspec.msgpack.Decoder(hints["return"])

    def encode(self, value: object) -> bytes:
        try:
            return msgspec.msgpack.encode(value)
        except (TypeError, OverflowError) as error:
            raise TypeError(
                f"{self.function.__qualname__} returns a value that can't be cached ({error}); return a struct or plain data"
            ) from error


def _wrap(cached_function: _CachedFunction, key_of: Callable[[dict[str, Any]], str], ttl_s: float) -> Callable[P, R]:
    function = cached_function.function
    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def async_wrapper(*args: P.args, **kwargs: P.kwargs) -> Any:
            key = key_of(cached_function.arguments(args, kwargs))
            call, is_first = _cache.join(key)
            if is_first:

                async def compute() -> None:
                    try:
                        _cache.complete(key, call, cached_function.encode(await function(*args, **kwargs)), ttl_s)
                    except BaseException as error:
                        _cache.fail(key, call, error)

                # In its own task, so that cancelling one caller does not fail the others.
                task = asyncio.create_task(compute())
                call.add_done_callback(lambda _, task=task: None)  # type: ignore[misc]  # keeps a reference, as event loops don't
            return cached_function.decoder.decode(await asyncio.shield(asyncio.wrap_future(call)))

        return typing.cast(Callable[P, R], async_wrapper)

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Any:
        key = key_of(cached_function.arguments(args, kwargs))
        call, is_first = _cache.join(key)
        if is_first:
            try:
                _cache.complete(key, call, cached_function.encode(function(*args, **kwargs)), ttl_s)
            except BaseException as error:
                _cache.fail(key, call, error)
        return cached_function.decoder.decode(call.result())

    return typing.cast(Callable[P, R], wrapper)


class _Cache:
    """Values of all cached functions; evicts the least recently used ones."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._calls: dict[str, Future[Any]] = {}
        self._bytes = 0

    def join(self, key: str) -> tuple[Future[Any], bool]:
        """The value or the call in progress; True if the caller has to compute it."""
        with self._lock:
            if key in self._values:
                expires, value = self._values[key]
                if time.monotonic() < expires:
                    self._values.move_to_end(key)
                    call: Future[Any] = Future()
                    call.set_result(value)
                    return call, False
                self._evict(key)
            if key in self._calls:
                return self._calls[key], False
            call = self._calls[key] = Future()
            return call, True

    def complete(self, key: str, call: Future[Any], value: bytes, ttl_s: float) -> None:
        with self._lock:
            # If the key was invalidated during the call, the callers get the value, but it is not stored.
            if self._calls.get(key) is call:
                del self._calls[key]
                self._values[key] = (time.monotonic() + ttl_s, value)
                self._bytes += len(value)
            while self._values and (len(self._values) > MAX_ENTRIES or self._bytes > MAX_BYTES):
                self._evict(next(iter(self._values)))
        call.set_result(value)

    def fail(self, key: str, call: Future[Any], error: BaseException) -> None:
        with self._lock:
            if self._calls.get(key) is call:
                del self._calls[key]
        call.set_exception(error)

    def delete(self, keys: list[str]) -> None:
        with self._lock:
            for key in keys:
                self._calls.pop(key, None)
                if key in self._values:
                    self._evict(key)

    def _evict(self, key: str) -> None:
        self._bytes -= len(self._values.pop(key)[1])


_cache: Final = _Cache()
