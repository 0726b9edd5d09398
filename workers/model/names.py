"""Names and ids. Datasets and strategies have both, and are addressed by either: a name can't be taken for an id, nor for another path."""

from __future__ import annotations

import os
import re
from typing import Annotated, Final
from uuid import UUID

from msgspec import Meta

from workers.errors import Invalid
from workers.model.clock import now_ms

MAX_NAME_LENGTH: Final = 120
# What stands in paths where a name could stand, today or soon.
RESERVED: Final = ("batch", "check", "compare", "diagnose", "library", "plot")
_ID: Final = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
# Escaped as every flavour of regular expressions takes it, those of JavaScript and HTML included.
_INSIDE: Final = r"\w .+:\(\)\-"
NAME_PATTERN: Final = rf"^(?!(?:{'|'.join(RESERVED)}|{_ID})$)\w(?:[{_INSIDE}]*[\w\)])?$"
_NAME: Final = re.compile(NAME_PATTERN)

# Control characters, invisible ones and blanks but the space. Written out, since classes such as \s mean different characters in
# different languages.
_HIDDEN: Final = r"\x00-\x1f\x7f-\xa0\xad\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff\ufff9-\uffff"
TEXT_PATTERN: Final = f"^[^{_HIDDEN}]*$"
LABEL_PATTERN: Final = f"^[^ {_HIDDEN}]([ ]*[^ {_HIDDEN}])*$"
OPTIONAL_LABEL_PATTERN: Final = f"^({LABEL_PATTERN[1:-1]})?$"
MAX_LABEL_LENGTH: Final = 60
_LABEL, _TEXT, _SURROGATE = re.compile(LABEL_PATTERN), re.compile(TEXT_PATTERN), re.compile("[\ud800-\udfff]")

# The patterns are only documented here: what earlier versions have stored must stay readable, and the checks have better messages.
Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_LENGTH, extra_json_schema={"pattern": NAME_PATTERN})]
Label = Annotated[str, Meta(min_length=1, max_length=MAX_LABEL_LENGTH, extra_json_schema={"pattern": LABEL_PATTERN})]
Id = Annotated[str, Meta(description="Unique id.", examples=["01a20e01-da8e-76f1-9b64-4804fb8cfa41"])]
Owner = Annotated[str, Meta(description="Owner, or empty.", examples=["research"])]


def check_name(name: str, *, where: str = "name") -> None:
    """Check the name of a new dataset or strategy.

    Raises:
        Invalid: it is empty, too long, has other characters than those of `NAME_PATTERN`, looks like an id, or is reserved.
    """
    if len(name) <= MAX_NAME_LENGTH and _NAME.fullmatch(name):
        return
    message, code = f"{name!r:.60} is not a valid {where}", "invalid_name"
    if name in RESERVED:
        raise Invalid(f"{message}: it is reserved", where=where, hint="use another name, such as " + repr(f"my {name}"), code=code)
    if re.fullmatch(_ID, name):
        raise Invalid(f"{message}: it has the form of an id", where=where, hint="use a name that says what it is", code=code)
    hint = (
        f"use 1 to {MAX_NAME_LENGTH} letters, digits, spaces and _ . + - : ( ), beginning with a letter, a digit or _, "
        "and ending with one of them or )"
    )
    raise Invalid(message, where=where, hint=hint, code=code)


def to_name(text: str) -> str:
    """The valid name that is most like a text, such as that of a file."""
    name = re.sub(rf"[^{_INSIDE}]+", "-", text)[:MAX_NAME_LENGTH]
    name = re.sub(r"^\W+|[^\w)]+$", "", name)
    return name if _NAME.fullmatch(name) else f"unnamed {name}".rstrip()


def check_label(text: str, *, where: str, max_length: int = MAX_NAME_LENGTH) -> None:
    """Check that a text by which nothing is addressed is printable, of 1 to `max_length` characters, without spaces at the ends.

    Raises:
        Invalid: it is not.
    """
    if not is_label(text, max_length):
        hint = f"use 1 to {max_length} printable characters, without spaces at the ends"
        raise Invalid(f"{text!r:.60} is not a valid {where}", where=where, hint=hint)


def is_label(text: str, max_length: int = MAX_LABEL_LENGTH) -> bool:
    return len(text) <= max_length and _LABEL.fullmatch(text) is not None and not _SURROGATE.search(text)


def is_printable(text: str) -> bool:
    return _TEXT.fullmatch(text) is not None and not _SURROGATE.search(text)


def check_owner(owner: str) -> None:
    """Check the name of an owner; it may be empty."""
    if owner:
        check_label(owner, where="owner")


def is_reference(text: str) -> bool:
    """Whether a text can be an id or a name; databases treat other texts differently."""
    return 0 < len(text) <= MAX_NAME_LENGTH and text.isprintable()


def new_id() -> str:
    """A UUID (version 7), which sorts by time of creation."""
    bits = now_ms() << 80 | int.from_bytes(os.urandom(10), "big")
    return str(UUID(int=bits & ~(0xF << 76) & ~(3 << 62) | 7 << 76 | 2 << 62))


def created_at(identifier: str) -> int:
    """The time at which `new_id` made an id, in UTC epoch milliseconds."""
    return UUID(identifier).int >> 80


def first_id(at_ms: int) -> str:
    """The least id of this time: ids made before are less, those made from then on are not."""
    return str(UUID(int=min(at_ms, 2**48 - 1) << 80))
