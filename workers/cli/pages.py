"""Lists on the command line, which shows all of their pages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeVar

T_co = TypeVar("T_co", covariant=True)

# Items that one query reads.
LIMIT: Final = 500


class Page(Protocol[T_co]):
    """A page of a list, and the cursor of the next one, None on the last."""

    @property
    def items(self) -> Sequence[T_co]: ...

    @property
    def next_cursor(self) -> str | None: ...


async def all_items(get_page: Callable[[str | None], Awaitable[Page[T_co]]]) -> AsyncIterator[T_co]:
    """The items of all pages; `get_page` gets that of a cursor, None for the first."""
    cursor = None
    while True:
        page = await get_page(cursor)
        for item in page.items:
            yield item
        if (cursor := page.next_cursor) is None:
            return
