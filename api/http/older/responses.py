"""Answers with the names that older clients read, besides ours."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from workers import Health, QueueMetrics, Run, RunState


class OlderRun(Run, frozen=True, kw_only=True):
    """A run, with the names that older clients read. Only requests in their words are answered with it."""

    backtest_id: Annotated[str, Meta(description="As `id`.")]
    task_id: Annotated[str, Meta(description="As `id`.")]
    status: Annotated[RunState, Meta(description="As `state`.")]


class TaskCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Runs, as older clients count them."""

    tasks_submitted: Annotated[int, Meta(description="Number of all runs.")]
    tasks_completed: Annotated[int, Meta(description="Number of runs that succeeded.")]
    tasks_failed: Annotated[int, Meta(description="Number of runs that failed or are dead.")]
    active_tasks: Annotated[int, Meta(description="Number of runs that workers are running.")]


class HealthResponse(Health, frozen=True, kw_only=True):
    """The state of the service and of its components, with the names that older clients read."""

    redis_connected: Annotated[bool, Meta(description="As `ok` of `redis`.")]
    metrics: Annotated[TaskCounts | None, Meta(description="Runs; null if they can't be counted at the moment.")]


class QueueMetricsResponse(QueueMetrics, frozen=True, kw_only=True):
    """`QueueMetrics`, with the names that older clients read; these are null if runs can't be counted at the moment."""

    tasks_submitted: Annotated[int | None, Meta(description="Number of all runs.")]
    tasks_completed: Annotated[int | None, Meta(description="Number of runs that succeeded.")]
    tasks_failed: Annotated[int | None, Meta(description="Number of runs that failed or are dead.")]
    active_tasks: Annotated[int | None, Meta(description="Number of runs that workers are running.")]


def older_run(run: Run) -> OlderRun:
    return OlderRun(**_fields(run), backtest_id=run.id, task_id=run.id, status=run.state)


def health_response(health: Health, metrics: QueueMetrics) -> HealthResponse:
    return HealthResponse(**_fields(health), redis_connected=health.redis.ok, metrics=_task_counts(metrics))


def metrics_response(metrics: QueueMetrics) -> QueueMetricsResponse:
    counts = _task_counts(metrics)
    return QueueMetricsResponse(**_fields(metrics), **(dict.fromkeys(TaskCounts.__struct_fields__) if counts is None else _fields(counts)))


def _task_counts(metrics: QueueMetrics) -> TaskCounts | None:
    if (runs := metrics.runs) is None:
        return None
    return TaskCounts(
        tasks_submitted=sum(runs.values()),
        tasks_completed=runs[RunState.SUCCEEDED],
        tasks_failed=runs[RunState.FAILED] + runs[RunState.DEAD],
        active_tasks=runs[RunState.RUNNING],
    )


def _fields(value: msgspec.Struct) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__struct_fields__}
