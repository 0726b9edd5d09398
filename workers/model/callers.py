"""Who makes a request, and what it may do and see."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from workers.errors import Forbidden


class Scope(StrEnum):
    """What a caller may do: read, change what belongs to its owner, or administer the service. Each includes those before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


_RANKS: Final = {scope: rank for rank, scope in enumerate(Scope)}


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who makes a request. What it creates belongs to `owner`, and names are those that this owner has given."""

    owner: Annotated[str, Meta(description="Owner of what the caller creates; empty for a service without keys.")] = ""
    scope: Annotated[Scope, Meta(description="The most that the caller may do.")] = Scope.READ
    sees_all: Annotated[bool, Meta(description="Whether it sees what other owners have, too, by id and in lists.")] = False
    key_id: Annotated[str, Meta(description="Id of the API key, or empty without one.")] = ""

    def require(self, scope: Scope) -> None:
        """
        Raises:
            Forbidden: the caller may not do what needs this scope.
        """
        if _RANKS[self.scope] < _RANKS[scope]:
            raise Forbidden(
                f"this needs the scope {scope}, and the key has the scope {self.scope}",
                where="Authorization",
                hint=f"use a key with scope {scope}",
            )

    def sees(self, owner: str) -> bool:
        """Whether the caller sees what this owner has."""
        return self.sees_all or owner == self.owner


# The service itself, its command line, and clients of a service without keys.
OPERATOR: Final = Caller(scope=Scope.ADMIN, sees_all=True)
