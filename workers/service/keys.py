"""API keys: create, list, rotate and delete; and the log of who changed what."""

from __future__ import annotations

from operator import attrgetter
from typing import Annotated, ClassVar

from msgspec import Meta

from workers.accounts import audit, keys
from workers.accounts.audit import AuditPage
from workers.accounts.keys import ApiKey, ApiKeyPage, KeyRequest, NewApiKey
from workers.model.callers import Caller, Scope
from workers.service.operation_group import OperationGroup, operation


class Keys(OperationGroup):
    name: ClassVar[str] = "keys"

    @operation(Scope.ADMIN, audited=attrgetter("name"))
    async def create(self, request: KeyRequest) -> NewApiKey:
        """Create an API key.

        The response has the whole key, which can't be read again. As soon as there is a key, every request needs one.

        Raises:
            Invalid: it would have expired already.
        """
        created = await keys.create(self._resources.database, self._caller, request)
        self._resources.authentication.forget()
        return created

    @operation(Scope.ADMIN)
    async def list(self, limit: int = 50, cursor: str | None = None) -> ApiKeyPage:
        """List API keys.

        Newest first, without their secrets.
        """
        return await keys.page(self._resources.database, limit=limit, cursor=cursor)

    @operation(Scope.ADMIN)
    async def get(self, key_id: str) -> ApiKey:
        """Get an API key.

        Its owner, scope, expiry and last use, without its secret.
        """
        return await keys.get(self._resources.database, key_id)

    @operation(Scope.ADMIN, audited=True)
    async def rotate(self, key_id: str, grace_s: Annotated[int, Meta(ge=0, le=keys.MAX_GRACE_S)] = 0) -> NewApiKey:
        """Rotate an API key.

        Returns a new key with the same name, owner, scope and expiry. The old one stops working, at once or after `grace_s`.

        Raises:
            Conflict: the key was rotated already, or has expired.
        """
        created = await keys.rotate(self._resources.database, key_id, grace_s=grace_s)
        self._resources.authentication.forget()
        return created

    @operation(Scope.ADMIN, audited=True)
    async def delete(self, key_id: str) -> None:
        """Delete an API key.

        It stops working within a second.
        """
        await keys.delete(self._resources.database, key_id)
        self._resources.authentication.forget()

    @operation(Scope.ADMIN)
    async def list_audit(self, limit: int = 50, cursor: str | None = None) -> AuditPage:
        """List the audit log.

        Changes of keys, datasets, strategies, schedules, queue and dead letters, deletions of backtests, and refused attempts, newest first; of the
        command line only what succeeded. Entries are kept for a year.
        """
        return await audit.page(self._resources.database, limit=limit, cursor=cursor)

    @operation(Scope.READ)
    async def get_caller(self) -> Caller:
        """Get the caller.

        The owner and the scope that this request has by its key.
        """
        return self._caller
