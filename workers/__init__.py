"""The service behind the API: accepts runs, stores them, queues them, and runs them in worker processes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from workers.accounts.audit import AuditEntry, AuditPage
    from workers.accounts.keys import ApiKey, ApiKeyPage, KeyRequest, NewApiKey
    from workers.data.export import BarsPage
    from workers.data.imports import ImportOptions
    from workers.errors import (
        Conflict,
        Forbidden,
        Invalid,
        LimitExceeded,
        NotFound,
        NotInstalled,
        TooManyRequests,
        Unauthenticated,
        Unavailable,
        WorkersError,
    )
    from workers.fetch.candles import FetchReport
    from workers.fetch.requests import Fetch, FetchPage, FetchRequest
    from workers.fetch.schedules import Schedule, SchedulePage, ScheduleRequest
    from workers.model.callers import Caller, Scope
    from workers.model.datasets import Dataset, DatasetFilters, DatasetPage, Instrument, instrument
    from workers.model.labels import LabelChanges
    from workers.model.run_filter import RunFilter
    from workers.model.runs import (
        Attempt,
        Backtest,
        BacktestRequest,
        EquityCurve,
        HeadlineMetrics,
        MonthlyReturns,
        Run,
        RunError,
        RunOptions,
        RunPage,
        RunResult,
        RunSummary,
        SelectedRunPage,
        StageDurations,
        TradePage,
    )
    from workers.model.states import AttemptOutcome, Priority, RunState
    from workers.queue.durations import AttemptDurations
    from workers.queue.events import RunEvent
    from workers.queue.heartbeat import RunningJob, WorkerInfo
    from workers.runs.compare import ComparedEquity, Difference, RunComparison
    from workers.runs.create_and_run import CreateAndRunRequest
    from workers.runs.dead_letters import AffectedRuns, DeadLetter, DeadLetterPage, DeadLetterSelection
    from workers.runs.deletion import DeletedRuns, RunSelection
    from workers.runs.feed import FeedEvent, FeedUpdate
    from workers.runs.follow import RunUpdate
    from workers.runs.verify import Verification
    from workers.service.backtests import Batch, BatchItem
    from workers.service.health import ComponentHealth, Health
    from workers.service.metrics import AttemptCounts, QueueMetrics
    from workers.service.queue import WorkerList
    from workers.service.service import Service, open_service
    from workers.service.strategies import StrategyCheck, StrategyLibrary
    from workers.settings import Settings
    from workers.strategies import StoredStrategy, StrategyPage

# Imported when first used: all of them together take half a second, and a program that needs one module need not load the rest.
_NAMES: Final = {
    "workers.accounts.audit": ("AuditEntry", "AuditPage"),
    "workers.accounts.keys": ("ApiKey", "ApiKeyPage", "KeyRequest", "NewApiKey"),
    "workers.data.export": ("BarsPage",),
    "workers.data.imports": ("ImportOptions",),
    "workers.errors": (
        "Conflict",
        "Forbidden",
        "Invalid",
        "LimitExceeded",
        "NotFound",
        "NotInstalled",
        "TooManyRequests",
        "Unauthenticated",
        "Unavailable",
        "WorkersError",
    ),
    "workers.fetch.candles": ("FetchReport",),
    "workers.fetch.requests": (
        "Fetch",
        "FetchPage",
        "FetchRequest",
    ),
    "workers.fetch.schedules": (
        "Schedule",
        "SchedulePage",
        "ScheduleRequest",
    ),
    "workers.model.callers": ("Caller", "Scope"),
    "workers.model.datasets": (
        "Dataset",
        "DatasetFilters",
        "DatasetPage",
        "Instrument",
        "instrument",
    ),
    "workers.model.labels": ("LabelChanges",),
    "workers.model.run_filter": ("RunFilter",),
    "workers.model.runs": (
        "Attempt",
        "Backtest",
        "BacktestRequest",
        "EquityCurve",
        "HeadlineMetrics",
        "MonthlyReturns",
        "Run",
        "RunError",
        "RunOptions",
        "RunPage",
        "RunResult",
        "RunSummary",
        "SelectedRunPage",
        "StageDurations",
        "TradePage",
    ),
    "workers.model.states": (
        "AttemptOutcome",
        "Priority",
        "RunState",
    ),
    "workers.queue.durations": ("AttemptDurations",),
    "workers.queue.events": ("RunEvent",),
    "workers.queue.heartbeat": (
        "RunningJob",
        "WorkerInfo",
    ),
    "workers.runs.compare": ("ComparedEquity", "Difference", "RunComparison"),
    "workers.runs.create_and_run": ("CreateAndRunRequest",),
    "workers.runs.dead_letters": (
        "AffectedRuns",
        "DeadLetter",
        "DeadLetterPage",
        "DeadLetterSelection",
    ),
    "workers.runs.deletion": ("DeletedRuns", "RunSelection"),
    "workers.runs.feed": ("FeedEvent", "FeedUpdate"),
    "workers.runs.follow": ("RunUpdate",),
    "workers.runs.verify": ("Verification",),
    "workers.service.backtests": ("Batch", "BatchItem"),
    "workers.service.health": (
        "ComponentHealth",
        "Health",
    ),
    "workers.service.metrics": (
        "AttemptCounts",
        "QueueMetrics",
    ),
    "workers.service.queue": ("WorkerList",),
    "workers.service.service": (
        "Service",
        "open_service",
    ),
    "workers.service.strategies": (
        "StrategyCheck",
        "StrategyLibrary",
    ),
    "workers.settings": ("Settings",),
    "workers.strategies": (
        "StoredStrategy",
        "StrategyPage",
    ),
}
_MODULES: Final = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "AffectedRuns",
    "ApiKey",
    "ApiKeyPage",
    "Attempt",
    "AttemptCounts",
    "AttemptDurations",
    "AttemptOutcome",
    "AuditEntry",
    "AuditPage",
    "Backtest",
    "BacktestRequest",
    "BarsPage",
    "Batch",
    "BatchItem",
    "Caller",
    "ComparedEquity",
    "ComponentHealth",
    "Conflict",
    "CreateAndRunRequest",
    "Dataset",
    "DatasetFilters",
    "DatasetPage",
    "DeadLetter",
    "DeadLetterPage",
    "DeadLetterSelection",
    "DeletedRuns",
    "Difference",
    "EquityCurve",
    "FeedEvent",
    "FeedUpdate",
    "Fetch",
    "FetchPage",
    "FetchReport",
    "FetchRequest",
    "Forbidden",
    "HeadlineMetrics",
    "Health",
    "ImportOptions",
    "Instrument",
    "Invalid",
    "KeyRequest",
    "LabelChanges",
    "LimitExceeded",
    "MonthlyReturns",
    "NewApiKey",
    "NotFound",
    "NotInstalled",
    "Priority",
    "QueueMetrics",
    "Run",
    "RunComparison",
    "RunError",
    "RunEvent",
    "RunFilter",
    "RunOptions",
    "RunPage",
    "RunResult",
    "RunSelection",
    "RunState",
    "RunSummary",
    "RunUpdate",
    "RunningJob",
    "Schedule",
    "SchedulePage",
    "ScheduleRequest",
    "Scope",
    "SelectedRunPage",
    "Service",
    "Settings",
    "StageDurations",
    "StoredStrategy",
    "StrategyCheck",
    "StrategyLibrary",
    "StrategyPage",
    "TooManyRequests",
    "TradePage",
    "Unauthenticated",
    "Unavailable",
    "Verification",
    "WorkerInfo",
    "WorkerList",
    "WorkersError",
    "instrument",
    "open_service",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value
