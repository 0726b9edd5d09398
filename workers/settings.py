"""Settings of the service: the environment, read once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from workers.errors import Invalid

PREFIX = "BARSTORM_"
_OWN_NAMES = {"database_url": "DATABASE_URL", "redis_url": "REDIS_URL"}
_DRIVERS = {
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
}


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the parts are and how the workers behave.

    Each field is the environment variable BARSTORM_<FIELD>, but for DATABASE_URL and REDIS_URL. Empty URLs mean a SQLite file and a
    Valkey of our own, both in `data_dir`.

    Raises:
        Invalid: names the field, its value and what would be right.
    """

    data_dir: str = "var"
    database_url: str = ""
    redis_url: str = ""
    artifacts_url: Annotated[str, Meta(description="s3://bucket/folder for bars and results, with AWS_ variables; empty: in data_dir.")] = (
        ""
    )
    workers: Annotated[int, Meta(ge=0, le=1024, description="Worker processes of `serve`; 0: one for each core.")] = 0
    concurrency: Annotated[int, Meta(ge=1, le=256, description="Jobs that one worker process runs at once.")] = 2
    owner_concurrency: Annotated[int, Meta(ge=0, description="Jobs of one owner that run at once, on all workers; 0: no limit.")] = 0
    lease_s: Annotated[float, Meta(ge=0.2, le=3600, description="A job whose worker is silent for so long goes to another.")] = 15.0
    job_timeout_s: Annotated[float, Meta(gt=0, description="A job that runs longer fails.")] = 3600.0
    isolate_python: Annotated[bool, Meta(description="Whether the Python kernel runs in a process of its own for each job.")] = False
    max_failures: Annotated[int, Meta(ge=1, le=100, description="Failed attempts after which a job is dead.")] = 5
    retry_s: Annotated[float, Meta(ge=0, description="Upper bound of the first wait before a retry; it doubles each time.")] = 1.0
    drain_s: Annotated[float, Meta(ge=0, description="What a stopping worker gives its jobs before it hands them back.")] = 20.0
    idle_s: Annotated[float, Meta(ge=0, description="A worker process that nothing calls for is kept so long, where fewer may do.")] = 30.0
    reconcile_s: Annotated[float, Meta(gt=0, description="How often the queue is compared with the database.")] = 10.0
    gc_s: Annotated[float, Meta(gt=0, description="How often files that nothing names are deleted, if they are older than this.")] = 3600.0
    bars_cache_mb: Annotated[int, Meta(ge=0, description="Bars that a worker process keeps in memory.")] = 256
    columns_cache_mb: Annotated[
        int, Meta(ge=0, description="Bars that all processes of a machine keep on its disk, ready to be mapped.")
    ] = 10_000
    upload_mb: Annotated[int, Meta(ge=1, le=1_000_000, description="Largest file that is taken in one request.")] = 2_200
    datasets_mb: Annotated[int, Meta(ge=1, description="Market data kept in all; more is refused.")] = 1_000_000
    owner_datasets_mb: Annotated[int, Meta(ge=0, description="Market data kept of one owner; 0: no limit of his own.")] = 0
    exchange_proxy_url: Annotated[str, Meta(description="Put before each address of an exchange, for a proxy that works so.")] = ""
    cache_entries: Annotated[int, Meta(ge=0, description="Results kept in Redis.")] = 10_000
    cache_ttl_s: Annotated[int, Meta(ge=1, description="How long a result stays in Redis.")] = 86_400
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

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
                f"{scheme!r:.40} is no database we speak", where="database_url", hint="use postgresql://user@host/name or sqlite:///file"
            )
        msgspec.structs.force_setattr(self, "database_url", f"{_DRIVERS[scheme]}://{rest}")
        if self.artifacts_url and not self.artifacts_url.startswith("s3://"):
            raise Invalid(
                f"{self.artifacts_url.partition('://')[0]!r:.40} is no store we speak", where="artifacts_url", hint="use s3://bucket/folder"
            )
        if self.redis_url and self.redis_url.partition("://")[0] not in ("redis", "rediss", "unix"):
            raise Invalid(
                f"{self.redis_url.partition('://')[0]!r:.40} is no Redis URL",
                where="redis_url",
                hint="use redis://host:6379/0 or unix:///socket",
            )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """The settings that the environment asks for."""
        source = os.environ if environ is None else environ
        values = {name: source[variable(name)] for name in cls.__struct_fields__ if source.get(variable(name))}
        try:
            return msgspec.convert(values, cls, strict=False)
        except msgspec.ValidationError as error:
            if isinstance(error.__cause__, Invalid):
                raise error.__cause__ from None
            text, _, path = str(error).partition(" - at `$.")
            raise Invalid(text, where=variable(path.rstrip("`")), hint="see `barstorm --help` for the settings") from None

    def to_env(self) -> dict[str, str]:
        """The environment that gives these settings to another process."""
        return {variable(name): str(value) for name, value in msgspec.structs.asdict(self).items()}

    @property
    def folder(self) -> Path:
        return Path(self.data_dir)

    @property
    def is_sqlite(self) -> bool:
        return self.database_url.startswith("sqlite")


def variable(name: str) -> str:
    """The environment variable of a field."""
    return _OWN_NAMES.get(name, PREFIX + name.upper())


# A constructor checks nothing; a twin without __post_init__ has msgspec check types and ranges there, too.
_Checked = msgspec.defstruct("Settings", [(field.name, field.type) for field in msgspec.structs.fields(Settings)], frozen=True)
