"""Backtests as clients see them: requests, runs and results."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

import python_core as bt
from python_core.engine.compiled import Engine
from python_core.errors import StructuredError
from python_core.metrics import Metrics, MonthlyReturn
from workers.errors import Invalid, WorkersError
from workers.model.clock import TimeMs, now_ms
from workers.model.names import check_name, check_owner
from workers.model.selection import Reference, Selection
from workers.model.states import AttemptOutcome, Priority, RunState

MAX_AHEAD_MS: Final = 366 * 86_400_000


class BacktestRequest(Selection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A backtest to run: the bars, the strategy, and the execution rules."""

    strategy: Annotated[bt.Strategy | Reference, Meta(description="A strategy, or the id or name of a stored strategy.")]
    execution: bt.Execution = bt.Execution()
    engine: Annotated[
        Engine, Meta(description="Engine that runs it; `auto` is Rust where it is installed. All give identical results.")
    ] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        strategy = self.strategy
        if not isinstance(strategy, str | bt.Strategy) or (isinstance(strategy, str) and not 0 < len(strategy) <= 120):
            raise ValueError(f"strategy: expected an id or name, got {strategy!r:.60}; use 1 to 120 characters")


class RunOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a run is queued; results don't depend on it.

    Owners share the workers in turn, and may have a limit on runs at a time. A run starts no earlier than `run_at`. A request that is repeated
    with the same `key` returns the same run.
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
            raise Invalid(
                f"{self.run_at} is not a valid start time", where="run_at", hint="use UTC epoch milliseconds, at most a year ahead"
            )


class RunError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run failed. Programs should check `code`, which is stable; the other fields are for people."""

    code: Annotated[str, Meta(description="Stable, machine-readable name of the error.", examples=["dataset_lost"])]
    message: Annotated[str, Meta(description="What went wrong.")]
    where: Annotated[str, Meta(description="The field, column or part it is about.")] = ""
    hint: Annotated[str, Meta(description="How to fix it.")] = ""

    @classmethod
    def from_exception(cls, error: StructuredError) -> RunError:
        return cls(code=error.code, message=error.message, where=error.where, hint=error.hint)

    def to_exception(self) -> WorkersError:
        return WorkersError(self.message, where=self.where, hint=self.hint, code=self.code)


class StageDurations(msgspec.Struct, frozen=True, kw_only=True):
    """Duration of each stage of a run, in milliseconds."""

    queue_ms: Annotated[float, Meta(description="Waiting: from acceptance to the start of the successful attempt.")] = 0.0
    load_ms: Annotated[float, Meta(description="Reading the bars; near 0 if the worker had them in its cache.")] = 0.0
    kernel_ms: Annotated[float, Meta(description="Computing signals, simulation and metrics.")] = 0.0
    save_ms: Annotated[float, Meta(description="Writing trades and the equity curve.")] = 0.0


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a backtest; `/trades` and `/equity` return its trades and its equity curve."""

    fingerprint: Annotated[str, Meta(description="Hash of the inputs: bars, strategy, execution and version of the engine contract.")]
    digest: Annotated[str, Meta(description="Hash of the outputs; equal fingerprints give equal digests.")]
    engine: Annotated[str, Meta(description="Engine that computed it.")]
    bars: Annotated[int, Meta(description="Number of bars.")]
    trades: Annotated[int, Meta(description="Number of trades.")]
    rejected_orders: Annotated[
        int,
        Meta(
            description="Entries that were too large for the account, too small for the market, or had a stop or target on the wrong side."
        ),
    ]
    clipped_orders: Annotated[int, Meta(description="Entries that were filled with less than asked, as much as the account could pay for.")]
    filtered_entries: Annotated[
        int, Meta(description="Entries left out by trading hours or days, the limit of entries a day, or the cooldown.")
    ]
    expired_orders: Annotated[int, Meta(description="Resting entries that were removed because they expired.")]
    ambiguous_bars: Annotated[
        int, Meta(description="Bars that met levels on both sides of the open, so that `intrabar` decided which came first.")
    ]
    ruined: Annotated[bool, Meta(description="Whether equity fell to nothing, which ends the run.")]
    warm_up_shortfall: Annotated[
        int | None,
        Meta(
            description="Bars in the strategy's timeframe that were missing before the start for every signal to be defined there; null for contract 1."
        ),
    ]
    contract: Annotated[int, Meta(description="Version of the simulation's rules; results of different versions may differ.")]
    metrics: Metrics


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A backtest and its state. `result` is set once it has succeeded, `error` if it has failed."""

    id: str
    state: RunState
    request: Annotated[BacktestRequest, Meta(description="The request; its dataset was resolved to `id@version` when it was accepted.")]
    dataset_id: Annotated[str, Meta(description="Id of the dataset.")]
    dataset_version: Annotated[int, Meta(description="Version of the dataset that it runs on.")]
    strategy_id: Annotated[str | None, Meta(description="Id of the stored strategy; null if the request had a strategy of its own.")]
    strategy_version: Annotated[int | None, Meta(description="Version of the stored strategy when the run was accepted.")]
    fingerprint: Annotated[str, Meta(description="Hash of the inputs, which equal runs share.")]
    owner: Annotated[str, Meta(description="Owner given when it was submitted, or empty.")]
    priority: Priority
    leader_id: Annotated[str | None, Meta(description="Id of an earlier equal run that was in progress; this run gets its result.")]
    attempt: Annotated[int, Meta(description="Number of attempts so far.")]
    cached: Annotated[bool, Meta(description="Whether the result is that of an earlier equal run.")]
    cancel_requested: Annotated[bool, Meta(description="Whether a client has requested its cancellation.")]
    worker: Annotated[str | None, Meta(description="Id of the worker that is running it or ran it last.")]
    created_at: TimeMs
    due_at: Annotated[int, Meta(description="Earliest start, UTC epoch milliseconds.")]
    started_at: TimeMs | None
    finished_at: TimeMs | None
    stages: StageDurations | None
    error: RunError | None
    result: RunResult | None = None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of a worker to complete a run."""

    attempt: Annotated[int, Meta(description="Number of the attempt, from 1.")]
    worker: Annotated[str, Meta(description="Id of the worker.")]
    started_at: TimeMs
    finished_at: TimeMs | None
    outcome: AttemptOutcome | None
    error: RunError | None


class RunPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of runs, newest first, without results; `next_cursor` is null on the last page."""

    items: tuple[Run, ...]
    next_cursor: str | None


class MonthlyReturns(msgspec.Struct, frozen=True, kw_only=True):
    """Returns of UTC months, in order."""

    items: tuple[MonthlyReturn, ...]


class TradePage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of trades, in the order of their exits; `total` counts all of them."""

    items: tuple[bt.Trade, ...]
    offset: int
    total: int


class EquityCurve(msgspec.Struct, frozen=True, kw_only=True):
    """Equity at the close of each bar, or of a sample of the bars."""

    time: Annotated[tuple[int, ...], Meta(description="Open times of the bars, UTC epoch milliseconds.")]
    equity: Annotated[tuple[float, ...], Meta(description="Equity at the close, in the quote currency.")]
    total: Annotated[int, Meta(description="Number of bars of the run.")]


def decode_request(raw: str) -> BacktestRequest:
    return msgspec.json.decode(upgrade_request(raw), type=BacktestRequest)


def upgrade_request(raw: str) -> str:
    """A stored request in the form of today. Those of contract 1 name the initial capital `capital`, and were run without warm-up."""
    return raw.replace('"execution":{"capital":', '"warm_up_from":"start","execution":{"initial_capital":', 1)


def encode(value: Any) -> str:
    """The JSON text of a struct, as stored in the database."""
    return msgspec.json.encode(value).decode()
