"""Times: UTC epoch milliseconds."""

from __future__ import annotations

import time
from typing import Annotated

from msgspec import Meta

TimeMs = Annotated[int, Meta(description="UTC epoch milliseconds.")]


def now_ms() -> int:
    return time.time_ns() // 1_000_000
