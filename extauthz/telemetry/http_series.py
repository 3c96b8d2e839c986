"""What the metrics show of the http listener: what was asked, what was answered, how long that took, who had no room."""

from collections.abc import Callable, Iterator
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from extauthz.tokens.endpoints import ENDPOINTS

__all__ = ["HttpCounts", "HttpSeries"]

_STATUSES: Final = (200, 304, 400, 401, 403, 404, 405, 408, 413, 429, 431, 500, 503)
_OTHER: Final = "other"
_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Seconds. A token with a key in a folder takes about a millisecond; an answer is cut off after ten seconds."""


class HttpCounts(Protocol):
    """How the listener is doing."""

    @property
    def in_flight(self) -> int:
        """Requests that are being answered."""
        ...

    @property
    def connections(self) -> int:
        """Connections that are open, handshakes included."""
        ...

    @property
    def cut(self) -> int:
        """Connections that waited for their client, and were closed to make room."""
        ...

    @property
    def malformed(self) -> int:
        """What came and was no request of HTTP/1.1."""
        ...


class HttpSeries:
    """All series are there from the beginning."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Make them in a registry."""
        self._registry = registry
        requests = Counter(
            "extauthz_http_requests",
            "Requests to the http listener, by endpoint and status of the answer.",
            ("endpoint", "status"),
            registry=registry,
        )
        took = Histogram(
            "extauthz_http_request_duration_seconds",
            "Time from the header of a request to the end of its answer, as far as it was handed to the system.",
            ("endpoint",),
            buckets=_BUCKETS,
            registry=registry,
        )
        self._gone = Counter(
            "extauthz_http_requests_abandoned", "Requests whose client left before the answer.", registry=registry
        )
        self._requests = {
            (endpoint, status): requests.labels(endpoint, str(status))
            for endpoint in ENDPOINTS
            for status in (*_STATUSES, _OTHER)
        }
        self._took = {endpoint: took.labels(endpoint) for endpoint in ENDPOINTS}

    def answered(self, endpoint: str, status: int, seconds: float, trace: str = "") -> None:
        """A request was answered. ``trace`` is the trace id, in hexadecimal, of one whose span is recorded."""
        counter = self._requests.get((endpoint, status))
        (self._requests[endpoint, _OTHER] if counter is None else counter).inc()
        self._took[endpoint].observe(seconds, {"trace_id": trace} if trace else None)

    def abandoned(self) -> None:
        """The client of a request left before the answer."""
        self._gone.inc()

    def watch(self, counts: Callable[[], HttpCounts]) -> None:
        """Show how the listener is doing, asked for whenever Prometheus asks us. To be called once."""
        self._registry.register(_Listener(counts))


class _Listener:
    """Makes series out of plain counts."""

    def __init__(self, counts: Callable[[], HttpCounts]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        counts = self._counts()
        yield GaugeMetricFamily("extauthz_http_inflight", "Requests being answered.", counts.in_flight)
        yield GaugeMetricFamily("extauthz_http_connections", "Connections of the http listener.", counts.connections)
        yield CounterMetricFamily(
            "extauthz_http_connections_cut",
            "Connections that said nothing, and were closed to make room for new ones.",
            counts.cut,
        )
        yield CounterMetricFamily(
            "extauthz_http_malformed",
            "What came to the http listener and was no request of HTTP/1.1.",
            counts.malformed,
        )
