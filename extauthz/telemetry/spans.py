"""One server span a Check, below Envoy's, made with OpenTelemetry's SDK and exported from a thread of its own.

A span is made only when somebody will see it: the parent is sampled, or there is none and OTEL_TRACES_SAMPLER asks for
traces that begin here. Where denials are wanted whatever their parent says, the span of one is made when it is known to
be a denial, so that nothing is made of what is allowed. Below the span stand those of what the Check waited for.

The provider is our own and not the process's global one, so that no library can hang spans, processors or propagators into
ours, and the context of a span is built from the RPC's metadata alone.

The exporter works behind the SDK's bounded queue: an unreachable collector costs dropped spans and nothing else. What has
no room in the queue is counted and not made in the first place, so that a collector that hangs costs less than one that
works.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from opentelemetry.context import Context
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
    wait_attributes,
    wait_name,
)
from extauthz.telemetry.parent import Parent, find_parent
from extauthz.telemetry.resource import own_resource
from extauthz.telemetry.taken import Waited
from extauthz.telemetry.tracing import TracePlan

__all__ = ["CheckTracer", "Span"]

_ALONE = Context()
_FAULT = Status(StatusCode.ERROR, Reason.INTERNAL_ERROR.sentence)
_FAILED = Status(StatusCode.ERROR)
_NANOSECONDS = 1_000_000_000
_SHADOWS = 32
"""Events of shadow verdicts on one span."""
_QUEUE: Final = 2048
"""Spans that may wait for the exporter, unless OTEL_BSP_MAX_QUEUE_SIZE says otherwise."""


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
        self.roots = plan.roots
        """Whether traces begin here, where there is no parent."""
        self.ended = 0
        """Spans that were made; those that were neither exported nor dropped wait for the exporter."""
        self._unmade = 0
        self._room = _queue_size()
        self._exporters = (
            [_exporter(name, plan.protocol) for name in plan.exporters] if exporters is None else [*exporters]
        )
        self._provider = TracerProvider(
            sampler=None if plan.sampler else sampling.DEFAULT_OFF,  # None: as OTEL_TRACES_SAMPLER says
            resource=own_resource(version),
            shutdown_on_exit=False,
        )
        self._sampler = self._provider.sampler = _Sampler(self._provider.sampler)
        counting = [_Counting(exporter) for exporter in self._exporters]
        for exporter in counting:
            self._provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=self._room))
        self._counting = counting
        self._tracer = self._provider.get_tracer("extauthz", version)

    @property
    def exported(self) -> int:
        """Spans that were taken, of several exporters by the one that took fewest."""
        return min((exporter.exported for exporter in self._counting), default=0)

    @property
    def dropped(self) -> int:
        """Spans that were refused, or had no room in the queue; of several exporters by the one that refused most."""
        return self._unmade + max((exporter.refused for exporter in self._counting), default=0)

    def begin(
        self,
        metadata: Iterable[tuple[str, str | bytes]],
        name: str = SPAN_NAME,
        attributes: Mapping[str, str] = FIXED,
    ) -> Span | None:
        """The span of a Check, or of what is named, that came with this RPC metadata; None if nobody will see it."""
        parent = find_parent(metadata)
        if parent is None:
            if not self.roots:
                return None
            context = _ALONE
        elif parent.sampled or (parent.sampled is None and self._chosen(parent)):
            context = _below(parent)
        else:
            return None
        return self._made(context, self._now(), name, attributes)

    def belated(self, metadata: Iterable[tuple[str, str | bytes]], seconds: float) -> Span | None:
        """The span of a Check that began so many ``seconds`` ago and had none, whatever its parent says.

        Below the parent, if there is one: the trace store may not have it. None without room.
        """
        parent = find_parent(metadata)
        with self._sampler:
            return self._made(_ALONE if parent is None else _below(parent), self._now() - seconds)

    def finish(
        self,
        span: Span,
        decision: Decision,
        sent: AttributeContext | None,
        seconds: float,
        waited: float = 0.0,
    ) -> None:
        """End the span of a decided Check. A denial is what we are for, and no error; a fault of ours is."""
        span.set_attributes(decision_attributes(decision, sent))
        if waited:
            span.set_attribute(WAITED, waited)
        for shadow in decision.shadows[:_SHADOWS]:
            span.add_event(SHADOW_EVENT, shadow_attributes(shadow))
        if decision.verdict.reason is Reason.INTERNAL_ERROR:
            span.set_status(_FAULT)
        # Both ends by one clock and one duration: the wall clock may jump in between.
        self._end(span, (span.start_time or 0) + int(seconds * _NANOSECONDS))

    def end(self, span: Span, seconds: float, *, fault: bool = False) -> None:
        """End the span of anything else, which took these ``seconds``."""
        if fault:
            span.set_status(_FAILED)
        self._end(span, (span.start_time or 0) + int(seconds * _NANOSECONDS))

    def waited(self, span: Span, waits: Iterable[Waited]) -> None:
        """Below a span that has not ended: what its Check or request waited for, and for how long."""
        for one in waits:
            begin = (span.start_time or 0) + int(one.began * _NANOSECONDS)
            attributes = wait_attributes(one.what, one.provider)
            below = set_span_in_context(span, _ALONE)
            with self._sampler:
                child = self._tracer.start_span(
                    wait_name(one.what), below, SpanKind.INTERNAL, attributes, start_time=begin
                )
            if isinstance(child, Span):
                self._end(child, begin + int(one.seconds * _NANOSECONDS))

    def abandon(self, span: Span) -> None:
        """End the span of a Check whose caller went away."""
        span.set_attribute(ABANDONED, True)
        self._end(span, int(self._now() * _NANOSECONDS))

    def close(self, timeout: float) -> None:
        """Export what is queued, for at most about this many seconds; what then is left is lost."""
        closing = threading.Thread(target=self._provider.shutdown, name="extauthz-traces-close", daemon=True)
        closing.start()
        closing.join(timeout)
        if closing.is_alive():
            # Shutting the exporters down breaks off a retry that is waiting for a collector that is not there.
            for exporter in self._exporters:
                exporter.shutdown()

    def _made(
        self, context: Context, at: float, name: str = SPAN_NAME, attributes: Mapping[str, str] = FIXED
    ) -> Span | None:
        """A span that began then, if the sampler wants it and the exporter's queue has room for it."""
        if self._full():
            self._unmade += 1
            return None
        start = int(at * _NANOSECONDS)
        span = self._tracer.start_span(name, context, SpanKind.SERVER, attributes, start_time=start)
        # Not so when OTEL_TRACES_SAMPLER says no: to a trace that would begin here, or to all of them.
        return span if isinstance(span, Span) and span.is_recording() else None

    def _end(self, span: Span, at: int) -> None:
        """Hand a span over to the exporter, unless there is no room any more."""
        if self._full():
            self._unmade += 1
            return
        self.ended += 1
        span.end(at)

    def _full(self) -> bool:
        """Whether the queue of an exporter has no room; it holds what ended and was not given to it yet."""
        for exporter in self._counting:  # noqa: SIM110 - a generator costs as much as the comparison
            if self.ended - exporter.given >= self._room:
                return True
        return False

    def _chosen(self, parent: Parent) -> bool:
        """What OTEL_TRACES_SAMPLER says of a trace whose caller left the decision to us."""
        if not self.roots:
            return False
        answer = self._provider.sampler.should_sample(_ALONE, parent.trace_id, SPAN_NAME)
        return answer.decision is sampling.Decision.RECORD_AND_SAMPLE


class _Sampler(sampling.Sampler):
    """The sampler that the variables ask for; ``with`` it, spans are made whatever that one says."""

    def __init__(self, usual: sampling.Sampler) -> None:
        self._usual = usual
        self._asked = False

    def __enter__(self) -> None:
        self._asked = True

    def __exit__(self, *_: object) -> None:
        self._asked = False

    def should_sample(self, parent_context: Context | None, *arguments: Any, **named: Any) -> sampling.SamplingResult:
        sampler = sampling.ALWAYS_ON if self._asked else self._usual
        return sampler.should_sample(parent_context, *arguments, **named)

    def get_description(self) -> str:
        return self._usual.get_description()


class _Counting(SpanExporter):
    """An exporter that counts what it was given, what was taken and what not. Used by one thread, read by others."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.given = 0
        self.exported = 0
        self.refused = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.given += len(spans)
        try:
            result = self._exporter.export(spans)
        except BaseException:
            self.refused += len(spans)
            raise
        if result is SpanExportResult.SUCCESS:
            self.exported += len(spans)
        else:
            self.refused += len(spans)
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


def _queue_size() -> int:
    """What the SDK would take: a variable that is no number counts as absent."""
    text = os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE", "")
    return int(text) if text.isdecimal() and int(text) else _QUEUE


def _exporter(name: str, protocol: str) -> SpanExporter:
    if name == "console":
        return ConsoleSpanExporter(out=sys.stdout, formatter=lambda span: str(span.to_json(indent=None)) + "\n")
    if protocol == "http/protobuf":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter

        return HttpSpanExporter()
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()
