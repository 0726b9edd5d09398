"""Answers kept for a while in this process: `cached`, `cache_with_key` and `invalidate_cache`, for plain and async functions alike.

Kept is MessagePack, decoded anew for every caller as the function's return annotation says, so that only data can be kept (structs, numbers,
texts and collections of them, never a database row or a connection), and nobody can change what another is given. Equal calls at the same
time are one call; errors are not kept. What is shared by all processes is kept elsewhere (`results`).
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

MOST_ENTRIES: Final = 10_000
MOST_BYTES: Final = 64_000_000


def cached(*, ttl_s: float) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Keep a function's answers, each under all its arguments, which must be data, too."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        asked = _CachedFunction(function)

        def key(arguments: dict[str, Any]) -> str:
            encoded = msgspec.json.encode(arguments, order="deterministic").decode()
            return f"{function.__module__}.{function.__qualname__}({encoded})"

        return _keeping(asked, key, ttl_s)

    return decorate


def cache_with_key(template: str, *, ttl_s: float) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Keep a function's answers under a key of one's own, such as `"strategy:{reference}"`, filled in from the arguments."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        return _keeping(_CachedFunction(function), lambda arguments: template.format(**arguments), ttl_s)

    return decorate


def invalidate_cache(*templates: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Forget what is kept under these keys, filled in from the arguments, whenever the function has run, well or not."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        asked = _CachedFunction(function)

        def forget(*args: Any, **kwargs: Any) -> None:
            arguments = asked.arguments(args, kwargs)
            _kept.forget([template.format(**arguments) for template in templates])

        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def later(*args: P.args, **kwargs: P.kwargs) -> Any:
                try:
                    return await function(*args, **kwargs)
                finally:
                    forget(*args, **kwargs)

            return typing.cast(Callable[P, R], later)

        @wraps(function)
        def now(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            finally:
                forget(*args, **kwargs)

        return now

    return decorate


class _CachedFunction:
    """What is known of a decorated function."""

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
            raise TypeError(f"{self.function.__qualname__} says not what it returns; annotate it, so that its answers can be kept")
        return msgspec.msgpack.Decoder(hints["return"])

    def encode(self, answer: object) -> bytes:
        try:
            return msgspec.msgpack.encode(answer)
        except (TypeError, OverflowError) as error:
            raise TypeError(f"{self.function.__qualname__} returns what can't be kept ({error}); return a struct or plain data") from error


def _keeping(asked: _CachedFunction, key_of: Callable[[dict[str, Any]], str], ttl_s: float) -> Callable[P, R]:
    function = asked.function
    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def later(*args: P.args, **kwargs: P.kwargs) -> Any:
            key = key_of(asked.arguments(args, kwargs))
            flight, mine = _kept.board(key)
            if mine:

                async def fly() -> None:
                    try:
                        _kept.land(key, flight, asked.encode(await function(*args, **kwargs)), ttl_s)
                    except BaseException as error:
                        _kept.crash(key, flight, error)

                # A task of its own: that one caller is cancelled is not the others' fault.
                flying = asyncio.create_task(fly())
                flight.add_done_callback(lambda _, holds=flying: None)  # type: ignore[misc]  # a loop alone may lose its tasks
            return asked.decoder.decode(await asyncio.shield(asyncio.wrap_future(flight)))

        return typing.cast(Callable[P, R], later)

    @wraps(function)
    def now(*args: P.args, **kwargs: P.kwargs) -> Any:
        key = key_of(asked.arguments(args, kwargs))
        flight, mine = _kept.board(key)
        if mine:
            try:
                _kept.land(key, flight, asked.encode(function(*args, **kwargs)), ttl_s)
            except BaseException as error:
                _kept.crash(key, flight, error)
        return asked.decoder.decode(flight.result())

    return typing.cast(Callable[P, R], now)


class _AnswerStore:
    """All answers of this process, the least used of which go first when there are too many or they are too large."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._flights: dict[str, Future[Any]] = {}
        self._bytes = 0

    def board(self, key: str) -> tuple[Future[Any], bool]:
        """The answer, there or on its way; True if the caller has to bring it."""
        with self._lock:
            if key in self._answers:
                until, answer = self._answers[key]
                if time.monotonic() < until:
                    self._answers.move_to_end(key)
                    there: Future[Any] = Future()
                    there.set_result(answer)
                    return there, False
                self._drop(key)
            if key in self._flights:
                return self._flights[key], False
            flight = self._flights[key] = Future()
            return flight, True

    def land(self, key: str, flight: Future[Any], answer: bytes, ttl_s: float) -> None:
        with self._lock:
            # Forgotten meanwhile, it is good for those who wait, but not kept.
            if self._flights.get(key) is flight:
                del self._flights[key]
                self._answers[key] = (time.monotonic() + ttl_s, answer)
                self._bytes += len(answer)
            while self._answers and (len(self._answers) > MOST_ENTRIES or self._bytes > MOST_BYTES):
                self._drop(next(iter(self._answers)))
        flight.set_result(answer)

    def crash(self, key: str, flight: Future[Any], error: BaseException) -> None:
        with self._lock:
            if self._flights.get(key) is flight:
                del self._flights[key]
        flight.set_exception(error)

    def forget(self, keys: list[str]) -> None:
        with self._lock:
            for key in keys:
                self._flights.pop(key, None)
                if key in self._answers:
                    self._drop(key)

    def _drop(self, key: str) -> None:
        self._bytes -= len(self._answers.pop(key)[1])


_kept: Final = _AnswerStore()
