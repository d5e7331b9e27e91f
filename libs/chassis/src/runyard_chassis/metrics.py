"""Prometheus metrics of one app: a registry of its own, so that several services can share a process."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}


class HttpMetrics:
    """Requests by route template, never by path: ids in label values would grow without bound."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "http_requests_total",
            "Requests answered.",
            ["method", "route", "status"],
            registry=registry,
        )
        self.duration = Histogram(
            "http_request_duration_seconds",
            "Time to the whole answer; to its first byte for event streams.",
            ["method", "route"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self.streams = Gauge("http_streams_open", "Event streams being sent.", registry=registry)
        self.in_flight = Gauge("http_requests_in_flight", "Requests not answered yet.", registry=registry)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one answer."""
        method = method if method in _METHODS else "OTHER"
        self.requests.labels(method, route, str(status)).inc()
        self.duration.labels(method, route).observe(seconds)


def new_registry(service: str, version: str) -> CollectorRegistry:
    """A registry with the process's own figures and the service's name and version."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    info = Gauge("runyard_service_info", "Always 1.", ["service", "version"], registry=registry)
    info.labels(service, version).set(1)
    return registry


def exposition(registry: CollectorRegistry) -> bytes:
    """The registry in Prometheus' text format."""
    return generate_latest(registry)


__all__ = ["EXPOSITION_TYPE", "HttpMetrics", "exposition", "new_registry"]
