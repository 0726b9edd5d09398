"""Cursors: a list takes back those that it has given, and nothing else."""

from __future__ import annotations

from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

import workers
from workers.model import cursors
from workers.model.names import MAX_NAME_LENGTH, is_reference

NAMES = st.text(max_size=MAX_NAME_LENGTH).filter(lambda text: not text or is_reference(text))
NUMBERS = st.integers(min_value=-(2**63), max_value=2**63 - 1)


@given(st.lists(NAMES | NUMBERS, min_size=1, max_size=3))
def test_a_list_reads_its_own_cursors(last: list[str | int]) -> None:
    cursor = cursors.encode("list", last)
    assert cursors.decode("list", cursor, [type(value) for value in last]) == last
    for other in ("lists", ""):
        with pytest.raises(workers.Invalid):
            cursors.decode(other, cursor, [type(value) for value in last])


def test_the_longest_cursor_is_within_the_documented_length() -> None:
    assert len(cursors.encode("strategies", ["\U0001d538" * MAX_NAME_LENGTH] * 2)) <= cursors.MAX_LENGTH


@given(st.text())
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(workers.Invalid, match="is not a cursor of this list; use the next_cursor of the previous page") as error:
        cursors.decode("list", text, [str])
    assert (error.value.code, error.value.where) == ("invalid_cursor", "cursor")


@pytest.mark.parametrize(
    "content",
    [
        b'["list"]', b'["list",1]', b'["list","a","b"]', b'["list",null]', b'["list",true]', b'["list",1.0]', b'["list", "a"]', b'["list","a\\u0000"]',
        b'["list","\\u0061"]', b'["list","' + b"x" * 121 + b'"]', b'{"list":"a"}', b"[]", b"[" * 10_000, b'["list",9223372036854775808]',
    ],
)  # fmt: skip
def test_forged_cursors_are_refused(content: bytes) -> None:
    cursor = urlsafe_b64encode(content).decode()
    for text in (cursor, cursor.rstrip("=")):
        for types in ([str], [int]):
            if (content, types) != (b'["list",1]', [int]) or text != cursor.rstrip("="):
                with pytest.raises(workers.Invalid):
                    cursors.decode("list", text, types)
