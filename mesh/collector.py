"""A trace collector in a thread: receives OTLP over gRPC and remembers the last spans.

Model: Envoy, extauthz and the upstream all export to the same OTLP endpoint. Where nobody runs a real collector, this
one takes the spans, so that the demo can prove that one request made one trace, and `make up` can show it.

Trade-off: memory only, the newest few thousand spans, one handler thread. It is a witness and not a backend; point
OTEL_EXPORTER_OTLP_ENDPOINT at a real collector to keep and see traces.
"""

from __future__ import annotations

import errno
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent import futures
from dataclasses import dataclass
from typing import Self

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service
from opentelemetry.proto.common.v1 import common_pb2

EXPORT = "opentelemetry.proto.collector.trace.v1.TraceService"
KEPT = 4096


@dataclass(frozen=True, slots=True)
class Span:
    """What the proof needs of a span."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, str]


def _text(pairs: Iterable[common_pb2.KeyValue]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        kind = pair.value.WhichOneof("value")
        found[pair.key] = str(getattr(pair.value, kind)) if kind else ""
    return found


def read(request: service.ExportTraceServiceRequest) -> list[Span]:
    """The spans of one export request."""
    return [
        Span(
            service=_text(resource.resource.attributes).get("service.name", "unknown"),
            name=span.name,
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            attributes=_text(span.attributes),
        )
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


class Collector:
    """An OTLP/gRPC trace receiver on loopback; a context manager."""

    def __init__(self, listen: str) -> None:
        self.listen = listen
        self._spans: deque[Span] = deque(maxlen=KEPT)
        self._arrived = threading.Condition()
        self._server: grpc.Server | None = None

    @property
    def endpoint(self) -> str:
        """The value for OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://{self.listen}"

    def _export(
        self, request: service.ExportTraceServiceRequest, _: grpc.ServicerContext
    ) -> service.ExportTraceServiceResponse:
        with self._arrived:
            self._spans.extend(read(request))
            self._arrived.notify_all()
        return service.ExportTraceServiceResponse()

    def spans(self, trace_id: str = "") -> list[Span]:
        """The spans received so far, of one trace or of all."""
        with self._arrived:
            return [span for span in self._spans if not trace_id or span.trace_id == trace_id]

    def wait_for(self, trace_id: str, complete: Callable[[list[Span]], bool], within: float) -> list[Span]:
        """Waits until the spans of a trace satisfy the condition, or the time is over; returns what is there."""
        deadline = time.monotonic() + within
        while True:
            found = self.spans(trace_id)
            left = deadline - time.monotonic()
            if complete(found) or left <= 0:
                return found
            with self._arrived:
                self._arrived.wait(min(left, 0.1))

    def start(self) -> Self:
        """Binds and serves; raises OSError when the port is taken."""
        export = grpc.unary_unary_rpc_method_handler(
            self._export,
            request_deserializer=service.ExportTraceServiceRequest.FromString,
            response_serializer=service.ExportTraceServiceResponse.SerializeToString,
        )
        server = grpc.server(
            futures.ThreadPoolExecutor(max_workers=2, thread_name_prefix="collector"),
            # A second collector on one port would take half of the spans.
            options=[("grpc.so_reuseport", 0)],
        )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(EXPORT, {"Export": export}),))
        try:
            server.add_insecure_port(self.listen)
        except RuntimeError:
            raise OSError(errno.EADDRINUSE, f"the collector can't listen on {self.listen}") from None
        server.start()
        self._server = server
        return self

    def stop(self) -> None:
        """Stops receiving."""
        if self._server is not None:
            self._server.stop(grace=0.2).wait()
            self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
