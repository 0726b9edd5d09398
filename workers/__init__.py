"""The service behind the API: accepts runs, keeps them, queues them, and executes them in worker processes."""

from workers.data.catalog import Dataset, Instrument, instrument
from workers.data.export import BarsPage
from workers.data.imports import ImportOptions
from workers.errors import Conflict, Invalid, NotFound, Unavailable, WorkersError
from workers.fetch.candles import FetchReport
from workers.fetch.requests import Fetch, FetchPage, FetchRequest
from workers.fetch.schedules import Schedule, ScheduleRequest
from workers.model.runs import (
    Attempt,
    BacktestRequest,
    EquityCurve,
    Priority,
    Run,
    RunError,
    RunOptions,
    RunPage,
    RunResult,
    RunState,
    Stages,
    TradePage,
)
from workers.queue.events import RunEvent
from workers.runs.create_and_run import CreateAndRunRequest
from workers.runs.dead_letters import AffectedRuns, DeadLetter, DeadLetterPage, DeadLetterSelection
from workers.runs.follow import RunUpdate
from workers.service.health import ComponentCheck, Health, QueueMetrics, RunningJob, WorkerInfo
from workers.service.service import Service, open_service
from workers.settings import Settings
from workers.strategies import StoredStrategy

__all__ = [
    "AffectedRuns",
    "Attempt",
    "BacktestRequest",
    "BarsPage",
    "ComponentCheck",
    "Conflict",
    "CreateAndRunRequest",
    "Dataset",
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
    "ScheduleRequest",
    "Service",
    "Settings",
    "Stages",
    "StoredStrategy",
    "TradePage",
    "Unavailable",
    "WorkerInfo",
    "WorkersError",
    "instrument",
    "open_service",
]
