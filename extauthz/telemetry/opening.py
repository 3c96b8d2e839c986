"""Telemetry as the settings and the ``OTEL_*`` variables ask for it: where spans and records go, opened once at start."""

import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from extauthz.capture import CaptureWriter
from extauthz.errors import ConfigError, Position, Problem
from extauthz.telemetry.activity import Activity
from extauthz.telemetry.files import Descriptor, LineFile
from extauthz.telemetry.metrics import Metrics
from extauthz.telemetry.observer import Telemetry
from extauthz.telemetry.redaction import is_sensitive, mask
from extauthz.telemetry.settings import DecisionSettings, TraceSettings
from extauthz.telemetry.sinks import BATCH, QueuedSink, Target
from extauthz.telemetry.tracing import TracePlan, log_protocol, trace_plan

if TYPE_CHECKING:
    from extauthz.telemetry.spans import CheckTracer

__all__ = ["open_telemetry"]


def open_telemetry(
    traces: TraceSettings,
    decisions: DecisionSettings,
    metrics: Metrics,
    *,
    version: str,
    now: Callable[[], float],
    activity: Activity | None = None,
) -> Telemetry:
    """Start what the settings and the ``OTEL_*`` variables ask for.

    ``version`` is that of this program, for the spans' resource; ``now`` is seconds since the epoch; ``activity``, where
    somebody may look, is what goes on.

    Raises:
        ConfigError: An ``OTEL_*`` variable can't be followed, or the decision log can't be opened. Later such a fault
            costs records alone; at the start somebody is there to mend it.
    """
    plan = trace_plan(traces, os.environ)
    sink = _sink(decisions, metrics, version)
    tracer = None if plan is None else _tracer(plan, version, now)
    if tracer is not None:
        metrics.watch_spans(lambda: (tracer.ended, tracer.exported, tracer.dropped))
    places = decisions.capture
    captures = None if places is None else CaptureWriter(places, mask=mask, sensitive=is_sensitive)
    return Telemetry(
        metrics,
        tracer=tracer,
        denials=0.0 if plan is None else plan.denials,
        sink=sink,
        log=sink if decisions.keep else None,
        captures=captures,
        activity=activity,
        shares=(decisions.allow, decisions.deny),
        omit=decisions.omit,
        now=now,
    )


def _tracer(plan: TracePlan, version: str, now: Callable[[], float]) -> "CheckTracer":
    from extauthz.telemetry.spans import CheckTracer  # the SDK is imported only where spans are asked for

    return CheckTracer(plan, version=version, now=now)


def _sink(decisions: DecisionSettings, metrics: Metrics, version: str) -> QueuedSink | None:
    if decisions.sink == "none":
        return None
    target, batch = _target(decisions, version)
    return QueuedSink(target, dropped=metrics.records_dropped, clock=time.monotonic, batch=batch, keep=decisions.keep)


def _target(decisions: DecisionSettings, version: str) -> tuple[Target, int]:
    """What lines are written to, and how much of them at a time."""
    if decisions.sink == "stdout":
        return Descriptor(sys.stdout.fileno()), BATCH
    if decisions.sink == "otlp":
        protocol = log_protocol(os.environ)
        from extauthz.telemetry import collector  # as above

        return collector.CollectorLogs(collector.log_exporter(protocol), version), collector.BATCH
    file = LineFile(decisions.sink, decisions.rotation)
    try:
        file.open()
    except OSError as error:
        problem = f"{decisions.sink} can't be written: {error.strerror}"
        hint = "create its folder, and see that the server's user may write there"
        raise ConfigError([Problem(Position("telemetry.decisions.sink"), problem, hint)]) from None
    return file, BATCH
