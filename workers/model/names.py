"""Names and ids."""

from __future__ import annotations

import os
from uuid import UUID

from workers.errors import Invalid
from workers.model.clock import now_ms

MAX_NAME_LENGTH = 120


def check_name(name: str, *, where: str = "name", max_length: int = MAX_NAME_LENGTH) -> None:
    """Check that a name is printable, of 1 to `max_length` characters, without spaces at the ends.

    Raises:
        Invalid: it is not.
    """
    if not 0 < len(name) <= max_length or not name.isprintable() or name != name.strip():
        hint = f"use 1 to {max_length} printable characters, without spaces at the ends"
        raise Invalid(f"{name!r:.60} is not a valid {where}", where=where, hint=hint)


def check_owner(owner: str) -> None:
    """Check the name of an owner; it may be empty."""
    if owner:
        check_name(owner, where="owner")


def is_reference(text: str) -> bool:
    """Whether a text can be an id or a name; databases treat other texts differently."""
    return 0 < len(text) <= MAX_NAME_LENGTH and text.isprintable()


def new_id() -> str:
    """A UUID (version 7), which sorts by time of creation."""
    bits = now_ms() << 80 | int.from_bytes(os.urandom(10), "big")
    return str(UUID(int=bits & ~(0xF << 76) & ~(3 << 62) | 7 << 76 | 2 << 62))
