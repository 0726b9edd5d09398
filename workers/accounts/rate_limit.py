"""The limit of requests of each owner: a token bucket in Redis that all API processes share.

A process takes several tokens in one call, so that most requests need none, and gives back what it didn't use within a moment.
"""

from __future__ import annotations

import asyncio
import math
import time
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from workers.cache import Recent
from workers.errors import TooManyRequests
from workers.queue import keys
from workers.queue.queue import Queue, RedisError

# The bucket of an owner who was quiet for long has the requests of this time.
BURST_S: Final = 10
# Tokens taken in one call, as a share of the bucket, and at most.
PORTION: Final = 0.05
MAX_PORTION: Final = 500
PORTION_S: Final = 1.0
# How long to wait for Redis, and after an error before asking it again.
CALL_S: Final = 0.5
RETRY_S: Final = 5.0
MAX_OWNERS: Final = 10_000
_SCRIPT: Final = (Path(__file__).parent / "rate_limit.lua").read_text()
_log = structlog.stdlib.get_logger(__name__)


class Allowance(NamedTuple):
    """What an owner has left: of `limit` requests in `window_s` `remaining`, and after `reset_s` without a request all of them.

    A request that is above the limit may be repeated after `retry_after_s`.
    """

    limit: int
    window_s: int
    remaining: int
    reset_s: int
    retry_after_s: int = 0

    def check(self) -> None:
        """
        Raises:
            TooManyRequests: the request is above the limit.
        """
        if self.retry_after_s:
            raise TooManyRequests(
                f"more than {self.limit / self.window_s:g} requests a second, after a burst of {self.limit:,}",
                where="owner",
                hint="send fewer requests, or many backtests in one batch",
                code="rate_limit",
                retry_after_s=self.retry_after_s,
            )


class _Owner:
    """The tokens that this process has taken for an owner, and those left in the bucket at that time."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.tokens = 0
        self.left = 0
        self.expires_at = 0.0

    def has_tokens(self) -> bool:
        return self.tokens > 0 and time.monotonic() <= self.expires_at


class RateLimit:
    """The limit for each owner, in requests a second; 0: no limit. Without Redis, requests are not limited."""

    def __init__(self, queue: Queue, per_s: float) -> None:
        self._per_s = per_s
        self._capacity = max(math.ceil(per_s * BURST_S), 1)
        self._portion = max(1, min(int(self._capacity * PORTION), MAX_PORTION))
        self._take = queue.redis.register_script(_SCRIPT)
        self._owners = Recent[str, _Owner](MAX_OWNERS)
        self._retry_at = 0.0

    async def use(self, name: str) -> Allowance | None:
        """Count a request of an owner, and return what is left. None if requests are not limited."""
        if not self._per_s:
            return None
        owner = self._owners.get(name)
        if owner is None:
            owner = self._owners[name] = _Owner()
        if not owner.has_tokens():
            async with owner.lock:  # others wait for the portion that the first one takes
                if not owner.has_tokens():
                    if time.monotonic() < self._retry_at:
                        return None
                    try:
                        wait_ms = await self._refill(name, owner)
                    except (RedisError, OSError) as error:
                        self._retry_at = time.monotonic() + RETRY_S
                        _log.warning("requests are not limited", reason=str(error) or type(error).__name__)
                        return None
                    if not owner.tokens:
                        return self._allowance(0, wait_ms)
        owner.tokens -= 1
        return self._allowance(owner.tokens + owner.left)

    def _allowance(self, remaining: int, wait_ms: int = 0) -> Allowance:
        reset_s = math.ceil((self._capacity - remaining) / self._per_s)
        return Allowance(self._capacity, BURST_S, remaining, reset_s, math.ceil(wait_ms / 1000))

    async def _refill(self, name: str, owner: _Owner) -> int:
        """Take tokens; how many milliseconds it takes until there are some, if there are none."""
        args = [self._per_s, self._capacity, self._portion, owner.tokens]
        async with asyncio.timeout(CALL_S):
            taken, owner.left, wait_ms = await self._take(keys=[keys.rate(name)], args=args)
        owner.tokens, owner.expires_at = taken, time.monotonic() + PORTION_S
        return int(wait_ms)
