"""The checks that come before every handler: where a request was sent, from which page, by whom, and how often."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from litestar.datastructures import Headers
from litestar.types import Scope

from api.http.problems import ProblemError
from workers import Invalid, Service, Settings, Unauthenticated
from workers.service.unavailable import translate_connection_errors

# Paths that need no key: the page of the API and its files, and what load balancers ask.
PUBLIC: Final = re.compile(r"/|/schema(/.*)?|/health/\w+")
SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")
# Keys in the state of a request.
ALLOWANCE: Final = "allowance"
_PORT: Final = re.compile(r":\d{1,5}$")


class Guard:
    """The checks of one application."""

    def __init__(self, settings: Settings) -> None:
        self._hosts = frozenset(host.strip("[]") for host in _split(settings.allowed_hosts))
        self._origins = frozenset(_split(settings.cors_origins))
        self._is_ours = lru_cache(maxsize=1_000)(self._names_us)

    def check_origin(self, method: str, headers: Headers) -> None:
        """
        Raises:
            ProblemError: the request was sent to a name that is not ours, which a page of another site can make point here, or it is a change
                that such a page asks for.
        """
        hosts = headers.getall("host", [])
        host = hosts[0].lower() if len(hosts) == 1 else ""
        if not host or not self._is_ours(host):
            received = f"not {host!r:.80}" if host else "exactly one"
            detail = f"the Host header must name this service, {received}; BARSTORM_ALLOWED_HOSTS lists other names than those of loopback"
            raise ProblemError(421 if host else 400, detail, code="unknown_host")
        if method not in SAFE_METHODS and not self._may_change(headers, host):
            raise ProblemError(403, "cross-site request: only pages of this host may make changes", code="cross_site")

    async def identify(self, scope: Scope, headers: Headers, service: Service) -> Service:
        """The service for the caller of the request.

        Raises:
            Unauthenticated, Forbidden, TooManyRequests: see `workers.accounts`.
            Unavailable: the database can't be reached.
        """
        resources = service.resources
        scheme, _, secret = headers.get("authorization", "").strip().partition(" ")
        if scheme and (scheme.lower() != "bearer" or not secret.strip()):
            raise Unauthenticated(
                "the Authorization header is not valid", where="Authorization", hint="send a key as `Authorization: Bearer bst_...`"
            )
        with translate_connection_errors():
            caller = await resources.authentication.caller(secret.strip(), _owner(headers))
        if caller.key_id and (allowance := await resources.rate_limit.use(caller.owner)) is not None:
            scope["state"][ALLOWANCE] = allowance
            allowance.check()
        return service.acting_as(caller)

    def _names_us(self, host: str) -> bool:
        name = _PORT.sub("", host).strip("[]")
        return "*" in self._hosts or name in self._hosts or _is_loopback(name)

    def _may_change(self, headers: Headers, host: str) -> bool:
        origin = headers.get("origin")
        if origin is None:
            return headers.get("sec-fetch-site") != "cross-site"
        try:
            return origin in self._origins or urlsplit(origin).netloc.lower() == host
        except ValueError:  # not a URL
            return False


def _owner(headers: Headers) -> str | None:
    """The owner whom a request names, which clients send in UTF-8 and ASGI servers read as Latin-1."""
    try:
        return headers["barstorm-owner"].encode("latin-1").decode() if "barstorm-owner" in headers else None
    except UnicodeDecodeError:
        raise Invalid("the owner is not UTF-8", where="Barstorm-Owner") from None


def _split(text: str) -> list[str]:
    return [part.strip().lower() for part in text.split(",") if part.strip()]


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
