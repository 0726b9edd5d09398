"""The service behind the API: accepts runs, stores them, queues them, and runs them in worker processes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from workers.data.export import BarsPage
    from workers.data.imports import ImportOptions
    from workers.errors import Conflict, Invalid, LimitExceeded, NotFound, TooManyRequests, Unavailable, WorkersError
    from workers.fetch.candles import FetchReport
    from workers.fetch.requests import Fetch, FetchPage, FetchRequest
    from workers.fetch.schedules import Schedule, ScheduleRequest
    from workers.model.datasets import Dataset, Instrument, instrument
    from workers.model.runs import (
        Attempt,
        BacktestRequest,
        EquityCurve,
        MonthlyReturns,
        Run,
        RunError,
        RunOptions,
        RunPage,
        RunResult,
        StageDurations,
        TradePage,
    )
    from workers.model.states import AttemptOutcome, Priority, RunState
    from workers.queue.durations import AttemptDurations
    from workers.queue.events import RunEvent
    from workers.queue.heartbeat import RunningJob, WorkerInfo
    from workers.runs.create_and_run import CreateAndRunRequest
    from workers.runs.dead_letters import AffectedRuns, DeadLetter, DeadLetterPage, DeadLetterSelection
    from workers.runs.follow import RunUpdate
    from workers.service.backtests import Batch, BatchItem
    from workers.service.datasets import DatasetPage
    from workers.service.fetches import SchedulePage
    from workers.service.health import ComponentHealth, Health
    from workers.service.metrics import AttemptCounts, QueueMetrics
    from workers.service.queue import WorkerList
    from workers.service.service import Service, open_service
    from workers.service.strategies import StrategyCheck, StrategyLibrary, StrategyPage
    from workers.settings import Settings
    from workers.strategies import StoredStrategy

# Imported when first used: all of them together take half a second, and a program that needs one module need not load the rest.
_NAMES: Final = {
    "workers.data.export": ("BarsPage",),
    "workers.data.imports": ("ImportOptions",),
    "workers.errors": (
        "Conflict",
        "Invalid",
        "LimitExceeded",
        "NotFound",
        "TooManyRequests",
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
        "ScheduleRequest",
    ),
    "workers.model.datasets": (
        "Dataset",
        "Instrument",
        "instrument",
    ),
    "workers.model.runs": (
        "Attempt",
        "BacktestRequest",
        "EquityCurve",
        "MonthlyReturns",
        "Run",
        "RunError",
        "RunOptions",
        "RunPage",
        "RunResult",
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
    "workers.runs.create_and_run": ("CreateAndRunRequest",),
    "workers.runs.dead_letters": (
        "AffectedRuns",
        "DeadLetter",
        "DeadLetterPage",
        "DeadLetterSelection",
    ),
    "workers.runs.follow": ("RunUpdate",),
    "workers.service.backtests": ("Batch", "BatchItem"),
    "workers.service.datasets": ("DatasetPage",),
    "workers.service.fetches": ("SchedulePage",),
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
        "StrategyPage",
    ),
    "workers.settings": ("Settings",),
    "workers.strategies": ("StoredStrategy",),
}
_MODULES: Final = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "AffectedRuns",
    "Attempt",
    "AttemptCounts",
    "AttemptDurations",
    "AttemptOutcome",
    "BacktestRequest",
    "BarsPage",
    "Batch",
    "BatchItem",
    "ComponentHealth",
    "Conflict",
    "CreateAndRunRequest",
    "Dataset",
    "DatasetPage",
    "DeadLetter",
    "DeadLetterPage",
    "DeadLetterSelection",
    "EquityCurve",
    "Fetch",
    "FetchPage",
    "FetchReport",
    "FetchRequest",
    "Health",
    "ImportOptions",
    "Instrument",
    "Invalid",
    "LimitExceeded",
    "MonthlyReturns",
    "NotFound",
    "Priority",
    "QueueMetrics",
    "Run",
    "RunError",
    "RunEvent",
    "RunOptions",
    "RunPage",
    "RunResult",
    "RunState",
    "RunUpdate",
    "RunningJob",
    "Schedule",
    "SchedulePage",
    "ScheduleRequest",
    "Service",
    "Settings",
    "StageDurations",
    "StoredStrategy",
    "StrategyCheck",
    "StrategyLibrary",
    "StrategyPage",
    "TooManyRequests",
    "TradePage",
    "Unavailable",
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
