"""The figures of the queue in the form that Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from workers import QueueMetrics

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def wanted(accept: str) -> bool:
    """Whether a client asks for text and not for JSON."""
    return "json" not in accept and ("text/plain" in accept or "openmetrics" in accept)


def exposition(metrics: QueueMetrics) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Queue(metrics))
    return generate_latest(registry)


class _Queue(Collector):
    def __init__(self, metrics: QueueMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        figures = self._metrics
        yield from _labelled(
            "barstorm_queue_jobs",
            "Jobs in the queue.",
            "state",
            {"ready": figures.ready, "delayed": figures.delayed, "running": figures.running, "outbox": figures.outbox},
        )
        yield GaugeMetricFamily("barstorm_queue_paused", "1 while workers claim nothing.", value=int(figures.paused))
        yield GaugeMetricFamily("barstorm_queue_oldest_ready_seconds", "Age of the oldest ready job.", value=figures.oldest_ready_s or 0.0)
        yield from _labelled("barstorm_runs", "Runs in each state.", "state", figures.runs)
        yield from _labelled("barstorm_worker_done", "Jobs a worker has ended.", "worker", {at.id: at.done for at in figures.workers})
        yield from _labelled("barstorm_worker_failed", "Those that failed.", "worker", {at.id: at.failed for at in figures.workers})
        yield from _labelled(
            "barstorm_worker_memory_bytes", "Memory it holds.", "worker", {at.id: at.memory_mb * 1e6 for at in figures.workers}
        )


def _labelled(name: str, text: str, label: str, values: Mapping[Any, float]) -> Iterator[Metric]:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([str(key)], value)
    yield family
