"""The header `Idempotency-Key`, and the one of responses that repeat an earlier request."""

from __future__ import annotations

from typing import Annotated, Final

from litestar.datastructures import Headers
from litestar.params import HeaderParameter
from litestar.types import Scope

from api.http.problems import FieldError, invalid_fields
from workers.db import idempotency
from workers.model.names import LABEL_PATTERN
from workers.model.runs import MAX_KEY_LENGTH

# The key of the count in the state of a request.
REPLAYS: Final = "replays"
HEADER: Final = "Idempotency-Replayed"

_OF_RUNS: Final = (
    "Unique text chosen by the client. A request that repeats an earlier one with the same key within a day starts nothing new and returns the "
    f"earlier run, with the header `{HEADER}`; a different request, priority or start time with that key is rejected (409). Owners don't share keys."
)
_OF_CREATION: Final = (
    "Unique text chosen by the client. A request that repeats an earlier one with the same key within a day creates nothing new and returns what "
    f"that created, as it is now, with the header `{HEADER}`; a different request with that key is rejected (409). Owners don't share keys."
)
RunKey = Annotated[
    str,
    HeaderParameter(name="Idempotency-Key", max_length=MAX_KEY_LENGTH, schema_extra={"pattern": LABEL_PATTERN}, description=_OF_RUNS),
]
CreationKey = Annotated[
    str,
    HeaderParameter(name="Idempotency-Key", max_length=MAX_KEY_LENGTH, schema_extra={"pattern": LABEL_PATTERN}, description=_OF_CREATION),
]


def begin_count(scope: Scope, headers: Headers) -> None:
    """Count the replays of a request with a key.

    Raises:
        ProblemError: the key is empty.
    """
    if (key := headers.get("idempotency-key")) is not None:
        if not key.strip():
            raise invalid_fields(
                FieldError(path="header.Idempotency-Key", message="empty", hint="use a unique text, or leave the header out")
            )
        scope["state"][REPLAYS] = idempotency.count_replays()
