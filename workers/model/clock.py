"""Times: UTC epoch milliseconds."""

from __future__ import annotations

import time
from typing import Annotated, Final

from msgspec import Meta

# 2100-01-01. A later time is mostly one in microseconds.
LATEST_MS: Final = 4_102_444_800_000
# The end of the year 9999, after which there are no dates.
LAST_MS: Final = 253_402_300_799_999
TimeMs = Annotated[int, Meta(description="UTC epoch milliseconds.", examples=[1767225600000])]


def now_ms() -> int:
    return time.time_ns() // 1_000_000
