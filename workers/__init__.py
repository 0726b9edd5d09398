"""The service behind the API: accepts runs, keeps them, queues them, and executes them in worker processes."""

from workers.catalogue import Dataset, Instrument
from workers.errors import Conflict, Invalid, NotFound, Unavailable, WorkersError
from workers.health import Check, Health, QueueMetrics, WorkerInfo
from workers.runs import BacktestRequest, Equity, Run, RunError, RunPage, RunResult, RunState, Stages, TradePage
from workers.service import Service, open_service
from workers.settings import Settings
from workers.strategies import StoredStrategy

__all__ = [
    "BacktestRequest",
    "Check",
    "Conflict",
    "Dataset",
    "Equity",
    "Health",
    "Instrument",
    "Invalid",
    "NotFound",
    "QueueMetrics",
    "Run",
    "RunError",
    "RunPage",
    "RunResult",
    "RunState",
    "Service",
    "Settings",
    "Stages",
    "StoredStrategy",
    "TradePage",
    "Unavailable",
    "WorkerInfo",
    "WorkersError",
    "open_service",
]
