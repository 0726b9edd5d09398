"""Queue metrics in the Prometheus text format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from workers import QueueMetrics

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


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
        done = {worker.id: worker.done for worker in metrics.workers}
        failed = {worker.id: worker.failed for worker in metrics.workers}
        memory = {worker.id: worker.memory_mb * 1e6 for worker in metrics.workers}
        yield from _labelled("barstorm_queue_jobs", "Jobs in the queue.", "state", jobs)
        yield GaugeMetricFamily("barstorm_queue_paused", "1 if the queue is paused, else 0.", value=int(metrics.paused))
        yield GaugeMetricFamily("barstorm_queue_oldest_ready_seconds", "Age of the oldest ready job.", value=metrics.oldest_ready_s or 0.0)
        yield from _labelled("barstorm_runs", "Runs by state.", "state", metrics.runs)
        yield from _labelled("barstorm_worker_done", "Jobs that the worker has finished.", "worker", done)
        yield from _labelled("barstorm_worker_failed", "Jobs that failed on the worker.", "worker", failed)
        yield from _labelled("barstorm_worker_memory_bytes", "Resident memory of the worker.", "worker", memory)


def _labelled(name: str, text: str, label: str, values: Mapping[Any, float]) -> Iterator[Metric]:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([str(key)], value)
    yield family
