"""The witness of traces receives what an OTLP exporter sends."""

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from mesh.address import free_address
from mesh.collector import Collector, Span
from mesh.demo.evidence import joined


def span(service: str, span_id: str, parent_id: str = "") -> Span:
    return Span(service, "x", "t", span_id, parent_id, {})


def test_spans_arrive_with_their_service_and_parent() -> None:
    with Collector(free_address()) as collector:
        provider = TracerProvider(resource=Resource.create({"service.name": "echo"}))
        provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=collector.endpoint, insecure=True)))
        tracer = provider.get_tracer("test")
        with tracer.start_as_current_span("outer") as outer, tracer.start_as_current_span("inner"):
            trace_id = f"{outer.get_span_context().trace_id:032x}"
        provider.shutdown()
        inner, outer_seen = collector.wait_for(trace_id, lambda spans: len(spans) == 2, within=5)
    assert (inner.service, inner.name, inner.parent_id) == ("echo", "inner", outer_seen.span_id)


def test_a_port_is_not_shared() -> None:
    """Two meshes that start at the same moment must not get half of each other's spans."""
    with Collector(free_address()) as first, pytest.raises(OSError, match=first.listen):
        Collector(first.listen).start()


def test_waiting_ends_without_spans() -> None:
    assert Collector(free_address()).wait_for("t", bool, within=0.05) == []


def test_a_trace_is_joined_only_when_every_parent_is_there() -> None:
    whole = [span("envoy", "1"), span("extauthz", "2", "1"), span("echo", "3", "1")]
    assert joined(whole)
    assert not joined(whole[:2])
    assert not joined([*whole[:2], span("echo", "3", "unknown")])
    assert not joined([])
