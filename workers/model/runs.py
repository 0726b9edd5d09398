"""Backtests as clients see them: requests, runs and results."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

import python_core as bt
from python_core.engine.kernel import Engine
from python_core.metrics import Metrics
from workers.errors import Invalid
from workers.model.clock import TimeMs, now_ms
from workers.model.names import check_name, check_owner
from workers.model.selection import Reference, Selection
from workers.model.states import Priority, RunState

MAX_AHEAD_MS: Final = 366 * 86_400_000


class BacktestRequest(Selection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One backtest: which bars, which strategy, under which rules of execution."""

    strategy: Annotated[bt.Strategy | Reference, Meta(description="A strategy, or the id or name of a stored one.")]
    execution: bt.Execution = bt.Execution()
    engine: Annotated[Engine, Meta(description="Which engine runs it; both give the same bits.")] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        strategy = self.strategy
        if not isinstance(strategy, str | bt.Strategy) or (isinstance(strategy, str) and not 0 < len(strategy) <= 120):
            raise ValueError(f"strategy: {strategy!r:.60} is no id or name; use one of 1 to 120 characters")


class RunOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a run is queued, which has no bearing on what it finds.

    Runs of one `owner` share his turns and his limit. It starts no earlier than `run_at`. Asked again under the same `key`, the same request
    gives the same run.
    """

    owner: str = ""
    priority: Priority = Priority.NORMAL
    run_at: int | None = None
    key: str = ""

    def __post_init__(self) -> None:
        check_owner(self.owner)
        if self.key:
            check_name(self.key, where="key", max_length=200)
        if self.run_at is not None and not 0 <= self.run_at <= now_ms() + MAX_AHEAD_MS:
            raise Invalid(f"{self.run_at} is no time to start", where="run_at", hint="use UTC epoch milliseconds, at most a year ahead")


class RunError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run failed: `code` is made for programs, `message` says what, `where` the field or column, `hint` what would be right."""

    code: str
    message: str
    where: str = ""
    hint: str = ""


class Stages(msgspec.Struct, frozen=True, kw_only=True):
    """How long each part of a run took, in milliseconds."""

    queue_ms: Annotated[float, Meta(description="From acceptance to the start of the attempt that succeeded.")] = 0.0
    load_ms: Annotated[float, Meta(description="Reading the bars; near zero when the worker still had them.")] = 0.0
    kernel_ms: Annotated[float, Meta(description="Signals, simulation and metrics.")] = 0.0
    save_ms: Annotated[float, Meta(description="Writing trades and equity.")] = 0.0


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a backtest found; trades and equity are fetched apart."""

    fingerprint: Annotated[str, Meta(description="Hash of the inputs.")]
    digest: Annotated[str, Meta(description="Hash of the outputs; one fingerprint always gives one digest.")]
    engine: Annotated[str, Meta(description="The engine that computed it.")]
    bars: int
    trades: int
    rejected_orders: int
    ambiguous_bars: int
    ruined: bool
    metrics: Metrics


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One backtest asked for, and what became of it. `result` is there once it succeeded, `error` when it failed."""

    id: str
    state: RunState
    request: Annotated[BacktestRequest, Meta(description="As asked, with references resolved when it was accepted.")]
    dataset_id: str
    dataset_version: Annotated[int, Meta(description="The version of the dataset that it ran on.")]
    strategy_id: str | None
    strategy_version: int | None
    fingerprint: Annotated[str, Meta(description="Hash of the inputs; equal submissions share it.")]
    owner: Annotated[str, Meta(description="Whose it is, where the one who asked has said so.")]
    priority: Priority
    follows: Annotated[str | None, Meta(description="Id of the equal run that was there first; this one ends as that one does.")]
    attempt: Annotated[int, Meta(description="How many times a worker has started it.")]
    cached: Annotated[bool, Meta(description="Whether the answer was there already, from an equal run.")]
    cancel_requested: bool
    worker: Annotated[str | None, Meta(description="The worker that has it or had it last.")]
    created_at: TimeMs
    due_at: Annotated[int, Meta(description="Not started before; UTC epoch milliseconds.")]
    started_at: TimeMs | None
    finished_at: TimeMs | None
    stages: Stages | None
    error: RunError | None
    result: RunResult | None = None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One start of a run by a worker. `outcome` is a state, or `lost` (the worker died or fell silent) or `requeued` (it had to stop)."""

    attempt: int
    worker: str
    started_at: TimeMs
    finished_at: TimeMs | None
    outcome: str | None
    error: RunError | None


class RunPage(msgspec.Struct, frozen=True, kw_only=True):
    """Runs, newest first, without their results; `next_cursor` asks for the next page and is null on the last."""

    items: tuple[Run, ...]
    next_cursor: str | None


class TradePage(msgspec.Struct, frozen=True, kw_only=True):
    """Some trades of a run, in order; `total` counts all of them."""

    items: tuple[bt.Trade, ...]
    offset: int
    total: int


class EquityCurve(msgspec.Struct, frozen=True, kw_only=True):
    """Equity at the close of bars: `time` is each bar's open time, `total` counts all bars, of which these are a sample if fewer."""

    time: tuple[int, ...]
    equity: tuple[float, ...]
    total: int


def decode_request(raw: str) -> BacktestRequest:
    return msgspec.json.decode(raw, type=BacktestRequest)


def encode(value: Any) -> str:
    """The JSON text under which the database keeps a struct."""
    return msgspec.json.encode(value).decode()
