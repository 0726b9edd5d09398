"""API keys: 256 random bits, of which only a hash is stored, and a prefix to look it up by."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import Annotated, Any, Final

import msgspec
import sqlalchemy as sa
from msgspec import Meta
from sqlalchemy.ext.asyncio import AsyncSession

from workers.cache import cache_with_key
from workers.db.database import Database
from workers.db.paging import page_of
from workers.db.tables import ApiKeyRow
from workers.errors import Conflict, Invalid, NotFound, Unauthenticated
from workers.model.callers import Caller, Scope
from workers.model.clock import LAST_MS, TimeMs, now_ms
from workers.model.names import LABEL_PATTERN, MAX_NAME_LENGTH, OPTIONAL_LABEL_PATTERN, Id, check_label, check_owner, is_reference, new_id
from workers.model.pages import NextCursor

SECRET_BYTES: Final = 32
MAX_GRACE_S: Final = 30 * 86_400
# How exactly the last use of a key is known, so that not every request writes it.
LAST_USE_MS: Final = 60_000
_KEY: Final = re.compile(r"bst_(?P<prefix>[0-9a-f]{12})_(?P<secret>[\w-]{43})", re.ASCII)


class KeyRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An API key to create."""

    name: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=MAX_NAME_LENGTH,
            description="What the key is for.",
            examples=["notebook"],
            extra_json_schema={"pattern": LABEL_PATTERN},
        ),
    ]
    owner: Annotated[
        Annotated[str, Meta(extra_json_schema={"pattern": OPTIONAL_LABEL_PATTERN, "maxLength": MAX_NAME_LENGTH})] | None,
        Meta(description="Owner of all that is created with the key; default: the owner of the caller.", examples=["anna"]),
    ] = None
    scope: Annotated[
        Scope,
        Meta(
            description="The most that the key may do: `read`, `write` what belongs to its owner, or `admin`: keys, queue and all owners."
        ),
    ] = Scope.WRITE
    expires_at: Annotated[
        Annotated[int, Meta(ge=0, le=LAST_MS)] | None,
        Meta(description="When the key stops working, UTC epoch milliseconds; default: never.", examples=[1_798_761_600_000]),
    ] = None

    def __post_init__(self) -> None:
        try:
            check_label(self.name, where="name")
            check_owner(self.owner or "")
        except Invalid as error:
            raise ValueError(str(error)) from None


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """An API key, without its secret, which nobody can read again."""

    id: Id
    prefix: Annotated[str, Meta(description="First characters of the key, by which people recognize it.", examples=["bst_5f0c2a9be741"])]
    name: Annotated[str, Meta(description="What the key is for.")]
    owner: Annotated[str, Meta(description="Owner of all that is created with the key, or empty.")]
    scope: Annotated[Scope, Meta(description="The most that the key may do.")]
    created_at: Annotated[TimeMs, Meta(description="When it was created, UTC epoch milliseconds.")]
    expires_at: Annotated[TimeMs | None, Meta(description="When the key stops working, UTC epoch milliseconds; null: never.")]
    last_used_at: Annotated[TimeMs | None, Meta(description="When it was last used, to the minute, UTC epoch milliseconds; null: not yet.")]


class NewApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A new API key with its secret, which is shown only this once."""

    key: Annotated[ApiKey, Meta(description="The key as it can be read later.")]
    secret: Annotated[str, Meta(description="The whole key, to be sent as `Authorization: Bearer`. Store it now.")]


class ApiKeyPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of API keys, newest first."""

    items: Annotated[tuple[ApiKey, ...], Meta(description="The keys of this page.")]
    next_cursor: NextCursor


async def create(database: Database, caller: Caller, request: KeyRequest) -> NewApiKey:
    """Create a key.

    Raises:
        Invalid: it would have expired already.
    """
    owner = caller.owner if request.owner is None else request.owner
    if request.expires_at is not None and request.expires_at <= now_ms():
        raise Invalid(f"{request.expires_at} has passed", where="expires_at", hint="use a time to come, in UTC epoch milliseconds")
    row, secret = _generate(name=request.name, owner=owner, scope=request.scope, expires_at=request.expires_at)
    async with database.write() as session:
        session.add(row)
    return NewApiKey(key=_to_key(row), secret=secret)


async def get(database: Database, key_id: str) -> ApiKey:
    """
    Raises:
        NotFound: there is no such key.
    """
    async with database.read() as session:
        return _to_key(await _row(session, key_id))


async def page(database: Database, *, limit: int, cursor: str | None) -> ApiKeyPage:
    """All keys, newest first."""
    async with database.read() as session:
        rows, next_cursor = await page_of(session, "keys", ApiKeyRow, limit=limit, cursor=cursor)
    return ApiKeyPage(items=tuple(map(_to_key, rows)), next_cursor=next_cursor)


async def rotate(database: Database, key_id: str, *, grace_s: int) -> NewApiKey:
    """Replace a key by a new one with the same rights; the old one works for another `grace_s`.

    Raises:
        NotFound: there is no such key.
        Conflict: it was rotated already, or has expired.
    """
    now = now_ms()
    async with database.write() as session:
        old = await _row(session, key_id, lock=True)
        if old.replaced_by is not None:
            hint = f"rotate its replacement, {old.replaced_by}"
            raise Conflict(f"key {old.id} was rotated already", where="key", hint=hint, code="key_rotated")
        if old.expires_at is not None and old.expires_at <= now:
            raise Conflict(f"key {old.id} has expired", where="key", hint="create another key", code="key_expired")
        row, secret = _generate(name=old.name, owner=old.owner, scope=Scope(old.scope), expires_at=old.expires_at)
        session.add(row)
        old.replaced_by = row.id
        ends_at = now + grace_s * 1000
        old.expires_at = ends_at if old.expires_at is None else min(old.expires_at, ends_at)
    return NewApiKey(key=_to_key(row), secret=secret)


async def delete(database: Database, key_id: str) -> None:
    """Delete a key, which stops working at once, in other processes within a second.

    Raises:
        NotFound: there is no such key.
    """
    async with database.write() as session:
        await session.delete(await _row(session, key_id, lock=True))


# Cached, so that all open streams together ask once a second at most, for each key.
@cache_with_key("key:{database.engine.url}:{key_id}", ttl_s=1.0)
async def ends_at(database: Database, key_id: str) -> int | None:
    """When a key stops working, UTC epoch milliseconds; None: never, 0: it was deleted."""
    found = await database.query(
        lambda connection: connection.execute(sa.select(ApiKeyRow.expires_at).where(ApiKeyRow.id == key_id)).first()
    )
    return 0 if found is None else found.expires_at


@cache_with_key("keys:{database.engine.url}", ttl_s=1.0)
async def any_exist(database: Database) -> bool:
    """Whether there is any key, as known within a second."""
    return await database.query(exist)


def exist(connection: sa.Connection) -> bool:
    """Whether there is any key, valid or expired."""
    return connection.execute(sa.select(ApiKeyRow.id).limit(1)).first() is not None


def identify(connection: sa.Connection, secret: str) -> tuple[Caller, int | None]:
    """The caller with this key, and when the key expires.

    Raises:
        Unauthenticated: there is no such key, or it has expired.
    """
    parts = _KEY.fullmatch(secret)
    row = None if parts is None else connection.execute(_FIND, {"its_prefix": parts["prefix"]}).one_or_none()
    if parts is None or row is None or not hmac.compare_digest(row.hash, _hash(parts["secret"])):
        raise Unauthenticated("the API key is not valid", where="Authorization", hint="send a key as `Authorization: Bearer bst_...`")
    if row.expires_at is not None and row.expires_at <= now_ms():
        hint = "use another key, or let an administrator create one"
        raise Unauthenticated("the API key has expired", where="Authorization", hint=hint, code="key_expired")
    scope = Scope(row.scope)
    return Caller(owner=row.owner, scope=scope, sees_all=scope is Scope.ADMIN, key_id=row.id), row.expires_at


def record_use(connection: sa.Connection, key_id: str) -> None:
    """Record that a key was used just now."""
    connection.execute(sa.update(ApiKeyRow).where(ApiKeyRow.id == key_id).values(last_used_at=now_ms()))


_FIND: Final = sa.select(*(getattr(ApiKeyRow, name) for name in ("id", "hash", "owner", "scope", "expires_at"))).where(
    ApiKeyRow.prefix == sa.bindparam("its_prefix")
)


def _generate(**values: Any) -> tuple[ApiKeyRow, str]:
    """A new row and the key that it stands for."""
    prefix, secret = secrets.token_hex(6), secrets.token_urlsafe(SECRET_BYTES)
    row = ApiKeyRow(id=new_id(), prefix=prefix, hash=_hash(secret), created_at=now_ms(), **values)
    return row, f"bst_{prefix}_{secret}"


def _hash(secret: str) -> str:
    # Random bits need no slow hash.
    return hashlib.sha256(secret.encode()).hexdigest()


async def _row(session: AsyncSession, key_id: str, *, lock: bool = False) -> ApiKeyRow:
    row = await session.get(ApiKeyRow, key_id, with_for_update=lock or None) if is_reference(key_id) else None
    if row is None:
        raise NotFound(f"key {key_id!r:.130} not found", where="key", hint="use an id from the list of keys")
    return row


def _to_key(row: ApiKeyRow) -> ApiKey:
    return ApiKey(
        id=row.id,
        prefix=f"bst_{row.prefix}",
        name=row.name,
        owner=row.owner,
        scope=Scope(row.scope),
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
    )
