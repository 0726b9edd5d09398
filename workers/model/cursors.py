"""Cursors: texts that say where the next page of a list begins. To clients they are opaque; only the list that gave one takes it back."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from workers.errors import Invalid
from workers.model.names import is_reference

# Longer than any that we give: a name and an owner of 120 characters take up to 1,300.
MAX_LENGTH: Final = 2_000

_Value = str | Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


def encode(list_name: str, last: Sequence[str | int]) -> str:
    """The cursor of the page after an item, of which `last` has the values that the list is sorted by."""
    return urlsafe_b64encode(msgspec.json.encode([list_name, *last])).rstrip(b"=").decode()


def decode(list_name: str, cursor: str, types: Sequence[type]) -> list[str | int]:
    """What `encode` was given, values of these types.

    Raises:
        Invalid: this list has not given such a cursor.
    """
    last: list[str | int] = []
    try:
        padding = "=" * (-len(cursor) % 4)
        last = msgspec.json.decode(urlsafe_b64decode(cursor + padding), type=list[_Value])[1:]
        # Compared as a whole, so that neither another list's cursors nor other ways to write one pass.
        is_ours = encode(list_name, last) == cursor and [type(value) for value in last] == list(types)
    except (msgspec.MsgspecError, ValueError):
        is_ours = False
    if not is_ours or not all(is_reference(value) for value in last if isinstance(value, str) and value):
        hint = "use the next_cursor of the previous page of this list, or none for its first page"
        raise Invalid(f"{cursor!r:.60} is not a cursor of this list", where="cursor", hint=hint, code="invalid_cursor")
    return last
