"""Queue metrics in the Prometheus text format. A metric whose value is not known at the moment is left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from workers import AttemptCounts, AttemptDurations, QueueMetrics, WorkerInfo

MEDIA_TYPE = "text/plain; version=0.0.4"  # Litestar adds the charset


def accepts_text(accept: str) -> bool:
    """Whether an `Accept` header names a text format and not JSON."""
    return "json" not in accept and ("text/plain" in accept or "openmetrics" in accept)


def exposition(metrics: QueueMetrics) -> bytes:
    registry = CollectorRegistry()
    registry.register(_QueueCollector(metrics))
    return generate_latest(registry)


class _QueueCollector(Collector):
    def __init__(self, metrics: QueueMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        metrics = self._metrics
        jobs = {"ready": metrics.ready, "delayed": metrics.delayed, "running": metrics.running, "outbox": metrics.outbox}
        yield from _gauges("barstorm_queue_jobs", "Jobs in the queue.", "state", jobs)
        yield from _gauge("barstorm_queue_paused", "1 if the queue is paused, else 0.", metrics.paused)
        if metrics.ready is not None:
            yield from _gauge("barstorm_queue_oldest_ready_seconds", "Age of the oldest ready job.", metrics.oldest_ready_s or 0.0)
        yield from _gauges("barstorm_runs", "Runs by state.", "state", metrics.runs or {})
        if metrics.attempts is not None:
            yield from _attempts(metrics.attempts)
        if metrics.durations is not None:
            yield from _durations(metrics.durations)
        if metrics.workers is not None:
            yield from _workers(metrics.workers)
        up = "1 if the part that the service depends on can be written, else 0."
        yield from _gauges("barstorm_dependency_up", up, "dependency", metrics.up)
        yield from _gauge("barstorm_disk_free_bytes", "Free space on the disk of the data folder.", metrics.disk_free_bytes)
        restarts = "Background tasks of the API process restarted after errors."
        yield CounterMetricFamily("barstorm_api_task_restarts", restarts, value=metrics.restarts)


def _attempts(attempts: AttemptCounts) -> Iterator[Metric]:
    family = CounterMetricFamily("barstorm_attempts", "Attempts that have ended, by outcome.", labels=["outcome"])
    for outcome, count in attempts.by_outcome.items():
        family.add_metric([outcome], count)
    yield family
    yield CounterMetricFamily("barstorm_attempts_repeated", "Attempts that were not the first of their run.", value=attempts.repeated)


def _durations(durations: Iterable[AttemptDurations]) -> Iterator[Metric]:
    text = "Time from the claim of an attempt to its end."
    family = HistogramMetricFamily("barstorm_attempt_duration_seconds", text, labels=["kind"])
    for kind in durations:
        family.add_metric([kind.kind], buckets=list(kind.buckets.items()), sum_value=kind.sum_s)
    yield family


def _workers(workers: Iterable[WorkerInfo]) -> Iterator[Metric]:
    done = {worker.id: worker.done for worker in workers}
    failed = {worker.id: worker.failed for worker in workers}
    memory = {worker.id: worker.memory_mb * 1e6 for worker in workers}
    yield from _gauges("barstorm_worker_done", "Jobs that the worker has finished.", "worker", done)
    yield from _gauges("barstorm_worker_failed", "Jobs that failed on the worker.", "worker", failed)
    restarts = {worker.id: worker.restarts for worker in workers}
    yield from _gauges("barstorm_worker_memory_bytes", "Resident memory of the worker.", "worker", memory)
    yield from _gauges("barstorm_worker_task_restarts", "Background tasks of the worker restarted after errors.", "worker", restarts)


def _gauge(name: str, text: str, value: float | None) -> Iterator[Metric]:
    if value is not None:
        yield GaugeMetricFamily(name, text, value=value)


def _gauges(name: str, text: str, label: str, values: Mapping[Any, float | None]) -> Iterator[Metric]:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        if value is not None:
            family.add_metric([str(key)], value)
    yield family
