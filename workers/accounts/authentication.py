"""Which caller a request comes from. Each process remembers keys for a moment, so that most requests need no query."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final, NamedTuple

import msgspec

from workers.accounts import keys
from workers.cache import Recent
from workers.db.database import Database
from workers.errors import Forbidden, Unauthenticated
from workers.model.callers import OPERATOR, Caller, Scope
from workers.model.clock import now_ms
from workers.model.names import check_label
from workers.outages import is_unreachable

# How long a deleted key still works in a process that has seen it.
REMEMBERED_MS: Final = 1_000
MAX_REMEMBERED: Final = 10_000
# How long an open stream waits for the answer whether its caller still has a key.
CHECK_S: Final = 1.0


class _Known(NamedTuple):
    caller: Caller
    expires_at: int | None
    read_at: int


class Authentication:
    """The callers of this process. Without `required`, clients need no key until there is one."""

    def __init__(self, database: Database, *, required: bool) -> None:
        self._database = database
        self._required = required
        self._asked_at: int | None = None
        # By a hash, so that a dump of the memory has no keys.
        self._known = Recent[bytes, _Known](MAX_REMEMBERED)
        self._reading: dict[bytes, asyncio.Task[_Known]] = {}
        self._used_at = Recent[str, int](MAX_REMEMBERED)

    async def caller(self, secret: str, owner: str | None) -> Caller:
        """The caller with a key, or with none if `secret` is empty; what an administrator creates may belong to any `owner`.

        Raises:
            Unauthenticated: the key is missing, unknown or expired.
            Forbidden: only an administrator may name an owner.
        """
        found = await self._of_key(secret) if secret else await self._without_key()
        if owner is None or owner == found.owner:
            return found
        if found.scope is not Scope.ADMIN:
            hint = "leave the header out; the key determines the owner"
            raise Forbidden("only keys with scope admin may act as another owner", where="Barstorm-Owner", hint=hint)
        if owner:
            check_label(owner, where="Barstorm-Owner")
        return msgspec.structs.replace(found, owner=owner)

    async def is_valid(self, caller: Caller) -> bool:
        """Whether a request of this caller may go on: its key was neither deleted nor has it expired. While the database can't tell, it may."""
        try:
            async with asyncio.timeout(CHECK_S):
                if not caller.key_id:
                    return not (self._required or await keys.any_exist(self._database))
                ends_at = await keys.ends_at(self._database, caller.key_id)
        except Exception as error:
            if not is_unreachable(error):
                raise
            return True
        return ends_at is None or now_ms() < ends_at

    def forget(self) -> None:
        """Read keys again: one of them has changed."""
        self._known.clear()
        self._reading.clear()
        self._asked_at = None

    async def _without_key(self) -> Caller:
        now = now_ms()
        if not self._required and (self._asked_at is None or now >= self._asked_at + REMEMBERED_MS):
            # Once there is a key, all requests of this process need one, even if it is deleted again.
            self._required = await self._database.query(keys.exist)
            self._asked_at = now
        if self._required:
            raise Unauthenticated("an API key is needed", where="Authorization", hint="send a key as `Authorization: Bearer bst_...`")
        return OPERATOR

    async def _of_key(self, secret: str) -> Caller:
        digest, now = hashlib.sha256(secret.encode()).digest(), now_ms()
        known = self._known.get(digest)
        if known is None or now >= known.read_at + REMEMBERED_MS or (known.expires_at is not None and now >= known.expires_at):
            if (reading := self._reading.get(digest)) is None:
                # One for all requests that come meanwhile, in a task of its own, as their clients may leave.
                reading = self._reading[digest] = asyncio.create_task(self._read(digest, secret, now))
            known = await asyncio.shield(reading)
        return known.caller

    async def _read(self, digest: bytes, secret: str, now: int) -> _Known:
        self._known.pop(digest, None)
        try:
            caller, expires_at = await self._database.query(lambda connection: keys.identify(connection, secret))
        finally:
            is_current = self._reading.get(digest) is asyncio.current_task()  # otherwise a key has changed meanwhile
            if is_current:
                del self._reading[digest]
        known = _Known(caller, expires_at, now)
        if is_current:
            self._known[digest] = known
        if now >= (self._used_at.get(caller.key_id) or 0) + keys.LAST_USE_MS:
            self._used_at[caller.key_id] = now
            await self._record_use(caller.key_id)
        return known

    async def _record_use(self, key_id: str) -> None:
        try:
            await self._database.transact(lambda connection: keys.record_use(connection, key_id))
        except Exception as error:
            if not is_unreachable(error):  # a database that can only be read still tells who the caller is
                raise
