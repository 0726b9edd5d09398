"""Settings of the service, read once from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from workers.errors import Invalid

PREFIX = "BARSTORM_"
_UNPREFIXED = {"database_url": "DATABASE_URL", "redis_url": "REDIS_URL"}
_DRIVERS = {
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
}


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Locations of data and servers, and limits of the workers.

    Each field is read from the environment variable BARSTORM_<FIELD>, except DATABASE_URL and REDIS_URL. Without these two, the service
    uses a SQLite file and an embedded Valkey in `data_dir`.

    Raises:
        Invalid: a value has the wrong type or is out of range.
    """

    data_dir: Annotated[str, Meta(description="Data folder, for what is not stored elsewhere: database, queue, bars and results.")] = "var"
    database_url: Annotated[str, Meta(description="postgresql://user@host/name or sqlite:///file; empty: SQLite in the data folder.")] = ""
    redis_url: Annotated[str, Meta(description="redis://host:6379/0 or unix:///socket; empty: an embedded Valkey.")] = ""
    artifacts_url: Annotated[str, Meta(description="Bucket for bars and results, as s3://bucket/folder; empty: the data folder.")] = ""
    workers: Annotated[int, Meta(ge=0, le=1024, description="Worker processes of `serve` and `worker`; 0: one per core.")] = 0
    concurrency: Annotated[int, Meta(ge=1, le=256, description="Jobs that a worker process runs at the same time.")] = 2
    owner_concurrency: Annotated[
        int, Meta(ge=0, description="Jobs of one owner that run at the same time, on all workers; 0: no limit.")
    ] = 0
    lease_s: Annotated[float, Meta(ge=0.2, le=3600, description="How long a worker may be silent before another takes over its jobs.")] = (
        15.0
    )
    job_timeout_s: Annotated[float, Meta(gt=0, description="Longest time that a job may run; then it fails.")] = 3600.0
    isolate_python: Annotated[bool, Meta(description="Whether jobs on the Python engine run in a separate process each.")] = False
    max_failures: Annotated[int, Meta(ge=1, le=100, description="Failed attempts after which a run becomes a dead letter.")] = 5
    retry_s: Annotated[float, Meta(ge=0, description="Longest wait before the first retry; it doubles with each retry.")] = 1.0
    drain_s: Annotated[
        float, Meta(ge=0, description="How long a stopping worker waits for its jobs before it returns them to the queue.")
    ] = 20.0
    idle_s: Annotated[float, Meta(ge=0, description="Idle time after which `worker --min` stops a process.")] = 30.0
    reconcile_s: Annotated[float, Meta(gt=0, description="How often the queue is compared with the database.")] = 10.0
    gc_s: Annotated[
        float, Meta(gt=0, description="Period of garbage collection, and the age from which unreferenced files are deleted.")
    ] = 3600.0
    bars_cache_mb: Annotated[int, Meta(ge=0, description="Bars cached in the memory of a worker process.")] = 256
    columns_cache_mb: Annotated[int, Meta(ge=0, description="Bars cached on the local disk, for all processes of a machine.")] = 10_000
    upload_mb: Annotated[int, Meta(ge=1, le=1_000_000, description="Largest file accepted in one request.")] = 2_200
    work_processes: Annotated[
        int, Meta(ge=1, le=256, description="Diagnoses, imports and the like that an API process works on at once, of each kind.")
    ] = 2
    work_timeout_s: Annotated[float, Meta(gt=0, description="Longest time that a diagnosis, an import or the like may take.")] = 120.0
    work_memory_mb: Annotated[int, Meta(ge=100, description="Memory that a diagnosis, an import or the like may use.")] = 2_000
    datasets_mb: Annotated[int, Meta(ge=1, description="Limit of all stored market data.")] = 1_000_000
    owner_datasets_mb: Annotated[int, Meta(ge=0, description="Limit of the market data of one owner; 0: no limit per owner.")] = 0
    require_keys: Annotated[bool, Meta(description="Whether every request needs an API key; otherwise only as soon as there is one.")] = (
        False
    )
    allowed_hosts: Annotated[
        str, Meta(description="Host names, separated by commas, that requests may be sent to; * for any. Loopback names always may.")
    ] = ""
    cors_origins: Annotated[
        str, Meta(description="Origins, such as https://app.example.com, separated by commas, whose pages may use the API.")
    ] = ""
    owner_requests_s: Annotated[
        float,
        Meta(ge=0, le=1_000_000, description="Requests a second of one owner with an API key, in bursts ten times as many; 0: no limit."),
    ] = 100.0
    owner_runs: Annotated[
        int, Meta(ge=0, description="Unfinished backtests of one owner at a time, without those that wait for an equal one; 0: no limit.")
    ] = 0
    owner_bars_a_day: Annotated[int, Meta(ge=0, description="Bars that one owner's backtests of a UTC day may compute; 0: no limit.")] = 0
    exchange_proxy_url: Annotated[str, Meta(description="Proxy whose URL is put before that of each request to an exchange.")] = ""
    log_format: Annotated[Literal["console", "json"], Meta(description="console for people, json for programs.")] = "console"
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="debug, info, warning or error.")] = "info"

    def __post_init__(self) -> None:
        try:
            msgspec.convert(msgspec.structs.asdict(self), _Checked)
        except msgspec.ValidationError as error:
            text, _, path = str(error).partition(" - at `$.")
            raise Invalid(text, where=path.rstrip("`") or "settings", hint="see `barstorm --help` for the settings") from None
        folder = Path(self.data_dir).absolute()
        msgspec.structs.force_setattr(self, "data_dir", str(folder))
        url = self.database_url or f"sqlite:///{folder / 'barstorm.sqlite'}"
        scheme, separator, rest = url.partition("://")
        if not separator or scheme not in _DRIVERS:
            raise Invalid(
                f"unsupported database {scheme!r:.40}", where="database_url", hint="use postgresql://user@host/name or sqlite:///file"
            )
        msgspec.structs.force_setattr(self, "database_url", f"{_DRIVERS[scheme]}://{rest}")
        if self.artifacts_url and not self.artifacts_url.startswith("s3://"):
            raise Invalid(
                f"unsupported file store {self.artifacts_url.partition('://')[0]!r:.40}",
                where="artifacts_url",
                hint="use s3://bucket/folder",
            )
        if self.redis_url and self.redis_url.partition("://")[0] not in ("redis", "rediss", "unix"):
            raise Invalid(
                f"unsupported Redis URL {self.redis_url.partition('://')[0]!r:.40}",
                where="redis_url",
                hint="use redis://host:6379/0 or unix:///socket",
            )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """The settings in the environment."""
        source = os.environ if environ is None else environ
        values = {name: source[variable(name)] for name in cls.__struct_fields__ if source.get(variable(name))}
        try:
            return msgspec.convert(values, cls, strict=False)
        except Invalid as error:
            raise Invalid(error.message, where=variable(error.where), hint=error.hint) from None
        except msgspec.ValidationError as error:
            text, _, path = str(error).partition(" - at `$.")
            raise Invalid(text, where=variable(path.rstrip("`")), hint="see `barstorm --help` for the settings") from None

    def to_env(self) -> dict[str, str]:
        """These settings as environment variables, for another process."""
        return {variable(name): str(value) for name, value in msgspec.structs.asdict(self).items()}

    @property
    def folder(self) -> Path:
        return Path(self.data_dir)

    @property
    def is_sqlite(self) -> bool:
        return self.database_url.startswith("sqlite")


def variable(name: str) -> str:
    """The environment variable of a field."""
    return _UNPREFIXED.get(name, PREFIX + name.upper())


# Constructors of structs don't validate; `__post_init__` converts to this twin, which makes msgspec check types and ranges.
_Checked = msgspec.defstruct("Settings", [(field.name, field.type) for field in msgspec.structs.fields(Settings)], frozen=True)
