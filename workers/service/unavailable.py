"""Lost connections as errors for clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError

from workers.db.database import is_unreachable
from workers.errors import Unavailable
from workers.queue.queue import RedisError


@contextmanager
def translate_connection_errors() -> Iterator[None]:
    """
    Raises:
        Unavailable: the database or Redis could not be reached within the block.
    """
    try:
        yield
    except DBAPIError as error:
        if not is_unreachable(error):
            raise
        raise Unavailable(f"the database does not respond ({error.orig})"[:300], where="database", hint="try again in a moment") from error
    except RedisError as error:
        raise Unavailable(f"Redis does not respond ({error})"[:300], where="redis", hint="try again in a moment") from error
    except OSError as error:
        raise Unavailable(f"the service can't reach its files or its database ({error})"[:300], hint="try again in a moment") from error
