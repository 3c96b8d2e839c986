"""Requests to the http listener, as metrics, traces and the log have them."""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import CollectorRegistry

from extauthz.telemetry import HttpRequests, MergedMetrics, Metrics, TraceSettings
from extauthz.telemetry.logs import configure_logs
from extauthz.telemetry.open_request import OPEN
from extauthz.telemetry.spans import CheckTracer
from extauthz.telemetry.tracing import trace_plan
from extauthz.tokens.endpoints import Endpoints
from tests.tokens.parts import Clock

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "611ec7590ab59ae3"
SAMPLED = {"traceparent": (f"00-{TRACE}-{SPAN}-01",), "authorization": ("Bearer canary",)}
UNSAMPLED = {"traceparent": (f"00-{TRACE}-{SPAN}-00",)}
B3 = {"b3": (f"{TRACE}-{SPAN}-1",)}
TWO = {"traceparent": (f"00-{TRACE}-{SPAN}-01", f"00-{TRACE[::-1]}-{SPAN}-01")}


class Watched:
    """What sees requests, with all that it writes to."""

    def __init__(self, *, traced: bool = True) -> None:
        self.clock = Clock()
        self.metrics = Metrics(CollectorRegistry(), version="1")
        self.exporter = InMemorySpanExporter()
        plan = trace_plan(TraceSettings("otlp"), {})
        assert plan is not None
        self.tracer = (
            CheckTracer(plan, version="1", now=lambda: 1_700_000_000.0, exporters=[self.exporter]) if traced else None
        )
        self.series = self.metrics.http_series()
        endpoints = Endpoints("https://auth.example.com/realm")
        self.requests = HttpRequests(self.series, endpoints, self.tracer, clock=self.clock)
        self.tokens = self.metrics.token_series()

    def spans(self) -> tuple[ReadableSpan, ...]:
        assert self.tracer is not None
        self.tracer.close(5)
        return self.exporter.get_finished_spans()

    def page(self) -> str:
        return self.metrics.render().decode()


@pytest.fixture
def watched() -> Iterator[Watched]:
    made = Watched()
    yield made
    assert made.tracer is not None
    made.tracer.close(5)


def test_requests_are_counted_by_endpoint_and_status(watched: Watched) -> None:
    """By names of a fixed table: a path and a status that nobody knows make no series."""
    for path, status in (
        ("/oauth2/token", 200),
        ("/realm/oauth2/token", 401),
        ("/.well-known/oauth-authorization-server/realm", 200),
        ("/eyJcanary", 404),
        ("/oauth2/token/", 418),
    ):
        begun = watched.requests.begin("POST", path, {})
        watched.clock.time += 0.002
        watched.requests.finish(begun, "POST", status)
    watched.requests.abandon(watched.requests.begin("GET", "/refresh", {}))
    text = watched.page()
    for line in (
        'extauthz_http_requests_total{endpoint="token",status="200"} 1.0',
        'extauthz_http_requests_total{endpoint="token",status="401"} 1.0',
        'extauthz_http_requests_total{endpoint="metadata",status="200"} 1.0',
        'extauthz_http_requests_total{endpoint="other",status="404"} 1.0',
        'extauthz_http_requests_total{endpoint="other",status="other"} 1.0',
        'extauthz_http_requests_total{endpoint="refresh",status="200"} 0.0',
        'extauthz_http_request_duration_seconds_bucket{endpoint="token",le="0.0025"} 2.0',
        'extauthz_http_request_duration_seconds_bucket{endpoint="token",le="0.001"} 0.0',
        "extauthz_http_requests_abandoned_total 1.0",
    ):
        assert line in text
    assert "canary" not in text


def test_a_sampled_request_has_a_span_below_its_callers(watched: Watched) -> None:
    """With the names of the HTTP conventions, and the grant with what became of it; nothing that the client wrote."""
    begun = watched.requests.begin("POST", "/realm/oauth2/token", SAMPLED)
    watched.tokens.asked("client_credentials", "issued")
    watched.clock.time += 0.25
    watched.requests.finish(begun, "POST", 200)
    [seen] = watched.spans()
    assert seen.parent is not None
    assert (f"{seen.parent.trace_id:032x}", f"{seen.parent.span_id:016x}") == (TRACE, SPAN)
    assert (seen.name, seen.kind, seen.status.status_code) == (
        "POST /oauth2/token",
        SpanKind.SERVER,
        StatusCode.UNSET,
    )
    assert dict(seen.attributes or {}) == {
        "network.protocol.name": "http",
        "network.protocol.version": "1.1",
        "http.request.method": "POST",
        "http.route": "/oauth2/token",
        "http.response.status_code": 200,
        "extauthz.grant": "client_credentials",
        "extauthz.outcome": "issued",
    }
    assert (seen.end_time or 0) - (seen.start_time or 0) == 250_000_000
    assert "canary" not in str(seen.to_json())
    page, _ = watched.metrics.page("application/openmetrics-text")
    assert f'trace_id="{TRACE}"' in page.decode()


def test_what_it_waited_for_has_spans_below(watched: Watched) -> None:
    """And the whole wait is on the span itself."""
    begun = watched.requests.begin("POST", "/oauth2/token", SAMPLED)
    request = OPEN.get()
    assert request is not None
    request.waited("signature", watched.clock.time + 0.1, watched.clock.time + 0.3)
    watched.clock.time += 0.4
    watched.requests.finish(begun, "POST", 200)
    below, seen = watched.spans()
    assert (below.name, dict(below.attributes or {})) == (
        "wait for signature",
        {"extauthz.waited_for": "signature"},
    )
    assert below.parent is not None
    assert seen.context is not None
    assert below.parent.span_id == seen.context.span_id
    assert (seen.attributes or {})["extauthz.waited"] == pytest.approx(0.2)
    assert OPEN.get() is None


@pytest.mark.parametrize("headers", [{}, UNSAMPLED, TWO, {"baggage": ("sampled=1",)}, {"traceparent": ("x" * 9000,)}])
def test_without_a_sampled_parent_nothing_is_made(watched: Watched, headers: dict[str, tuple[str, ...]]) -> None:
    """Neither is anything of two parents that differ, of baggage, or of what is malformed."""
    begun = watched.requests.begin("POST", "/oauth2/token", headers)
    assert OPEN.get() is None
    watched.requests.finish(begun, "POST", 200)
    assert watched.spans() == ()
    assert watched.tracer is not None
    assert watched.tracer.ended == 0


def test_b3_is_a_parent_too(watched: Watched) -> None:
    """As for Checks."""
    watched.requests.finish(watched.requests.begin("GET", "/.well-known/jwks.json", B3), "GET", 200)
    [seen] = watched.spans()
    assert (seen.name, f"{seen.parent.trace_id:032x}" if seen.parent else "") == ("GET /.well-known/jwks.json", TRACE)


def test_with_tracing_off_requests_are_counted_all_the_same() -> None:
    """And nothing else happens."""
    watched = Watched(traced=False)
    watched.requests.finish(watched.requests.begin("POST", "/oauth2/token", SAMPLED), "POST", 200)
    assert 'extauthz_http_requests_total{endpoint="token",status="200"} 1.0' in watched.page()
    assert OPEN.get() is None


def test_a_method_and_a_path_of_the_clients_own_are_in_no_span(watched: Watched) -> None:
    """Whoever writes a token into the path has not written it into a trace."""
    watched.requests.finish(watched.requests.begin("CANARY", "/refresh/canary", SAMPLED), "CANARY", 404)
    [seen] = watched.spans()
    assert seen.name == "HTTP"
    assert (seen.attributes or {})["http.request.method"] == "_OTHER"
    assert "http.route" not in (seen.attributes or {})
    assert "canary" not in str(seen.to_json()).lower()


def test_a_fault_is_an_error_and_a_refusal_is_none(watched: Watched) -> None:
    """As the conventions have it for servers."""
    for status in (401, 503):
        watched.requests.finish(watched.requests.begin("POST", "/oauth2/token", SAMPLED), "POST", status)
    refused, failed = watched.spans()
    assert (refused.status.status_code, "error.type" in (refused.attributes or {})) == (StatusCode.UNSET, False)
    assert (failed.status.status_code, (failed.attributes or {})["error.type"]) == (StatusCode.ERROR, "503")


def test_an_abandoned_request_has_a_span_that_says_so(watched: Watched) -> None:
    """It has no status."""
    watched.requests.abandon(watched.requests.begin("POST", "/oauth2/token", SAMPLED))
    [seen] = watched.spans()
    assert (seen.attributes or {})["extauthz.abandoned"] is True
    assert "http.response.status_code" not in (seen.attributes or {})


@pytest.mark.usefixtures("preserved_logging")
@pytest.mark.parametrize("headers", [SAMPLED, UNSAMPLED])
def test_log_lines_of_a_request_have_its_trace(watched: Watched, headers: dict[str, tuple[str, ...]]) -> None:
    """Sampled or not: who has the trace finds the line. After the request it is gone."""
    stream = io.StringIO()
    configure_logs("info", stream)
    log = structlog.get_logger("extauthz.tokens.service")
    begun = watched.requests.begin("POST", "/oauth2/token", headers)
    log.warning("the token service could not answer")
    watched.requests.finish(begun, "POST", 503)
    log.warning("something else")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first["trace_id"] == TRACE
    assert "trace_id" not in second


@pytest.mark.usefixtures("preserved_logging")
def test_a_tracer_that_fails_changes_no_answer(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request is counted, and the fault told once."""

    def fail(*_arguments: object, **_named: object) -> None:
        message = "no"
        raise RuntimeError(message)

    stream = io.StringIO()
    configure_logs("info", stream)
    monkeypatch.setattr(CheckTracer, "begin", fail)
    for _ in range(3):
        watched.requests.finish(watched.requests.begin("POST", "/oauth2/token", SAMPLED), "POST", 200)
    assert 'extauthz_http_requests_total{endpoint="token",status="200"} 3.0' in watched.page()
    assert len(stream.getvalue().splitlines()) == 1


@dataclass(frozen=True)
class Counts:
    """Of a listener."""

    in_flight: int = 2
    connections: int = 5
    cut: int = 1
    malformed: int = 3


def test_the_listener_is_told_of_and_workers_add_up(watched: Watched) -> None:
    """Requests in flight, connections, those that gave way, what was no request."""
    watched.requests.watch(Counts)
    watched.requests.finish(watched.requests.begin("POST", "/refresh", {}), "POST", 429)
    page = watched.metrics.render()
    merged = MergedMetrics().merged([page, page])[0].decode()
    for line in (
        "extauthz_http_inflight 4.0",
        "extauthz_http_connections 10.0",
        "extauthz_http_connections_cut_total 2.0",
        "extauthz_http_malformed_total 6.0",
        'extauthz_http_requests_total{endpoint="refresh",status="429"} 2.0',
        'extauthz_http_request_duration_seconds_count{endpoint="refresh"} 2.0',
    ):
        assert line in merged
