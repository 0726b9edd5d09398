"""Tables. Times are epoch milliseconds; JSON is stored as text, as msgspec wrote it."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy import BigInteger, Boolean, Column, Double, ForeignKey, Index, Integer, LargeBinary, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from python_core.metrics import COUNTS, RUN_NAMES
from workers.model.states import OPEN, Priority, RunState

_ID = String(36)
_HASH = String(64)
_NAME = String(120)
# Conditions on runs, for partial indexes and for the queries that use them: a database sees that such an index serves a query only if its
# condition stands there literally, not as parameters.
IS_OPEN: Final = sa.text(f"state IN ({', '.join(repr(str(state)) for state in sorted(OPEN))})")
HAS_SUCCEEDED: Final = sa.text(f"state = '{RunState.SUCCEEDED}'")
IS_FOLLOWER: Final = sa.text("leader_id IS NOT NULL")
IS_NAMED: Final = sa.text("name <> ''")
IS_FETCH: Final = sa.text("kind = 'data_fetch'")
_HAS_STRATEGY = sa.text("strategy_id IS NOT NULL")
_UNFINISHED = sa.text("state IN ('running', 'undoing')")


class Table(DeclarativeBase):
    metadata = sa.MetaData(
        naming_convention={
            "pk": "%(table_name)s_pk",
            "uq": "%(table_name)s_%(column_0_name)s_unique",
            "ix": "%(table_name)s_by_%(column_0_name)s",
            "fk": "%(table_name)s_%(column_0_name)s_fk",
        }
    )
    type_annotation_map = {str: Text(), int: BigInteger(), float: Double()}  # noqa: RUF012


class DatasetRow(Table):
    """A market's data in one timeframe. The columns from `version` on describe the newest version."""

    __tablename__ = "datasets"
    __table_args__ = (sa.UniqueConstraint("owner", "name"), Index("datasets_by_name", "name", "owner"))

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    name: Mapped[str] = mapped_column(_NAME)
    symbol: Mapped[str]
    exchange: Mapped[str] = mapped_column(default="")
    kind: Mapped[str] = mapped_column(String(8), default="spot")
    owner: Mapped[str] = mapped_column(_NAME, default="")
    tick_size: Mapped[float | None]
    lot_size: Mapped[float | None]
    timeframe: Mapped[str] = mapped_column(String(8))
    created_at: Mapped[int]
    version: Mapped[int] = mapped_column(default=1)
    rows: Mapped[int]
    start: Mapped[int]
    end: Mapped[int]
    gaps: Mapped[int] = mapped_column(default=0)
    fingerprint: Mapped[str] = mapped_column(_HASH)
    bytes: Mapped[int]
    source: Mapped[str] = mapped_column(default="")
    updated_at: Mapped[int] = mapped_column(default=0)


class DatasetVersionRow(Table):
    """An immutable version of a dataset, created at `updated_at`."""

    __tablename__ = "dataset_versions"

    dataset_id: Mapped[str] = mapped_column(_ID, ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    rows: Mapped[int]
    start: Mapped[int]
    end: Mapped[int]
    gaps: Mapped[int]
    fingerprint: Mapped[str] = mapped_column(_HASH)
    bytes: Mapped[int]
    source: Mapped[str]
    updated_at: Mapped[int]
    report: Mapped[str | None]


class PartRow(Table):
    """A file with a stretch of a series; versions share files."""

    __tablename__ = "dataset_parts"
    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["dataset_id", "version"],
            ["dataset_versions.dataset_id", "dataset_versions.version"],
            name="dataset_parts_version_fk",
            ondelete="CASCADE",
        ),
    )

    dataset_id: Mapped[str] = mapped_column(_ID, primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    series: Mapped[str] = mapped_column(String(8), primary_key=True)
    start: Mapped[int] = mapped_column(primary_key=True)
    end: Mapped[int]
    rows: Mapped[int]
    hash: Mapped[str] = mapped_column(_HASH, index=True)
    bytes: Mapped[int]


class DatasetGapRow(Table):
    """Candles that the exchange doesn't have, from the first to the last missing one."""

    __tablename__ = "dataset_gaps"

    dataset_id: Mapped[str] = mapped_column(_ID, ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True)
    start: Mapped[int] = mapped_column(primary_key=True)
    end: Mapped[int]


class CatalogRow(Table):
    """One row of numbers by which processes know whether what they remember still holds.

    `revision` rises with every change of a dataset or a stored strategy, `runs_revision` when labels of a succeeded run change or it is deleted.
    """

    __tablename__ = "catalog"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    revision: Mapped[int]
    runs_revision: Mapped[int] = mapped_column(server_default="1")


class ScheduleRow(Table):
    """A repeated fetch; `fetch_id` is the run of the latest one."""

    __tablename__ = "schedules"
    __table_args__ = (sa.UniqueConstraint("owner", "dataset"), Index("schedules_by_dataset", "dataset", "owner"))

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    dataset: Mapped[str] = mapped_column(_NAME)
    request: Mapped[str]
    every_ms: Mapped[int]
    owner: Mapped[str] = mapped_column(_NAME, default="")
    created_at: Mapped[int]
    next_at: Mapped[int] = mapped_column(index=True)
    fetch_id: Mapped[str | None] = mapped_column(_ID)


class StrategyRow(Table):
    __tablename__ = "strategies"
    __table_args__ = (sa.UniqueConstraint("owner", "name"), Index("strategies_by_name", "name", "owner"))

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    owner: Mapped[str] = mapped_column(_NAME, default="")
    name: Mapped[str] = mapped_column(_NAME)
    strategy: Mapped[str]
    version: Mapped[int]
    created_at: Mapped[int]
    updated_at: Mapped[int]


class RunRow(Table):
    """`attempt` counts starts; a write of an older attempt is refused. `job` is the number of the queue job that may start the run next.

    Runs with the same `coalesce_key` have the same owner and the same result: while one is open, later ones refer to it by `leader_id`, set its
    `has_followers`, and change state with it. `output` is the result of a kind of job that has no table for it. Ids sort by time of creation, and
    so do the indexes that end with it. `tags` is a JSON list; the rows of `RunTagRow` say the same, for filters.
    """

    __tablename__ = "runs"
    __table_args__ = (
        Index("runs_by_state", "state", "id"),
        Index("runs_open", "updated_at", sqlite_where=IS_OPEN, postgresql_where=IS_OPEN),
        Index("runs_open_by_owner", "owner", sqlite_where=IS_OPEN, postgresql_where=IS_OPEN),
        Index("runs_by_coalesce_key", "coalesce_key", sqlite_where=IS_OPEN, postgresql_where=IS_OPEN),
        Index("runs_by_leader", "leader_id", sqlite_where=IS_FOLLOWER, postgresql_where=IS_FOLLOWER),
        Index("runs_by_result", "fingerprint", "owner", "name", "id", sqlite_where=HAS_SUCCEEDED, postgresql_where=HAS_SUCCEEDED),
        Index("runs_by_owner", "owner", "id"),
        Index("runs_by_dataset", "dataset_id", "id"),
        Index("runs_by_strategy", "strategy_id", "id", sqlite_where=_HAS_STRATEGY, postgresql_where=_HAS_STRATEGY),
        Index("runs_by_name", "name", "id", sqlite_where=IS_NAMED, postgresql_where=IS_NAMED),
        Index("runs_that_fetch", "id", sqlite_where=IS_FETCH, postgresql_where=IS_FETCH),
        Index("runs_that_fetch_by_owner", "owner", "id", sqlite_where=IS_FETCH, postgresql_where=IS_FETCH),
    )

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    name: Mapped[str] = mapped_column(_NAME, default="", server_default="")
    tags: Mapped[str] = mapped_column(default="[]", server_default="[]")
    notes: Mapped[str] = mapped_column(default="", server_default="")
    state: Mapped[str] = mapped_column(String(12))
    owner: Mapped[str] = mapped_column(_NAME, default="")
    priority: Mapped[str] = mapped_column(String(8), default=Priority.NORMAL)
    request: Mapped[str]
    dataset_id: Mapped[str | None] = mapped_column(_ID, ForeignKey("datasets.id"))
    dataset_version: Mapped[int] = mapped_column(default=1)
    strategy_id: Mapped[str | None] = mapped_column(_ID)
    strategy_version: Mapped[int | None]
    fingerprint: Mapped[str] = mapped_column(_HASH)
    coalesce_key: Mapped[str | None] = mapped_column(String(80))
    leader_id: Mapped[str | None] = mapped_column(_ID)
    has_followers: Mapped[bool] = mapped_column(default=False)
    attempt: Mapped[int] = mapped_column(default=0)
    job: Mapped[int] = mapped_column(default=1)
    failures: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[int]
    cached: Mapped[bool] = mapped_column(default=False)
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    worker: Mapped[str | None]
    engine: Mapped[str | None] = mapped_column(String(12))
    created_at: Mapped[int]
    updated_at: Mapped[int]
    started_at: Mapped[int | None]
    finished_at: Mapped[int | None]
    stages: Mapped[str | None]
    output: Mapped[str | None]
    error: Mapped[str | None]


class RunTagRow(Table):
    """A tag of a run."""

    __tablename__ = "run_tags"

    tag: Mapped[str] = mapped_column(String(40), primary_key=True)
    run_id: Mapped[str] = mapped_column(_ID, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True, index=True)


class AttemptRow(Table):
    __tablename__ = "attempts"

    run_id: Mapped[str] = mapped_column(_ID, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    worker: Mapped[str]
    started_at: Mapped[int]
    finished_at: Mapped[int | None]
    outcome: Mapped[str | None] = mapped_column(String(12))
    error: Mapped[str | None]


class OutboxRow(Table):
    """A job that is not in the queue yet."""

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True)
    run_id: Mapped[str] = mapped_column(_ID, ForeignKey("runs.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(String(20))
    job: Mapped[int]
    due_at: Mapped[int]


class PauseRow(Table):
    """Exists while its subject, the queue, is paused."""

    __tablename__ = "pauses"

    what: Mapped[str] = mapped_column(String(20), primary_key=True)
    since: Mapped[int]


class IdempotencyKeyRow(Table):
    """What a request with an idempotency key created. `key` is a hash of owner, operation and key, `request` a hash of the body. `subject_id` is an
    id or, of a version of a dataset, an id with `@` and a number."""

    __tablename__ = "idempotency_keys"

    key: Mapped[str] = mapped_column(_HASH, primary_key=True)
    request: Mapped[str] = mapped_column(_HASH)
    subject_id: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[int] = mapped_column(index=True)


class ApiKeyRow(Table):
    """An API key: `prefix` finds it, `hash` is that of its secret part; `replaced_by` is the id of the one that it was rotated to."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    prefix: Mapped[str] = mapped_column(String(12), unique=True)
    hash: Mapped[str] = mapped_column(_HASH)
    name: Mapped[str] = mapped_column(_NAME)
    owner: Mapped[str] = mapped_column(_NAME)
    scope: Mapped[str] = mapped_column(String(8))
    created_at: Mapped[int]
    expires_at: Mapped[int | None]
    last_used_at: Mapped[int | None]
    replaced_by: Mapped[str | None] = mapped_column(_ID)


class UsageRow(Table):
    """The bars that an owner's runs of one day compute; `day` counts from 1970."""

    __tablename__ = "usage"

    owner: Mapped[str] = mapped_column(_NAME, primary_key=True)
    day: Mapped[int] = mapped_column(primary_key=True)
    bars: Mapped[int]


class AuditRow(Table):
    """A change, or an attempt at one: who did what to which object. `outcome` is `ok` or the code of the error."""

    __tablename__ = "audit"

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    at: Mapped[int] = mapped_column(index=True)
    owner: Mapped[str] = mapped_column(_NAME)
    key_id: Mapped[str] = mapped_column(_ID)
    operation: Mapped[str] = mapped_column(String(60))
    subject: Mapped[str] = mapped_column(String(120))
    outcome: Mapped[str] = mapped_column(String(40))
    request_id: Mapped[str] = mapped_column(_NAME)


class SagaRow(Table):
    """Work in several steps: `step` is the number of completed ones; they are undone one by one while the state is `undoing`."""

    __tablename__ = "sagas"
    __table_args__ = (Index("sagas_open", "updated_at", sqlite_where=_UNFINISHED, postgresql_where=_UNFINISHED),)

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    kind: Mapped[str] = mapped_column(String(40))
    state: Mapped[str] = mapped_column(String(12))
    step: Mapped[int] = mapped_column(default=0)
    data: Mapped[str]
    error: Mapped[str | None]
    created_at: Mapped[int]
    updated_at: Mapped[int]


# One row per fingerprint. Each metric of the run is a column; those of long and short trades are JSON. Few trades are stored in the row
# (`trades_data`), many in a file. An equity curve that is computed again within milliseconds is not stored.
RESULTS: Final = sa.Table(
    "results",
    Table.metadata,
    Column("fingerprint", _HASH, primary_key=True),
    Column("digest", _HASH, nullable=False),
    Column("engine", String(12), nullable=False),
    Column("bars", BigInteger, nullable=False),
    Column("rejected_orders", BigInteger, nullable=False),
    *(Column(name, BigInteger, nullable=False, server_default="0") for name in ("clipped_orders", "filtered_entries", "expired_orders")),
    Column("ambiguous_bars", BigInteger, nullable=False),
    Column("ruined", Boolean, nullable=False),
    Column("warm_up_shortfall", BigInteger),
    Column("contract", BigInteger, nullable=False, server_default="1"),
    *(Column(name, BigInteger if name in COUNTS else Double, nullable=name not in COUNTS) for name in RUN_NAMES),
    Column("long_short", Text, nullable=False),
    Column("trades_data", LargeBinary),
    Column("trades_hash", _HASH, index=True),
    Column("equity_hash", _HASH, index=True),
    Column("created_at", BigInteger, nullable=False),
)
