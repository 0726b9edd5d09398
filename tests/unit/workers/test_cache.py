"""The cache decorators: keys, expiry, eviction, concurrent calls."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from workers import cache
from workers.cache import Recent, cache_with_key, cached, invalidate_cache


def test_recent_entries_replace_the_oldest() -> None:
    recent = Recent[str, int](2)
    for key, value in (("a", 1), ("b", 2), ("a", 3), ("c", 4)):
        recent[key] = value
    assert recent == {"b": 2, "c": 4}


class Point(msgspec.Struct):
    x: int
    tags: list[str]


@pytest.fixture(autouse=True)
def empty(monkeypatch: pytest.MonkeyPatch) -> cache._Cache:
    empty = cache._Cache()
    monkeypatch.setattr(cache, "_cache", empty)
    return empty


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(cache.time, "monotonic", lambda: now[0])
    return now


calls: list[Any] = []


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.clear()


@cached(ttl_s=10)
def plain(x: int, *, tag: str = "a") -> Point:
    calls.append((x, tag))
    return Point(x, [tag])


@cached(ttl_s=10)
async def later(x: int) -> Point:
    calls.append(x)
    await asyncio.sleep(0)
    if x < 0:
        raise ValueError(f"{x} is negative")
    return Point(x, [])


@cache_with_key("point:{x}", ttl_s=10)
async def keyed(x: int, ignored: object = None) -> Point:
    calls.append(x)
    return Point(x, [])


@invalidate_cache("point:{x}")
async def change(x: int, *, fails: bool = False) -> None:
    if fails:
        raise ValueError


def test_equal_arguments_share_a_value_however_they_are_passed() -> None:
    assert plain(1) == plain(x=1) == plain(1, tag="a") == Point(1, ["a"])
    assert plain(1, tag="b") == Point(1, ["b"])
    assert calls == [(1, "a"), (1, "b")]


def test_a_caller_cannot_change_the_value_of_another() -> None:
    plain(1).tags.append("changed")
    assert plain(1) == Point(1, ["a"])


def test_a_value_expires(clock: list[float]) -> None:
    plain(1)
    clock[0] = 9.9
    plain(1)
    assert len(calls) == 1
    clock[0] = 10
    plain(1)
    assert len(calls) == 2


def test_the_least_recently_used_values_are_evicted(monkeypatch: pytest.MonkeyPatch, empty: cache._Cache) -> None:
    monkeypatch.setattr(cache, "MAX_ENTRIES", 3)
    for x in (1, 2, 3, 1, 4):
        plain(x)
    assert (len(empty._values), len(calls)) == (3, 4)
    plain(1)
    assert len(calls) == 4
    plain(2)
    assert len(calls) == 5
    monkeypatch.setattr(cache, "MAX_BYTES", 1)
    plain(5)
    assert (len(empty._values), empty._bytes) == (0, 0)


def test_a_function_that_does_not_return_data_is_refused() -> None:
    @cached(ttl_s=1)
    def opens() -> object:
        return object()

    with pytest.raises(TypeError, match=r"opens returns a value that can't be cached"):
        opens()

    @cached(ttl_s=1)
    def unannotated():  # type: ignore[no-untyped-def]
        return 1

    with pytest.raises(TypeError, match="has no return annotation"):
        unannotated()


def test_concurrent_calls_from_threads_are_one_call() -> None:
    gate = threading.Event()

    @cached(ttl_s=10)
    def slow(x: int) -> int:
        calls.append(x)
        gate.wait(10)
        return x

    with ThreadPoolExecutor(8) as threads:
        answers = [threads.submit(slow, 7) for _ in range(8)]
        gate.set()
        assert [answer.result(10) for answer in answers] == [7] * 8
    assert calls == [7]


def test_concurrent_calls_from_tasks_are_one_call_and_survive_the_cancellation_of_one() -> None:
    async def main() -> None:
        first, *others = [asyncio.create_task(later(1)) for _ in range(10)]
        await asyncio.sleep(0)
        first.cancel()
        assert await asyncio.gather(*others) == [Point(1, [])] * 9
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(main())
    assert calls == [1]


def test_all_waiting_callers_get_an_error_and_it_is_not_cached() -> None:
    async def main() -> None:
        answers = await asyncio.gather(*(later(-1) for _ in range(3)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [ValueError] * 3
        with pytest.raises(ValueError, match="negative"):
            await later(-1)

    asyncio.run(main())
    assert calls == [-1, -1]


def test_a_change_invalidates_its_keys_even_when_it_fails() -> None:
    async def main() -> None:
        await keyed(1)
        await keyed(1, ignored=object())
        await keyed(2)
        assert calls == [1, 2]
        await change(1)
        await keyed(1)
        await keyed(2)
        assert calls == [1, 2, 1]
        with pytest.raises(ValueError):  # noqa: PT011
            await change(1, fails=True)
        await keyed(1)
        assert calls == [1, 2, 1, 1]

    asyncio.run(main())


def test_a_value_invalidated_during_its_call_is_not_stored() -> None:
    async def main() -> None:
        asking = asyncio.create_task(later(3))
        await asyncio.sleep(0)
        cache._cache.delete(list(cache._cache._calls))
        assert await asking == Point(3, [])
        await later(3)

    asyncio.run(main())
    assert calls == [3, 3]


def test_a_plain_function_invalidates_too() -> None:
    @invalidate_cache("point:{x}")
    def change_now(x: int) -> int:
        return x

    async def main() -> None:
        await keyed(1)
        assert change_now(1) == 1
        await keyed(1)

    asyncio.run(main())
    assert calls == [1, 1]
