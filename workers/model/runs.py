"""Backtests as clients see them: requests, runs and results."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

import python_core as bt
from python_core.engine.compiled import Engine
from python_core.errors import StructuredError
from python_core.metrics import Metrics, MonthlyReturn
from workers.codes import Code
from workers.errors import Invalid, WorkersError
from workers.model.clock import LATEST_MS, TimeMs
from workers.model.labels import Notes, RunLabels, RunName, Tags, check_labels
from workers.model.names import Id, Owner, check_label
from workers.model.pages import NextCursor, PageTotal
from workers.model.selection import Reference, Selection
from workers.model.states import AttemptOutcome, Priority, RunState

MAX_KEY_LENGTH: Final = 200


class Backtest(Selection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What determines the result of a backtest: the bars, the strategy, and the execution rules."""

    strategy: Annotated[bt.Strategy | Reference, Meta(description="A strategy, or the id or name of a stored strategy.")]
    execution: Annotated[bt.Execution, Meta(description="Execution rules; those left out have their defaults.")] = bt.Execution()
    engine: Annotated[
        Engine, Meta(description="Engine that runs it; `auto` is Rust where it is installed. All give identical results.")
    ] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        strategy = self.strategy
        if not isinstance(strategy, str | bt.Strategy) or (isinstance(strategy, str) and not 0 < len(strategy) <= 120):
            raise ValueError(f"strategy: expected an id or name, got {strategy!r:.60}; use 1 to 120 characters")


class BacktestRequest(Backtest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A backtest to run: the bars, the strategy, and the execution rules; and a name, tags and notes for the run."""

    name: RunName = ""
    tags: Tags = ()
    notes: Notes = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_labels(self)

    @property
    def backtest(self) -> Backtest:
        """What determines the result."""
        return Backtest(**{name: getattr(self, name) for name in Backtest.__struct_fields__})

    @property
    def labels(self) -> RunLabels:
        return RunLabels(name=self.name, tags=self.tags, notes=self.notes)


class RunOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a run is queued; results don't depend on it.

    A run starts no earlier than `run_at`. A request that is repeated with the same `key` returns the same run.
    """

    priority: Priority = Priority.NORMAL
    run_at: int | None = None
    key: str = ""

    def __post_init__(self) -> None:
        if self.key:
            check_label(self.key, where="key", max_length=MAX_KEY_LENGTH)
        if self.run_at is not None and not 0 <= self.run_at < LATEST_MS:
            raise Invalid(f"{self.run_at} is not a valid start time", where="run_at", hint="use UTC epoch milliseconds before 2100")

    def keyed(self, request: str) -> str:
        """What the key stands for: the text of a request, with the priority and the start time if they are given."""
        given = self.priority != Priority.NORMAL or self.run_at is not None
        return f"{request}\0{self.priority}\0{self.run_at}" if given else request


class RunError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run failed. Programs should check `code`, which is stable; the other fields are for people."""

    code: Annotated[Code, Meta(description="Stable, machine-readable name of the error.")]
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
            description="Number of entries that were too large for the account, too small for the market, or had a stop or target on the wrong side."
        ),
    ]
    clipped_orders: Annotated[
        int, Meta(description="Number of entries that were filled with less than asked, as much as the account could pay for.")
    ]
    filtered_entries: Annotated[
        int, Meta(description="Number of entries left out by trading hours or days, the limit of entries a day, or the cooldown.")
    ]
    expired_orders: Annotated[int, Meta(description="Number of resting entries that were removed because they expired.")]
    ambiguous_bars: Annotated[
        int, Meta(description="Number of bars that met levels on both sides of the open, so that `intrabar` decided which came first.")
    ]
    ruined: Annotated[bool, Meta(description="Whether equity fell to nothing, which ends the run.")]
    warm_up_shortfall: Annotated[
        int | None,
        Meta(
            description="Number of bars in the strategy's timeframe that were missing before the start for every signal to be defined there; null for contract 1."
        ),
    ]
    contract: Annotated[int, Meta(description="Version of the simulation's rules; results of different versions may differ.")]
    metrics: Annotated[Metrics, Meta(description="Metrics of returns and trades.")]


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A backtest and its state, without its result."""

    id: Id
    name: Annotated[str, Meta(description="Name of the run, or empty.")]
    tags: Annotated[tuple[str, ...], Meta(description="Tags of the run, sorted.")]
    notes: Annotated[str, Meta(description="Notes on the run, or empty.")]
    state: Annotated[RunState, Meta(description="State of the run.")]
    request: Annotated[Backtest, Meta(description="The request; its dataset was resolved to `id@version` when it was accepted.")]
    dataset_id: Annotated[str, Meta(description="Id of the dataset.")]
    dataset_version: Annotated[int, Meta(description="Version of the dataset that it runs on.")]
    strategy_id: Annotated[str | None, Meta(description="Id of the stored strategy; null if the request had a strategy of its own.")]
    strategy_version: Annotated[int | None, Meta(description="Version of the stored strategy when the run was accepted.")]
    fingerprint: Annotated[str, Meta(description="Hash of the inputs, which equal runs share.")]
    owner: Owner
    priority: Annotated[Priority, Meta(description="Priority in the queue.")]
    leader_id: Annotated[str | None, Meta(description="Id of an earlier equal run that was in progress; this run gets its result.")]
    attempt: Annotated[int, Meta(description="Number of attempts so far.")]
    cached: Annotated[bool, Meta(description="Whether the result is that of an earlier equal run.")]
    cancel_requested: Annotated[bool, Meta(description="Whether a client has requested its cancellation.")]
    worker: Annotated[str | None, Meta(description="Id of the worker that is running it or ran it last.")]
    created_at: Annotated[TimeMs, Meta(description="When it was accepted, UTC epoch milliseconds.")]
    due_at: Annotated[TimeMs, Meta(description="Earliest start, UTC epoch milliseconds.")]
    started_at: Annotated[TimeMs | None, Meta(description="When its last attempt started, UTC epoch milliseconds.")]
    finished_at: Annotated[TimeMs | None, Meta(description="When it finished, UTC epoch milliseconds.")]
    stages: Annotated[StageDurations | None, Meta(description="Durations; null until it has succeeded.")]
    error: Annotated[RunError | None, Meta(description="Why it failed; null unless it has.")]


class Run(RunInfo, frozen=True, kw_only=True):
    """A backtest and its state. `result` is set once it has succeeded, `error` if it has failed."""

    result: Annotated[RunResult | None, Meta(description="The result; null until it has succeeded.")] = None


class HeadlineMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """The metrics of a run that lists show; null where undefined."""

    total_return: Annotated[float | None, Meta(description="Net profit / initial capital; fraction.")]
    cagr: Annotated[float | None, Meta(description="Compound annual growth rate; fraction per year.")]
    sharpe: Annotated[float | None, Meta(description="Sharpe ratio, per year.")]
    sortino: Annotated[float | None, Meta(description="Sortino ratio, per year.")]
    max_drawdown: Annotated[float | None, Meta(description="Largest drawdown from a peak of equity; fraction.")]
    trades: Annotated[int, Meta(description="Number of trades.")]
    win_rate: Annotated[float | None, Meta(description="Winning trades / trades; fraction.")]
    profit_factor: Annotated[float | None, Meta(description="Profit of the winning trades / loss of the losing ones; ratio.")]


class RunSummary(RunInfo, frozen=True, kw_only=True):
    """A backtest as lists show it: its state and, once it has succeeded, its headline metrics."""

    metrics: Annotated[HeadlineMetrics | None, Meta(description="Its headline metrics; null until it has succeeded.")] = None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of a worker to complete a run."""

    attempt: Annotated[int, Meta(description="Number of the attempt, from 1.")]
    worker: Annotated[str, Meta(description="Id of the worker.")]
    started_at: Annotated[TimeMs, Meta(description="When the worker started it, UTC epoch milliseconds.")]
    finished_at: Annotated[TimeMs | None, Meta(description="When it ended, UTC epoch milliseconds; null while it is running.")]
    outcome: Annotated[AttemptOutcome | None, Meta(description="How it ended; null while it is running.")]
    error: Annotated[RunError | None, Meta(description="Why it failed; null unless it has.")]


class RunPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of runs."""

    items: Annotated[tuple[RunSummary, ...], Meta(description="The runs of this page.")]
    next_cursor: NextCursor


class SelectedRunPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of runs with only the selected fields."""

    items: Annotated[tuple[dict[str, Any], ...], Meta(description="The selected fields of the runs of this page.")]
    next_cursor: NextCursor


class MonthlyReturns(msgspec.Struct, frozen=True, kw_only=True):
    """Returns of UTC months, in order."""

    items: Annotated[tuple[MonthlyReturn, ...], Meta(description="The months.")]


class TradePage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of trades, in the order of their exits."""

    items: Annotated[tuple[bt.Trade, ...], Meta(description="The trades of this page.")]
    next_cursor: NextCursor
    total: PageTotal


class EquityCurve(msgspec.Struct, frozen=True, kw_only=True):
    """Equity at the close of each bar, or of a sample of the bars."""

    time: Annotated[tuple[int, ...], Meta(description="Open times of the bars, UTC epoch milliseconds.")]
    equity: Annotated[tuple[float, ...], Meta(description="Equity at the close, in the quote currency.")]
    total: Annotated[int, Meta(description="Number of bars of the run.")]


def decode_request(raw: str) -> Backtest:
    """The request of a stored run."""
    return msgspec.json.decode(upgrade_request(raw), type=Backtest)


def upgrade_request(raw: str) -> str:
    """A stored request in the form of today. Those of contract 1 name the initial capital `capital`, and were run without warm-up."""
    return raw.replace('"execution":{"capital":', '"warm_up_from":"start","execution":{"initial_capital":', 1)


def encode(value: Any) -> str:
    """The JSON text of a struct, as stored in the database."""
    return msgspec.json.encode(value).decode()
