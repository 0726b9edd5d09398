"""The Redis server of the queue: whether the queue can write to it, and which of its settings can lose jobs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError

from workers.errors import Unavailable
from workers.queue.queue import Queue

# Since this version, Redis has all commands of the queue's script.
MIN_VERSION: Final = (6, 2)
FULL: Final = 0.9
# By the first word of Redis' error.
_REFUSALS: Final = {
    "NOREPLICAS": ("no_replicas", "has too few replicas", "bring its replicas back, or lower min-replicas-to-write"),
    "MISCONF": ("disk_failed", "can't write its files", "free space on its disk; its log has the reason"),
    "CROSSSLOT": ("cluster_mode", "is a cluster", "use a server without cluster mode, in which scripts can't use all keys of the queue"),
}
_REFUSALS_BY_TYPE: Final = {
    OutOfMemoryError: ("out_of_memory", "has reached maxmemory", "raise maxmemory, or delete keys of other programs"),
    ReadOnlyError: ("read_only", "is a read-only replica", "set REDIS_URL to the primary"),
}


async def product(queue: Queue) -> str:
    """`redis` or `valkey`.

    Raises:
        Unavailable: it runs in cluster mode.
    """
    info = await queue.redis.info("server")
    if _is_cluster(info):
        raise _refusal(_REFUSALS["CROSSSLOT"])
    return str(info.get("server_name", "redis"))


async def check_writable(queue: Queue) -> None:
    """Do what the queue does to write, without changing anything.

    Raises:
        Unavailable: the server refuses it; `code` says why.
    """
    try:
        await queue.check_writable()
    except ResponseError as error:
        known = _REFUSALS_BY_TYPE.get(type(error)) or _REFUSALS.get(str(error).partition(" ")[0])
        if known is None:
            raise Unavailable(f"Redis refuses writes ({error})", hint="see its configuration", code="refused") from error
        raise _refusal(known) from error


async def list_risks(queue: Queue) -> list[str]:
    """What can make the server lose or refuse jobs, each as a sentence for operators."""
    return list(_risks(await queue.redis.info()))


def _risks(info: Mapping[str, Any]) -> Iterator[str]:
    if _is_cluster(info):
        yield "Redis runs in cluster mode, in which no job can run; use a server without it"
    version = str(info.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < MIN_VERSION:
        yield f"Redis {version} lacks commands of the queue; use {'.'.join(map(str, MIN_VERSION))} or newer, or Valkey"
    if (policy := info.get("maxmemory_policy", "noeviction")) != "noeviction":
        yield f"Redis deletes jobs when its memory is full (maxmemory-policy {policy}); set maxmemory-policy noeviction"
    if not info.get("aof_enabled", 1):
        yield "Redis loses the queue when it restarts, until workers refill it; set appendonly yes"
    if info.get("aof_last_write_status", "ok") != "ok":
        yield "Redis can't write its append-only file; free space on its disk"
    if info.get("role") == "slave":
        yield "Redis is a replica; set REDIS_URL to the primary"
    limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    if limit and used > FULL * limit:
        yield f"Redis uses {used / limit:.0%} of maxmemory; raise it, or delete keys of other programs"


def _is_cluster(info: Mapping[str, Any]) -> bool:
    return "cluster" in (info.get("redis_mode"), info.get("server_mode"))  # the second is Valkey's


def _refusal(reason: tuple[str, str, str]) -> Unavailable:
    code, text, hint = reason
    return Unavailable(f"Redis {text}", hint=hint, code=code)
