"""What Prometheus reads at /metrics: requests, models and the process itself."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shared.serving.service import Services

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Counts of one server, in a registry of its own."""

    def __init__(self, services: Services) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("usecases_requests", "Requests answered", ["route", "usecase", "status"], registry=self.registry)
        self.seconds = Histogram(
            "usecases_request_seconds", "From acceptance to answer", ["route", "usecase"], buckets=SECONDS, registry=self.registry
        )
        self.registry.register(_Models(services))
        ProcessCollector(registry=self.registry)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)


class _Models(Collector):
    """Asks the services when it is asked, so that predicting counts nothing twice."""

    def __init__(self, services: Services) -> None:
        self.services = services

    def collect(self) -> Iterable[Metric]:
        calls = GaugeMetricFamily("usecases_in_flight", "Requests to the API that are being answered", self.services.calls)
        ready = GaugeMetricFamily("usecases_ready", "1: the model answers", labels=["usecase"])
        waiting = GaugeMetricFamily(
            "usecases_waiting_records", "Records in the queue, or that wait for other services", labels=["usecase"]
        )
        batches = CounterMetricFamily("usecases_batches", "Batches computed", labels=["usecase"])
        records = CounterMetricFamily("usecases_records", "Records computed", labels=["usecase"])
        for name, service in self.services.items():
            ready.add_metric([name], service.state == "ready")
            waiting.add_metric([name], service.batcher.waiting + service.batcher.late)
            batches.add_metric([name], service.batcher.batches)
            records.add_metric([name], service.batcher.computed)
        return [calls, ready, waiting, batches, records]
