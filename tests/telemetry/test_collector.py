"""Decision records as OTLP log records, received by servers that speak OTLP."""

import asyncio
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from prometheus_client import CollectorRegistry

from extauthz.errors import ConfigError
from extauthz.model import AttributeContext, Decision, Deny, Reason
from extauthz.telemetry import DecisionSettings, Metrics, TraceSettings, open_telemetry

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "611ec7590ab59ae3"
NOW = 1_700_000_000.25


class Received:
    """What a collector was sent."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.code: grpc.StatusCode | None = None

    @property
    def records(self) -> list[Any]:
        """All log records, each with the name of its service."""
        return [
            ({pair.key: pair.value.string_value for pair in one.resource.attributes}["service.name"], record)
            for request in self.requests
            for one in request.resource_logs
            for scope in one.scope_logs
            for record in scope.log_records
        ]


@contextmanager
def grpc_collector(received: Received, authority: trustme.CA | None = None) -> Iterator[str]:
    """A collector that speaks gRPC, with TLS if there is an authority; gives its endpoint."""

    class Service(logs_service_pb2_grpc.LogsServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the name in the proto
            if received.code is not None:
                context.abort(received.code, "no")
            received.requests.append(request)
            received.headers.append(dict(context.invocation_metadata()))
            return logs_service_pb2.ExportLogsServiceResponse()

    server = grpc.server(ThreadPoolExecutor(1))
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(Service(), server)
    if authority is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        issued = authority.issue_cert("localhost")
        chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        pairs = [(issued.private_key_pem.bytes(), chain)]
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(pairs))
    server.start()
    try:
        yield f"http://127.0.0.1:{port}" if authority is None else f"https://localhost:{port}"
    finally:
        server.stop(0)


@contextmanager
def http_collector(received: Received, authority: trustme.CA | None = None) -> Iterator[str]:
    """The same over HTTP."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received.requests.append(logs_service_pb2.ExportLogsServiceRequest.FromString(body))
            received.headers.append({name.lower(): value for name, value in self.headers.items()} | {"path": self.path})
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        if authority is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert("localhost").configure_cert(context)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http{'s' if authority else ''}://localhost:{server.server_port}"
        finally:
            server.shutdown()


COLLECTORS = [("grpc", grpc_collector), ("http/protobuf", http_collector)]


async def told(decision: Decision, sent: AttributeContext | None, metrics: Metrics, metadata: Any = ()) -> None:
    """One decision to a sink that is closed afterwards."""
    settings = DecisionSettings("otlp")
    telemetry = open_telemetry(TraceSettings("none"), settings, metrics, version="1.2.3", now=lambda: NOW)
    telemetry.finish(telemetry.begin(metadata), decision, sent, 0.001)
    await telemetry.close()


@pytest.mark.parametrize(("protocol", "collector"), COLLECTORS)
@pytest.mark.parametrize("tls", [False, True])
async def test_records_arrive(
    protocol: str,
    collector: Callable[..., Any],
    tls: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    metrics: Metrics,
    allowed: Decision,
    sent: AttributeContext,
) -> None:
    """As OTEL_* variables say where and how: the line of the file as body, and beside it what one asks for first."""
    received, authority = Received(), trustme.CA() if tls else None
    with collector(received, authority) as endpoint:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", protocol)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=abc")
        if authority is not None:
            authority.cert_pem.write_to_path(tmp_path / "ca.pem")
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(tmp_path / "ca.pem"))
            for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # they would beat it over HTTP
                monkeypatch.delenv(name, raising=False)
        await told(allowed, sent, metrics)
    [(service, record)] = received.records
    assert service == "extauthz"
    assert received.headers[0]["x-key"] == "abc"
    assert received.headers[0].get("path", "/v1/logs") == "/v1/logs"
    body = json.loads(record.body.string_value)
    assert (body["id"], body["subject"], body["path"]) == ("d-1", "alice", "/orders/42")
    assert record.time_unix_nano == 1_700_000_000_250_000_000
    assert (record.severity_text, record.event_name) == ("INFO", "extauthz.decision")
    assert record.trace_id == b""
    attributes = {pair.key: pair.value for pair in record.attributes}
    assert {name: value.string_value or value.int_value for name, value in attributes.items()} == {
        "extauthz.decision": "allow",
        "extauthz.reason": "allowed",
        "extauthz.decision_id": "d-1",
        "extauthz.policy": "orders",
        "extauthz.rule": "read-orders",
        "extauthz.provider": "corporate",
        "extauthz.policy_generation": 7,
    }
    assert b"extauthz_decision_log_dropped_total 0.0" in metrics.render()


async def test_a_record_belongs_to_its_trace(
    monkeypatch: pytest.MonkeyPatch, metrics: Metrics, allowed: Decision
) -> None:
    """So that a trace store shows it with the span; and only a fault of ours is an error."""
    received = Received()
    with grpc_collector(received) as endpoint:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        telemetry = open_telemetry(
            TraceSettings("console"), DecisionSettings("otlp"), metrics, version="1", now=lambda: NOW
        )
        for decision in (allowed, Decision("d-2", Deny(Reason.INTERNAL_ERROR, "a fault"), 1)):
            span = telemetry.begin([("traceparent", f"00-{TRACE}-{SPAN}-01")])
            telemetry.finish(span, decision, None, 0.001)
        await telemetry.close()
    first, second = (record for _, record in received.records)
    assert first.trace_id.hex() == second.trace_id.hex() == TRACE
    assert first.span_id.hex() == json.loads(first.body.string_value)["span_id"]
    assert (first.severity_text, second.severity_text) == ("INFO", "ERROR")


async def test_a_collector_that_refuses_loses_counted_records(
    monkeypatch: pytest.MonkeyPatch, metrics: Metrics, allowed: Decision
) -> None:
    """It is not asked twice for what it will not take."""
    received = Received()
    received.code = grpc.StatusCode.INVALID_ARGUMENT
    with grpc_collector(received) as endpoint:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        await told(allowed, None, metrics)
    assert b"extauthz_decision_log_dropped_total 1.0" in metrics.render()


async def test_what_must_be_kept_is_sent_when_the_collector_is_back(
    monkeypatch: pytest.MonkeyPatch, allowed: Decision
) -> None:
    """With whenFull: wait nothing is dropped for what passes."""
    metrics, received = Metrics(CollectorRegistry()), Received()
    received.code = grpc.StatusCode.PERMISSION_DENIED
    with grpc_collector(received) as endpoint:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        settings = DecisionSettings("otlp", keep=True)
        telemetry = open_telemetry(TraceSettings("none"), settings, metrics, version="1", now=lambda: NOW)
        telemetry.finish(telemetry.begin(()), allowed, None, 0.001)
        await asyncio.sleep(0.6)
        assert not received.requests
        received.code = None
        await telemetry.close()
    assert len(received.records) == 1
    assert b"extauthz_decision_log_dropped_total 0.0" in metrics.render()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/json", "logs can't be sent over 'http/json'"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "udp", "logs can't be sent over 'udp'"),
        ("OTEL_SDK_DISABLED", "true", "the decision log can't be sent without the SDK"),
    ],
)
def test_variables_that_can_not_be_followed_stop_the_start(
    name: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch, metrics: Metrics
) -> None:
    """A log that an operator asked for does not go missing without a word."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=told):
        open_telemetry(TraceSettings("none"), DecisionSettings("otlp"), metrics, version="1", now=lambda: NOW)
