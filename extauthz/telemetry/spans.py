"""One server span a Check, below Envoy's, made with OpenTelemetry's SDK and exported from a thread of its own.

A span is made only when somebody will see it: the parent is sampled, or there is none and OTEL_TRACES_SAMPLER asks for
traces that begin here. The provider is our own and not the process's global one, so that no library can hang spans,
processors or propagators into ours, and the context of a span is built from the RPC's metadata alone.

The exporter works behind the SDK's bounded queue: an unreachable collector costs dropped spans and nothing else.
"""

import sys
import threading
from collections.abc import Callable, Iterable, Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, TracerProvider, sampling
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter, SpanExportResult
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from extauthz.model import AttributeContext, Decision, Reason
from extauthz.telemetry.attributes import (
    ABANDONED,
    FIXED,
    SHADOW_EVENT,
    SPAN_NAME,
    WAITED,
    decision_attributes,
    shadow_attributes,
)
from extauthz.telemetry.parent import Parent, find_parent, may_be_sampled
from extauthz.telemetry.tracing import TracePlan

__all__ = ["CheckTracer", "Span"]

_ALONE = Context()
_FAULT = Status(StatusCode.ERROR, Reason.INTERNAL_ERROR.sentence)
_NANOSECONDS = 1_000_000_000
_SHADOWS = 32
"""Events of shadow verdicts on one span."""


class CheckTracer:
    """Begins and ends the span of each Check. Used from one thread."""

    def __init__(
        self,
        plan: TracePlan,
        *,
        version: str,
        now: Callable[[], float],
        exporters: Iterable[SpanExporter] | None = None,
    ) -> None:
        """Start the exporters that the plan names, or the given ones. ``now`` is seconds since the epoch."""
        self._now = now
        self._roots = plan.roots
        self.ended = 0
        """Spans that were made; those that are not exported are queued yet, or lost."""
        self._exporters = (
            [_exporter(name, plan.protocol) for name in plan.exporters] if exporters is None else [*exporters]
        )
        self._provider = TracerProvider(
            sampler=None if plan.sampler else sampling.DEFAULT_OFF,  # None: as OTEL_TRACES_SAMPLER says
            resource=_resource(version),
            shutdown_on_exit=False,
        )
        counting = [_Counting(exporter) for exporter in self._exporters]
        for exporter in counting:
            self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._counting = counting
        self._tracer = self._provider.get_tracer("extauthz", version)

    @property
    def exported(self) -> int:
        """Spans that were taken, of several exporters by the one that took fewest."""
        return min((exporter.exported for exporter in self._counting), default=0)

    def begin(self, metadata: Iterable[tuple[str, str | bytes]]) -> Span | None:
        """The span of a Check that came with this RPC metadata; None if nobody will see it."""
        if not self._roots and not may_be_sampled(metadata):
            return None
        parent = find_parent(metadata)
        if parent is None:
            if not self._roots:
                return None
            context = _ALONE
        elif parent.sampled or (parent.sampled is None and self._chosen(parent)):
            context = _below(parent)
        else:
            return None
        span = self._tracer.start_span(
            SPAN_NAME,
            context,
            SpanKind.SERVER,
            FIXED,
            start_time=int(self._now() * _NANOSECONDS),
        )
        # Not so when OTEL_TRACES_SAMPLER says no: to a trace that would begin here, or to all of them.
        return span if isinstance(span, Span) and span.is_recording() else None

    def finish(
        self, span: Span, decision: Decision, sent: AttributeContext | None, seconds: float, waited: float = 0.0
    ) -> None:
        """End the span of a decided Check. A denial is what we are for, and no error; a fault of ours is."""
        span.set_attributes(decision_attributes(decision, sent))
        if waited:
            span.set_attribute(WAITED, waited)
        for shadow in decision.shadows[:_SHADOWS]:
            span.add_event(SHADOW_EVENT, shadow_attributes(shadow))
        if decision.verdict.reason is Reason.INTERNAL_ERROR:
            span.set_status(_FAULT)
        self.ended += 1
        # Both ends by one clock and one duration: the wall clock may jump in between.
        span.end((span.start_time or 0) + int(seconds * _NANOSECONDS))

    def abandon(self, span: Span) -> None:
        """End the span of a Check whose caller went away."""
        self.ended += 1
        span.set_attribute(ABANDONED, True)
        span.end(int(self._now() * _NANOSECONDS))

    def close(self, timeout: float) -> None:
        """Export what is queued, for at most about this many seconds; what then is left is lost."""
        closing = threading.Thread(target=self._provider.shutdown, name="extauthz-traces-close", daemon=True)
        closing.start()
        closing.join(timeout)
        if closing.is_alive():
            # Shutting the exporters down breaks off a retry that is waiting for a collector that is not there.
            for exporter in self._exporters:
                exporter.shutdown()

    def _chosen(self, parent: Parent) -> bool:
        """What OTEL_TRACES_SAMPLER says of a trace whose caller left the decision to us."""
        if not self._roots:
            return False
        answer = self._provider.sampler.should_sample(_ALONE, parent.trace_id, SPAN_NAME)
        return answer.decision is sampling.Decision.RECORD_AND_SAMPLE


class _Counting(SpanExporter):
    """An exporter that counts what was taken. Used by one thread, read by others."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.exported = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self.exported += len(spans)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _below(parent: Parent) -> Context:
    state = TraceState.from_header([parent.state]) if parent.state else None
    flags = TraceFlags(parent.flags | TraceFlags.SAMPLED)
    remote = SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=flags, trace_state=state)
    return set_span_in_context(NonRecordingSpan(remote), _ALONE)


def _resource(version: str) -> Resource:
    """Who we are: OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES count, else the service is ``extauthz``."""
    told = Resource.create()
    ours = {"service.name": "extauthz", "service.version": version}
    if not str(told.attributes["service.name"]).startswith("unknown_service"):
        del ours["service.name"]
    if "service.version" in told.attributes:
        del ours["service.version"]
    return told.merge(Resource(ours))


def _exporter(name: str, protocol: str) -> SpanExporter:
    if name == "console":
        return ConsoleSpanExporter(out=sys.stdout, formatter=lambda span: str(span.to_json(indent=None)) + "\n")
    if protocol == "http/protobuf":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter

        return HttpSpanExporter()
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()
