"""Lost connections as errors for clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from workers.outages import outage


@contextmanager
def translate_connection_errors() -> Iterator[None]:
    """
    Raises:
        Unavailable: the database, Redis or the files could not be reached within the block.
    """
    try:
        yield
    except Exception as error:
        if (unavailable := outage(error)) is None:
            raise
        raise unavailable from error
