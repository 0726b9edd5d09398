"""The outages that a worker meets: its disk is full, the database refuses, the object store does not answer.

An outage is waited for: the worker claims nothing for longer and longer times, and its runs don't use up their failures.
"""

from __future__ import annotations

import time
from typing import Final

FIRST_PAUSE_S: Final = 0.5
MAX_PAUSE_S: Final = 60.0
# A run that meets an outage so often, each time between successes of others, has probably made it itself.
FORGIVEN: Final = 3


class Outage:
    """What this worker knows of an outage; it is over with the first run that succeeds."""

    def __init__(self) -> None:
        self._is_on = False
        self._pause_s = 0.0
        self._until = 0.0

    @property
    def pause_s(self) -> float:
        """How long to claim nothing, in seconds."""
        return max(self._until - time.monotonic(), 0.0)

    def blames(self, earlier_attempts: int) -> bool:
        """Whether a run that meets an outage now has failed itself."""
        return not self._is_on and earlier_attempts >= FORGIVEN

    def begin(self) -> None:
        """A run has met an outage. Those that meet it during the pause, because they were running, don't lengthen it."""
        self._is_on = True
        if self.pause_s == 0:
            self._pause_s = min(max(2 * self._pause_s, FIRST_PAUSE_S), MAX_PAUSE_S)
            self._until = time.monotonic() + self._pause_s

    def end(self) -> None:
        self._is_on, self._pause_s, self._until = False, 0.0, 0.0
