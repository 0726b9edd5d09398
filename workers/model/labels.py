"""Labels of runs: a name, tags and notes, by which people find them and tell them apart. Results don't depend on them."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from workers.model.names import OPTIONAL_LABEL_PATTERN, is_label

MAX_NAME: Final = 120
MAX_TAGS: Final = 20
MAX_NOTES: Final = 10_000
TAG_PATTERN: Final = r"^[a-zA-Z0-9][a-zA-Z0-9._:/+-]{0,39}$"
_TAG_HINT: Final = "use 1 to 40 letters, digits and . _ : / + -, beginning with a letter or a digit"

RunName = Annotated[
    str,
    Meta(
        max_length=MAX_NAME,
        description="Name of the run, printable characters; several runs may have the same.",
        extra_json_schema={"pattern": OPTIONAL_LABEL_PATTERN},
    ),
]
# The pattern is only documented here: `check_tag` says what is wrong.
Tag = Annotated[str, Meta(min_length=1, max_length=40, extra_json_schema={"pattern": TAG_PATTERN}, examples=["trend"])]
Tags = Annotated[tuple[Tag, ...], Meta(max_length=MAX_TAGS, description="Tags of the run, sorted and each once.")]
Notes = Annotated[str, Meta(max_length=MAX_NOTES, description="Notes on the run.", extra_json_schema={"pattern": r"^[^\x00]*$"})]


def check_labels(labels: Any) -> None:
    """Check name, tags and notes of a frozen struct, and sort its tags.

    Raises:
        ValueError: one of them is not valid.
    """
    if (name := labels.name) and not is_label(name, MAX_NAME):
        raise ValueError(f"name: {name!r:.60} is not a valid name; use up to {MAX_NAME} printable characters, without spaces at the ends")
    if (notes := labels.notes) and (len(notes) > MAX_NOTES or "\0" in notes):
        raise ValueError(f"notes: these are not valid notes; use up to {MAX_NOTES:,} characters, none of them null")
    if not labels.tags:
        return
    for tag in labels.tags:
        check_tag(tag, "tags")
    tags = tuple(sorted(set(labels.tags)))
    if len(tags) > MAX_TAGS:
        raise ValueError(f"tags: {len(tags)} are too many; use up to {MAX_TAGS}")
    msgspec.structs.force_setattr(labels, "tags", tags)


def check_tag(tag: str, where: str) -> None:
    """
    Raises:
        ValueError: it can't be a tag.
    """
    if not re.fullmatch(TAG_PATTERN.removesuffix("$"), tag):
        raise ValueError(f"{where}: {tag!r:.60} is not a valid tag; {_TAG_HINT}")


class RunLabels(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The name, tags and notes of a run; empty for a run without."""

    name: RunName = ""
    tags: Tags = ()
    notes: Notes = ""

    def __post_init__(self) -> None:
        check_labels(self)


class LabelChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """New labels of a run; those left out stay as they are. An empty text or list removes one."""

    name: RunName | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    notes: Notes | UnsetType = UNSET

    def __post_init__(self) -> None:
        check_labels(self)

    def given(self) -> dict[str, Any]:
        """The labels that are not left out."""
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not UNSET}


NO_LABELS: Final = RunLabels()
NO_CHANGES: Final = LabelChanges()
