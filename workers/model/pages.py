"""What pages of lists have in common."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

NextCursor = Annotated[
    str | None,
    Meta(
        description="`cursor` of the next page; null on the last page.",
        examples=["WyJydW5zIiwiMDFhMjBlMDEtZGE4ZS03NmYxLTliNjQtNDgwNGZiOGNmYTQxIl0"],
    ),
]
PageTotal = Annotated[int, Meta(description="Number of items on all pages.", examples=[57])]
