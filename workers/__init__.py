"""The service behind the API: accepts runs, keeps them, queues them, and executes them in worker processes."""

from workers.data.catalog import Dataset, Instrument, instrument
from workers.data.export import BarsPage
from workers.data.imports import Reading
from workers.errors import Conflict, Invalid, NotFound, Unavailable, WorkersError
from workers.fetch.candles import FetchReport
from workers.fetch.requests import Fetch, FetchPage, FetchRequest
from workers.fetch.schedules import Schedule, ScheduleRequest
from workers.model.runs import (
    Attempt,
    BacktestRequest,
    Equity,
    Priority,
    Run,
    RunError,
    RunPage,
    RunResult,
    RunState,
    Stages,
    Terms,
    TradePage,
)
from workers.queue.events import RunEvent
from workers.runs.create_and_run import CreateAndRun
from workers.runs.dead_letters import Choice, Chosen, DeadLetter, DeadPage
from workers.runs.follow import Told
from workers.service.health import Check, Health, Held, QueueMetrics, WorkerInfo
from workers.service.service import Service, open_service
from workers.settings import Settings
from workers.strategies import StoredStrategy

__all__ = [
    "Attempt",
    "BacktestRequest",
    "BarsPage",
    "Check",
    "Choice",
    "Chosen",
    "Conflict",
    "CreateAndRun",
    "Dataset",
    "DeadLetter",
    "DeadPage",
    "Equity",
    "Fetch",
    "FetchPage",
    "FetchReport",
    "FetchRequest",
    "Health",
    "Held",
    "Instrument",
    "Invalid",
    "NotFound",
    "Priority",
    "QueueMetrics",
    "Reading",
    "Run",
    "RunError",
    "RunEvent",
    "RunPage",
    "RunResult",
    "RunState",
    "Schedule",
    "ScheduleRequest",
    "Service",
    "Settings",
    "Stages",
    "StoredStrategy",
    "Terms",
    "Told",
    "TradePage",
    "Unavailable",
    "WorkerInfo",
    "WorkersError",
    "instrument",
    "open_service",
]
