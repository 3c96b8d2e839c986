"""Sees each Check from outside: the span, the metrics and the decision record of it, in one object.

The handler calls ``begin`` when a Check comes in, and then exactly one of ``finish`` and ``abandon``. None of them raises
or waits: telemetry is how we are seen, and must never be why a request is answered otherwise. What is switched off costs
a comparison with None, and nothing is built that nobody reads.

Metrics are always there. Spans and records are parts that may be missing.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar, TypeVarTuple

import structlog

from extauthz.capture import CaptureWriter
from extauthz.model import Allow, AttributeContext, Decision, Deny, Reason
from extauthz.telemetry.activity import Activity
from extauthz.telemetry.metrics import Metrics
from extauthz.telemetry.parent import Unsampled, find_parent
from extauthz.telemetry.phases import Phases
from extauthz.telemetry.record import decision_line
from extauthz.telemetry.repeats import Repeats
from extauthz.telemetry.sampled import may_be_sampled
from extauthz.telemetry.sinks import QueuedSink, Sink
from extauthz.telemetry.taken import Taken

if TYPE_CHECKING:
    from extauthz.telemetry.spans import CheckTracer, Span

__all__ = ["Telemetry"]

_CLOSE: Final = 2.0
"""Seconds that spans and records get, at the same time, to leave when the process stops."""

_Arguments = TypeVarTuple("_Arguments")
_Result = TypeVar("_Result")

_log = structlog.get_logger(__name__)


class Telemetry:
    """Implements the ``Observer`` of ``extauthz.serving``. For use from one thread, as the event loop is."""

    def __init__(
        self,
        metrics: Metrics,
        *,
        tracer: "CheckTracer | None" = None,
        denials: float = 0.0,
        sink: Sink | None = None,
        log: QueuedSink | None = None,
        captures: CaptureWriter | None = None,
        activity: Activity | None = None,
        shares: tuple[float, float] = (1.0, 1.0),
        omit: tuple[str, ...] = (),
        now: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Keep the parts. ``now`` is seconds since the epoch; ``clock``, monotonic, spaces out complaints.

        ``shares`` of the decisions to allow and to deny are recorded, as ``chance``, from 0 to 1, has it, without the
        fields that ``omit`` names; ``denials`` are those that have a span without a sampled parent. ``log`` is the sink if
        it may lose nothing.
        """
        self.metrics = metrics
        self._tracer = tracer
        self._roots = tracer is not None and tracer.roots
        self._denials = denials
        self._sink = sink
        self._log = log
        self._phases: Phases | None = None
        self._every = self._looked_at = False
        self._told_phases = "phases_ms" not in omit
        self._captures = captures
        self._activity = activity
        self._allow, self._deny = shares
        self._omit = omit
        self._chance = chance
        self._now = now
        self._repeats = Repeats(clock)

    @property
    def log(self) -> QueuedSink | None:
        """Where no record may be lost: what says when there is no room. None: records may be, or there are none."""
        return self._log

    @property
    def log_state(self) -> tuple[bool, str] | None:
        """Whether the decision log is well, and in words how it is; None if there is none."""
        return self._sink.state if isinstance(self._sink, QueuedSink) else None

    @property
    def reads_phases(self) -> bool:
        """Whether where the time went is told of each Check."""
        return self._sink is not None and self._told_phases

    @property
    def tracer(self) -> "CheckTracer | None":
        """What makes spans; None if nobody asked for them."""
        return self._tracer

    @property
    def traces(self) -> bool:
        """Whether some Checks have spans."""
        return self._tracer is not None

    def time(self, phases: Phases | None, *, every: bool = True, looked_at: bool = False) -> None:
        """From now on tell where the time of Checks goes, which are decided through these ``phases``; None: no longer.

        Not of ``every`` one: of those that have a span. ``looked_at``: somebody looks at what goes on.
        """
        self._phases = phases
        self._every = every
        self._looked_at = looked_at

    def begin(self, metadata: Sequence[tuple[str, str | bytes]]) -> "Span | Unsampled | None":
        """A Check has come in with this RPC metadata. What is returned goes to ``finish`` or ``abandon``."""
        self.metrics.inflight += 1
        begun = None if self._tracer is None else self._span(self._tracer, metadata)
        if self._phases is not None:
            self._phases.begin(timed=self._every or begun is not None)
        return begun

    def _span(self, tracer: "CheckTracer", metadata: Sequence[tuple[str, str | bytes]]) -> "Span | Unsampled | None":
        span = None
        try:
            if self._roots or may_be_sampled(metadata):
                span = tracer.begin(metadata)
        except Exception:  # noqa: BLE001 - the Check goes on without a span
            self._told("span")
            return None
        return Unsampled(metadata) if span is None and self._denials else span

    def finish(
        self,
        begun: "Span | Unsampled | None",
        decision: Decision,
        sent: AttributeContext | None,
        seconds: float,
        waited: float = 0.0,
    ) -> None:
        """The Check was answered with this decision.

        ``seconds`` is what that took, ``waited`` how many of them for a provider or the store.
        """
        metrics = self.metrics
        metrics.inflight -= 1
        verdict = decision.verdict
        span = None
        phases = self._phases
        if phases is not None:
            phases.ended = phases.clock()
        if begun is not None:
            span = self._belated(begun, verdict, seconds) if isinstance(begun, Unsampled) else begun
        try:
            if span is None:
                metrics.checked(verdict.reason, seconds)
            else:
                metrics.checked(verdict.reason, seconds, self._guarded("span", _trace_id, span) or "")
            charge = decision.charge or (verdict.charge if isinstance(verdict, Allow) else None)
            if charge is not None:
                permit = decision.permit
                granted = permit is not None and permit.granted
                metrics.limited(charge, "granted" if granted else _limit_outcome(decision))
            if decision.shadows:
                metrics.shadowed(decision.shadows)
            if self._activity is not None:
                taken = phases.taken(seconds) if phases is not None and self._looked_at else None
                self._activity.decided(decision, sent, seconds, taken)
        except Exception:  # noqa: BLE001 - the decision stands whatever happens here
            self._told("metrics")
        if span is not None or self._sink is not None:
            self._write(span, decision, sent, seconds, waited)

    def abandon(self, begun: "Span | Unsampled | None") -> None:
        """The caller of the Check went away before there was an answer."""
        self.metrics.inflight -= 1
        self._guarded("metrics", self.metrics.abandoned)
        if begun is not None and not isinstance(begun, Unsampled) and self._tracer is not None:
            self._guarded("span", self._tracer.abandon, begun)

    def trace(self, begun: "Span | Unsampled | None") -> str:
        """The trace that a Check belongs to, in hexadecimal; empty if it has no span and can get none."""
        if begun is None:
            return ""
        if not isinstance(begun, Unsampled):
            return self._guarded("span", _trace_id, begun) or ""
        parent = find_parent(begun.metadata)
        return "" if parent is None else f"{parent.trace_id:032x}"

    async def close(self) -> None:
        """Send what is queued, for at most two seconds, and stop. Nothing may be observed afterwards."""
        closings = [part.close for part in (self._tracer, self._sink) if part is not None]
        await asyncio.gather(*(asyncio.to_thread(close, _CLOSE) for close in closings))

    def _write(
        self,
        span: "Span | None",
        decision: Decision,
        sent: AttributeContext | None,
        seconds: float,
        waited: float,
    ) -> None:
        """End the span and write the record, as far as there are any."""
        chosen, share = False, 0.0
        if self._sink is not None:
            share = self._share(decision)
            chosen = share >= 1 or self._chance() < share
        if not chosen and span is None:
            return
        taken = None
        if self._phases is not None and (self._every or span is not None):
            taken = self._guarded("phases", self._phases.taken, seconds)
        if span is not None and self._tracer is not None:
            if taken is not None and taken.waits:
                self._guarded("span", self._tracer.waited, span, taken.waits)
            self._guarded("span", self._tracer.finish, span, decision, sent, seconds, waited)
        if self._sink is not None:
            # A trace that somebody looks at has its record in any case.
            took = seconds, waited, taken
            if not self._guarded("record", self._record, span, decision, sent, took, share if chosen else 0.0):
                self.metrics.records_dropped(1)

    def _belated(self, begun: Unsampled, verdict: Allow | Deny, seconds: float) -> "Span | None":
        """The span of a denial whose parent is not sampled, if it is drawn."""
        if isinstance(verdict, Allow) or self._tracer is None or self._chance() >= self._denials:
            return None
        return self._guarded("span", self._tracer.belated, begun.metadata, seconds)

    def _share(self, decision: Decision) -> float:
        """Which share of decisions like this is recorded. What a policy in shadow mode would deny counts as denied."""
        if not isinstance(decision.verdict, Allow):
            return self._deny
        if not decision.shadows or all(isinstance(shadow.verdict, Allow) for shadow in decision.shadows):
            return self._allow
        return max(self._allow, self._deny)

    def _record(
        self,
        span: "Span | None",
        decision: Decision,
        sent: AttributeContext | None,
        took: tuple[float, float, Taken | None],
        share: float,
    ) -> bool:
        if self._sink is None:
            return False
        trace = None if span is None else (span.context.trace_id, span.context.span_id)
        line = decision_line(
            decision,
            sent,
            now=self._now(),
            seconds=took[0],
            waited=took[1],
            taken=took[2] if self._told_phases else None,
            trace=trace,
            captures=self._captures,
            share=share,
            omit=self._omit,
        )
        # What was not looked at may go without a record, or those would be without bound.
        self._sink.write(line, spare=decision.verdict.reason is Reason.OVERLOADED)
        return True

    def _guarded(self, part: str, act: Callable[[*_Arguments], _Result], *arguments: *_Arguments) -> _Result | None:
        """Call; None if that fails. The decision stands whatever happens here."""
        try:
            return act(*arguments)
        except Exception:  # noqa: BLE001 - of whatever kind, it is told below and goes no further
            self._told(part)
            return None

    def _told(self, part: str) -> None:
        """Log the exception that is being handled, unless the last one was a moment ago."""
        held_back = self._repeats.due()
        if held_back is not None:
            _log.exception("telemetry failed, the decision stands", part=part, earlier_faults=held_back)


def _trace_id(span: "Span") -> str:
    return f"{span.context.trace_id:032x}"


def _limit_outcome(decision: Decision) -> str:
    """What became of a charge that was not granted, in the word of the metrics."""
    if decision.permit is None:
        return "failed"
    return "shadow" if isinstance(decision.verdict, Allow) else "limited"
