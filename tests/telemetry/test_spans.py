"""The span of a Check."""

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, get_tracer_provider

from extauthz.model import AttributeContext, Decision, Deny, HttpAttributes, Peer, Reason
from extauthz.telemetry import TraceSettings
from extauthz.telemetry.logs import configure_logs
from extauthz.telemetry.spans import CheckTracer
from extauthz.telemetry.taken import Waited
from extauthz.telemetry.tracing import trace_plan

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "611ec7590ab59ae3"
SAMPLED = [("traceparent", f"00-{TRACE}-{SPAN}-01"), ("tracestate", "k=v")]
UNSAMPLED = [("traceparent", f"00-{TRACE}-{SPAN}-00")]
NOW = 1_700_000_000.25


class Traces:
    """A tracer, and what it exported."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        plan = trace_plan(TraceSettings("otlp"), environ)
        assert plan is not None
        self.exporter = InMemorySpanExporter()
        self.tracer = CheckTracer(plan, version="1.2.3", now=lambda: NOW, exporters=[self.exporter])

    def spans(self) -> tuple[ReadableSpan, ...]:
        self.tracer.close(5)
        return self.exporter.get_finished_spans()


def exported(
    traces: TraceSettings, environ: Mapping[str, str], decision: Decision, sent: AttributeContext
) -> CheckTracer:
    """A tracer with the exporters of these settings, after the one span of a sampled Check has left."""
    plan = trace_plan(traces, environ)
    assert plan is not None
    tracer = CheckTracer(plan, version="1", now=lambda: NOW)
    span = tracer.begin(SAMPLED)
    assert span is not None
    tracer.finish(span, decision, sent, 0.001)
    tracer.close(5)
    return tracer


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Traces]]:
    """Opens tracers under these ``OTEL_*`` variables."""
    opened: list[Traces] = []

    def open_(**environ: str) -> Traces:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        opened.append(Traces(environ))
        return opened[-1]

    yield open_
    for each in opened:
        each.tracer.close(5)


def test_child_of_envoys_span(traces: Callable[..., Traces], allowed: Decision, sent: AttributeContext) -> None:
    """A Check whose parent is sampled has one server span below it, that says what was decided."""
    own = traces()
    span = own.tracer.begin(SAMPLED)
    assert span is not None
    own.tracer.finish(span, allowed, sent, 0.0125)
    [seen] = own.spans()
    assert seen.parent is not None
    assert (f"{seen.parent.trace_id:032x}", f"{seen.parent.span_id:016x}") == (TRACE, SPAN)
    assert seen.parent.is_remote
    context = seen.get_span_context()
    assert context is not None
    assert f"{context.trace_id:032x}" == TRACE
    assert context.trace_state.to_header() == "k=v"
    assert seen.name == "envoy.service.auth.v3.Authorization/Check"
    assert seen.kind is SpanKind.SERVER
    assert seen.status.status_code is StatusCode.UNSET
    assert seen.start_time == NOW * 1e9
    assert seen.end_time is not None
    assert seen.end_time - seen.start_time == 12_500_000
    assert dict(seen.attributes or {}) == {
        "rpc.system": "grpc",
        "rpc.service": "envoy.service.auth.v3.Authorization",
        "rpc.method": "Check",
        "http.request.method": "GET",
        "extauthz.decision": "allow",
        "extauthz.reason": "allowed",
        "extauthz.policy": "orders",
        "extauthz.rule": "read-orders",
        "extauthz.provider": "corporate",
        "extauthz.decision_id": "d-1",
        "extauthz.policy_generation": 7,
    }


def test_what_was_waited_for_is_on_the_span(
    traces: Callable[..., Traces], allowed: Decision, sent: AttributeContext
) -> None:
    """In seconds, as OpenTelemetry has durations."""
    own = traces()
    span = own.tracer.begin(SAMPLED)
    assert span is not None
    own.tracer.finish(span, allowed, sent, 0.05, 0.04)
    [seen] = own.spans()
    assert (seen.attributes or {})["extauthz.waited"] == 0.04


@pytest.mark.parametrize(
    ("reason", "status"),
    [(reason, StatusCode.UNSET) for reason in (Reason.NO_RULE, Reason.TOKEN_EXPIRED, Reason.KEYS_UNAVAILABLE)]
    + [(Reason.INTERNAL_ERROR, StatusCode.ERROR)],
)
def test_only_a_fault_is_an_error(
    traces: Callable[..., Traces], sent: AttributeContext, reason: Reason, status: StatusCode
) -> None:
    """A denial is no error of the span; a fault of ours is."""
    own = traces()
    span = own.tracer.begin(SAMPLED)
    assert span is not None
    own.tracer.finish(span, Decision("d-2", Deny(reason, provider="corporate"), 7), sent, 0.001)
    [seen] = own.spans()
    assert seen.status.status_code is status
    attributes = dict(seen.attributes or {})
    assert attributes["extauthz.decision"] == "deny"
    assert attributes["extauthz.reason"] == reason.word
    assert attributes["extauthz.provider"] == "corporate"


def test_method_that_the_client_invented(traces: Callable[..., Traces]) -> None:
    """A method that is none of the known ones does not reach the trace store."""
    http = HttpAttributes("", "SECRET-canary", "/", "h", "http", "HTTP/1.1", {})
    own = traces()
    span = own.tracer.begin(SAMPLED)
    assert span is not None
    own.tracer.finish(span, Decision("d", Deny(Reason.NO_RULE), 1), AttributeContext(Peer(), Peer(), 0.0, http), 0.001)
    [seen] = own.spans()
    assert (seen.attributes or {})["http.request.method"] == "_OTHER"


def test_check_that_could_not_be_read(traces: Callable[..., Traces]) -> None:
    """A Check without attributes has a span too."""
    own = traces()
    span = own.tracer.begin(SAMPLED)
    assert span is not None
    own.tracer.finish(span, Decision("d", Deny(Reason.REQUEST_MALFORMED), 1), None, 0.001)
    assert len(own.spans()) == 1


def test_abandoned_check(traces: Callable[..., Traces]) -> None:
    """The span of a caller that went away ends, says so, and has no decision."""
    own = traces()
    span = own.tracer.begin(SAMPLED)
    assert span is not None
    own.tracer.abandon(span)
    [seen] = own.spans()
    assert (seen.attributes or {})["extauthz.abandoned"] is True
    assert "extauthz.decision" not in (seen.attributes or {})


@pytest.mark.parametrize("sampler", [None, "always_on", "parentbased_always_on", "parentbased_always_off"])
def test_unsampled_parent_has_no_child(traces: Callable[..., Traces], sampler: str | None) -> None:
    """No span object exists under a parent that is not sampled, whatever the sampler would say."""
    own = traces(**({"OTEL_TRACES_SAMPLER": sampler} if sampler else {}))
    assert own.tracer.begin(UNSAMPLED) is None
    assert own.tracer.begin([("b3", f"{TRACE}-{SPAN}-0")]) is None


@pytest.mark.parametrize(
    ("environ", "root", "deferred"),
    [
        ({}, False, False),
        ({"OTEL_TRACES_SAMPLER": "always_on"}, True, True),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_on"}, True, True),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, False, False),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, False, False),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}, False, False),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "1"}, True, True),
    ],
)
def test_sampler_decides_without_a_decision(
    traces: Callable[..., Traces], environ: dict[str, str], root: bool, deferred: bool
) -> None:
    """Without a parent, and under one that left the decision to us, OTEL_TRACES_SAMPLER decides, else there is no span."""
    own = traces(**environ)
    assert (own.tracer.begin([]) is not None) is root
    below = own.tracer.begin([("b3", f"{TRACE}-{SPAN}")])
    assert (below is not None) is deferred
    if below is not None:
        assert f"{below.get_span_context().trace_id:032x}" == TRACE


def test_always_off_beats_a_sampled_parent(traces: Callable[..., Traces]) -> None:
    """OTEL_TRACES_SAMPLER=always_off means off."""
    assert traces(OTEL_TRACES_SAMPLER="always_off").tracer.begin(SAMPLED) is None


@pytest.mark.parametrize(
    ("environ", "name", "version"),
    [
        ({}, "extauthz", "1.2.3"),
        ({"OTEL_SERVICE_NAME": "edge-authz"}, "edge-authz", "1.2.3"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=a,service.version=9,team=x"}, "a", "9"),
    ],
)
def test_resource(
    traces: Callable[..., Traces],
    allowed: Decision,
    sent: AttributeContext,
    environ: dict[str, str],
    name: str,
    version: str,
) -> None:
    """The service is extauthz unless the usual variables name it otherwise."""
    own = traces(**environ)
    span = own.tracer.begin(SAMPLED)
    assert span is not None
    own.tracer.finish(span, allowed, sent, 0.001)
    [seen] = own.spans()
    assert (seen.resource.attributes["service.name"], seen.resource.attributes["service.version"]) == (name, version)


def test_provider_is_not_global(traces: Callable[..., Traces]) -> None:
    """No other library of the process gets at our tracer provider."""
    own = traces()
    assert get_tracer_provider() is not own.tracer._provider


@pytest.mark.parametrize("tls", [False, True])
def test_spans_arrive_over_otlp(
    tls: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: Decision, sent: AttributeContext
) -> None:
    """What OTEL_EXPORTER_OTLP_ENDPOINT names gets the spans over gRPC, and closing sends what is queued; TLS by the variables."""
    received: list[Any] = []

    class Collector(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the name in the proto
            received.append(request)
            return trace_service_pb2.ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Collector(), server)
    if tls:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        issued = authority.issue_cert("localhost")
        pairs = [(issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes())]
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(pairs))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", str(tmp_path / "ca.pem"))
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http{'s' if tls else ''}://localhost:{port}")
    tracer = exported(TraceSettings("otlp"), {}, allowed, sent)
    server.stop(0)
    assert (tracer.ended, tracer.exported) == (1, 1)
    [sent_span] = [span for r in received for rs in r.resource_spans for ss in rs.scope_spans for span in ss.spans]
    assert (sent_span.trace_id.hex(), sent_span.parent_span_id.hex()) == (TRACE, SPAN)


def test_spans_arrive_over_http(monkeypatch: pytest.MonkeyPatch, allowed: Decision, sent: AttributeContext) -> None:
    """The same where the collector speaks HTTP alone; headers for it come from the standard variable."""
    received: list[tuple[str, str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append((self.path, self.headers["x-key"], body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=abc")
        exported(TraceSettings("otlp"), {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, allowed, sent)
        server.shutdown()
    [(path, key, body)] = received
    assert (path, key) == ("/v1/traces", "abc")
    request = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
    [sent_span] = [span for rs in request.resource_spans for ss in rs.scope_spans for span in ss.spans]
    assert sent_span.trace_id.hex() == TRACE


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_unreachable_collector(
    protocol: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    preserved_logging: None,
    allowed: Decision,
    sent: AttributeContext,
) -> None:
    """A collector that is not there costs no Check its time, one log line a minute, and bounded seconds at the end."""
    log = io.StringIO()
    configure_logs("info", log)
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
        monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "64")
        monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "16")
        plan = trace_plan(TraceSettings("otlp"), {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol})
        assert plan is not None
        tracer = CheckTracer(plan, version="1", now=lambda: NOW)
        seconds: list[float] = []
        for _ in range(200):
            began = time.perf_counter()
            span = tracer.begin(SAMPLED)
            if span is not None:  # else there is no room
                tracer.finish(span, allowed, sent, 0.001)
            seconds.append(time.perf_counter() - began)
            time.sleep(0.001)
        began = time.perf_counter()
        tracer.close(0.3)
        assert time.perf_counter() - began < 2
        assert tracer.exported == 0
        assert tracer.ended <= tracer.dropped + 64
        assert tracer.dropped >= 200 - 64 - 16  # but for those in the queue, and those that are being sent
    assert sorted(seconds)[-10] < 0.1  # a busy machine may take the processor away a few times
    lines = log.getvalue().splitlines()
    # That of the other protocol, in a test before this one, may still be giving up.
    lines = [line for line in lines if f"otlp.proto.{protocol[:4]}" in line]
    assert len(lines) == 1
    assert capfd.readouterr().err == ""


def test_console_exporter(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], allowed: Decision, sent: AttributeContext
) -> None:
    """The console exporter prints a line a span."""
    exported(TraceSettings("console"), {}, allowed, sent)
    [line] = capsys.readouterr().out.splitlines()
    assert '"extauthz.decision": "allow"' in line


@pytest.mark.parametrize("metadata", [UNSAMPLED, [("b3", f"{TRACE}-{SPAN}-0")], [("b3", f"{TRACE}-{SPAN}")]])
def test_a_denial_has_its_span_afterwards(
    traces: Callable[..., Traces], sent: AttributeContext, metadata: list[tuple[str, str]]
) -> None:
    """Below the parent that is not sampled, from when the Check began, and itself sampled."""
    own = traces()
    assert own.tracer.begin(metadata) is None
    span = own.tracer.belated(metadata, 0.25)
    assert span is not None
    own.tracer.finish(span, Decision("d", Deny(Reason.NO_RULE), 1), sent, 0.25)
    [seen] = own.spans()
    assert seen.parent is not None
    assert (f"{seen.parent.trace_id:032x}", f"{seen.parent.span_id:016x}") == (TRACE, SPAN)
    assert (seen.start_time, seen.end_time) == (1_700_000_000_000_000_000, 1_700_000_000_250_000_000)
    context = seen.get_span_context()
    assert context is not None
    assert context.trace_flags.sampled


def test_a_denial_without_parent_begins_a_trace(traces: Callable[..., Traces], sent: AttributeContext) -> None:
    """Where Envoy has no tracer at all."""
    own = traces()
    span = own.tracer.belated([], 0.25)
    assert span is not None
    own.tracer.finish(span, Decision("d", Deny(Reason.NO_RULE), 1), sent, 0.25)
    [seen] = own.spans()
    assert seen.parent is None
    assert own.tracer.begin([]) is None  # others still don't


@pytest.mark.parametrize("sampler", ["", "parentbased_always_on", "traceidratio"])
def test_what_was_waited_for_has_spans_below(
    traces: Callable[..., Traces], allowed: Decision, sent: AttributeContext, sampler: str
) -> None:
    """With their own times, whatever the sampler would say of them alone."""
    environ = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": "0"} if sampler else {}
    own = traces(**environ)
    span = own.tracer.belated(SAMPLED, 0.25)
    assert span is not None
    own.tracer.waited(span, [Waited("keys", "corporate", 0.01, 0.1), Waited("store", "", 0.2, 0.02)])
    own.tracer.finish(span, allowed, sent, 0.25, 0.12)
    keys, store, check = own.spans()
    assert (keys.name, dict(keys.attributes or {})) == (
        "wait for keys",
        {"extauthz.waited_for": "keys", "extauthz.provider": "corporate"},
    )
    assert (store.name, dict(store.attributes or {})) == ("wait for store", {"extauthz.waited_for": "store"})
    context = check.get_span_context()
    assert context is not None
    assert [child.parent and child.parent.span_id for child in (keys, store)] == [context.span_id] * 2
    assert check.start_time is not None
    assert keys.start_time == check.start_time + 10_000_000
    assert keys.end_time == check.start_time + 110_000_000


def test_spans_without_room_are_counted_and_not_made(
    traces: Callable[..., Traces], allowed: Decision, sent: AttributeContext
) -> None:
    """While an exporter hangs, so many are kept as the variable says, and the others cost a comparison."""
    stuck = threading.Event()

    class Hanging(InMemorySpanExporter):
        def export(self, spans: Any) -> Any:
            stuck.wait()
            return super().export(spans)

    environ = {"OTEL_BSP_MAX_QUEUE_SIZE": "10", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "2", "OTEL_BSP_SCHEDULE_DELAY": "1"}
    own = traces(**environ)
    plan = trace_plan(TraceSettings("otlp"), environ)
    assert plan is not None
    exporter = Hanging()
    tracer = CheckTracer(plan, version="1", now=lambda: NOW, exporters=[exporter])
    made = 0
    for _ in range(100):
        span = tracer.begin(SAMPLED)
        if span is not None:
            made += 1
            tracer.finish(span, allowed, sent, 0.001)
    assert 10 <= made <= 14
    assert (tracer.ended, tracer.dropped) == (made, 100 - made)
    assert tracer.belated(UNSAMPLED, 0.1) is None
    stuck.set()
    tracer.close(5)
    assert tracer.exported == made == len(exporter.get_finished_spans())
    assert own.tracer.dropped == 0
