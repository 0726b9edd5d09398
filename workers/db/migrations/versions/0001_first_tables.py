"""First tables."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

COUNTS = ("trades", "wins", "losses", "longest_winning_streak", "longest_losing_streak", "liquidations")
METRICS = (
    "final_equity",
    "net_profit",
    "total_return",
    "cagr",
    "volatility",
    "sharpe",
    "sortino",
    "calmar",
    "omega",
    "max_drawdown",
    "max_drawdown_duration",
    "average_drawdown",
    "ulcer_index",
    "recovery_factor",
    "value_at_risk_95",
    "conditional_value_at_risk_95",
    "tail_ratio",
    "skew",
    "kurtosis",
    "trades",
    "wins",
    "losses",
    "win_rate",
    "profit_factor",
    "expectancy",
    "average_trade",
    "average_win",
    "average_loss",
    "payoff_ratio",
    "best_trade",
    "worst_trade",
    "longest_winning_streak",
    "longest_losing_streak",
    "average_bars_held",
    "exposure",
    "turnover",
    "fees_paid",
    "funding_paid",
    "liquidations",
    "sqn",
    "kelly",
    "buy_and_hold_return",
    "alpha_over_buy_and_hold",
)

OPEN = sa.text("state IN ('queued', 'retrying', 'running')")


def column(name: str, kind: Any, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "datasets",
        column("id", sa.String(36)),
        column("name", sa.String(120)),
        column("symbol", sa.Text()),
        column("timeframe", sa.String(8)),
        column("rows", sa.BigInteger()),
        column("start", sa.BigInteger()),
        column("end", sa.BigInteger()),
        column("fingerprint", sa.String(64)),
        column("bytes", sa.BigInteger()),
        column("created_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="datasets_pk"),
        sa.UniqueConstraint("name", name="datasets_name_unique"),
    )
    op.create_table(
        "strategies",
        column("id", sa.String(36)),
        column("name", sa.String(120)),
        column("strategy", sa.Text()),
        column("version", sa.BigInteger()),
        column("created_at", sa.BigInteger()),
        column("updated_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="strategies_pk"),
        sa.UniqueConstraint("name", name="strategies_name_unique"),
    )
    op.create_table(
        "results",
        column("fingerprint", sa.String(64)),
        column("digest", sa.String(64)),
        column("engine", sa.String(12)),
        column("bars", sa.BigInteger()),
        column("rejected_orders", sa.BigInteger()),
        column("ambiguous_bars", sa.BigInteger()),
        column("ruined", sa.Boolean()),
        *(column(name, sa.BigInteger() if name in COUNTS else sa.Double(), nullable=name not in COUNTS) for name in METRICS),
        column("long_short", sa.Text()),
        column("created_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("fingerprint", name="results_pk"),
    )
    op.create_table(
        "runs",
        column("id", sa.String(36)),
        column("kind", sa.String(20)),
        column("state", sa.String(12)),
        column("request", sa.Text()),
        column("dataset_id", sa.String(36)),
        column("strategy_id", sa.String(36), nullable=True),
        column("strategy_version", sa.BigInteger(), nullable=True),
        column("fingerprint", sa.String(64)),
        column("attempt", sa.BigInteger()),
        column("job", sa.BigInteger()),
        column("failures", sa.BigInteger()),
        column("due_at", sa.BigInteger()),
        column("cached", sa.Boolean()),
        column("cancel_requested", sa.Boolean()),
        column("worker", sa.Text(), nullable=True),
        column("engine", sa.String(12), nullable=True),
        column("created_at", sa.BigInteger()),
        column("updated_at", sa.BigInteger()),
        column("started_at", sa.BigInteger(), nullable=True),
        column("finished_at", sa.BigInteger(), nullable=True),
        column("stages", sa.Text(), nullable=True),
        column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name="runs_dataset_id_fk"),
        sa.PrimaryKeyConstraint("id", name="runs_pk"),
    )
    op.create_index("runs_by_state", "runs", ["state", "id"])
    op.create_index("runs_open", "runs", ["updated_at"], sqlite_where=OPEN, postgresql_where=OPEN)
    op.create_table(
        "attempts",
        column("run_id", sa.String(36)),
        column("attempt", sa.BigInteger()),
        column("worker", sa.Text()),
        column("started_at", sa.BigInteger()),
        column("finished_at", sa.BigInteger(), nullable=True),
        column("outcome", sa.String(12), nullable=True),
        column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="attempts_run_id_fk", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "attempt", name="attempts_pk"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        column("run_id", sa.String(36)),
        column("kind", sa.String(20)),
        column("job", sa.BigInteger()),
        column("due_at", sa.BigInteger()),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="outbox_run_id_fk", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="outbox_pk"),
    )
    op.create_index("outbox_by_run_id", "outbox", ["run_id"])


def downgrade() -> None:
    for table in ("outbox", "attempts", "runs", "results", "strategies", "datasets"):
        op.drop_table(table)
