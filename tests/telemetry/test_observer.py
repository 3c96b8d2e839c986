"""What the serving handler sees of telemetry."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from structlog.testing import capture_logs

from extauthz.errors import ConfigError
from extauthz.model import Allow, AttributeContext, Decision, Deny, Reason, ShadowVerdict
from extauthz.telemetry import DecisionSettings, Metrics, Phases, Telemetry, TraceSettings, open_telemetry
from extauthz.telemetry.spans import CheckTracer
from extauthz.telemetry.tracing import TracePlan, trace_plan

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "611ec7590ab59ae3"
SAMPLED = [("traceparent", f"00-{TRACE}-{SPAN}-01")]


class Lines:
    """A sink that keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def write(self, line: bytes, *, spare: bool = False) -> None:
        self.lines.append(json.loads(line))

    def close(self, timeout: float) -> None:
        pass


class Broken:
    """A tracer and sink, each of whose calls fails."""

    roots = True

    def __getattr__(self, name: str) -> Any:
        def fail(*arguments: Any) -> None:
            raise RuntimeError("broken " + name)

        return fail


def test_off_is_nothing(metrics: Metrics, allowed: Decision, sent: AttributeContext) -> None:
    """With traces and records off there are only metrics, and no span."""
    telemetry = open_telemetry(TraceSettings("none"), DecisionSettings(), metrics, version="1", now=time.time)
    span = telemetry.begin(SAMPLED)
    assert span is None
    assert metrics.inflight == 1
    telemetry.finish(span, allowed, sent, 0.001)
    assert metrics.inflight == 0
    assert b'extauthz_check_total{reason="allowed",result="allow"} 1.0' in metrics.render()


def recorded(shares: tuple[float, float], chance: float, metrics: Metrics, *decisions: Decision) -> list[Any]:
    """What of some decisions is recorded, and what it stands for."""
    sink = Lines()
    telemetry = Telemetry(metrics, sink=sink, shares=shares, now=time.time, chance=lambda: chance)
    for decision in decisions:
        telemetry.finish(telemetry.begin(()), decision, None, 0.001)
    return [(line["decision"], line.get("sample")) for line in sink.lines]


def test_a_share_of_the_decisions_is_recorded(metrics: Metrics, allowed: Decision) -> None:
    """Of allows and of denials by themselves; each record says what it stands for."""
    denied = replace(allowed, verdict=Deny(Reason.ROLE_MISSING, "no"))
    both = allowed, denied
    assert recorded((1, 1), 0.99, metrics, *both) == [("allow", None), ("deny", None)]
    assert recorded((0.1, 1), 0.05, metrics, *both) == [("allow", 0.1), ("deny", None)]
    assert recorded((0.1, 1), 0.1, metrics, *both) == [("deny", None)]
    assert recorded((0, 0), 0.0, metrics, *both) == []


def test_what_a_shadow_policy_would_deny_is_recorded_as_denials_are(metrics: Metrics, allowed: Decision) -> None:
    """Whom a policy would lock out is what its log is read for."""
    shadow = ShadowVerdict("tomorrow", "", Deny(Reason.ROLE_MISSING, "no"))
    assert recorded((0, 1), 0.5, metrics, replace(allowed, shadows=(shadow,))) == [("allow", None)]
    harmless = ShadowVerdict("tomorrow", "r", Allow("tomorrow", "r"))
    assert recorded((0, 1), 0.5, metrics, replace(allowed, shadows=(harmless,))) == []


def test_a_sampled_trace_has_its_record(metrics: Metrics, allowed: Decision) -> None:
    """Though it stands for none: it was not drawn."""
    sink, exporter = Lines(), InMemorySpanExporter()
    tracer = CheckTracer(TracePlan((), sampler=False, roots=False), version="1", now=time.time, exporters=[exporter])
    telemetry = Telemetry(metrics, tracer=tracer, sink=sink, shares=(0, 0), now=time.time)
    telemetry.finish(telemetry.begin(SAMPLED), allowed, None, 0.001)
    ((line),) = sink.lines
    assert (line["trace_id"], line["sample"]) == (TRACE, 0.0)
    tracer.close(1)


def test_decision_log_that_can_not_be_opened(tmp_path: Path, metrics: Metrics) -> None:
    """At the start somebody reads the error: it names setting, path and reason, and the server does not run blind."""
    settings = DecisionSettings(str(tmp_path / "missing" / "decisions.jsonl"))
    with pytest.raises(
        ConfigError, match=r"telemetry.decisions.sink: .*decisions.jsonl can't be written: No such file"
    ):
        open_telemetry(TraceSettings("none"), settings, metrics, version="1", now=time.time)


def test_sdk_is_not_imported_when_off() -> None:
    """OpenTelemetry's SDK and exporter are loaded only where spans are asked for."""
    script = (
        "import sys, time; from prometheus_client import CollectorRegistry; from extauthz.telemetry import *;"
        "open_telemetry(TraceSettings('none'), DecisionSettings(), Metrics(CollectorRegistry()), version='', now=time.time);"
        "print([m for m in sys.modules if m.startswith(('opentelemetry', 'grpc'))])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout == "[]\n"


async def test_record_in_a_file(
    tmp_path: Path, metrics: Metrics, allowed: Decision, sent: AttributeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path as sink gets a line a decision; closing writes it out."""
    path = tmp_path / "decisions.log"
    settings = DecisionSettings(str(path))
    telemetry = open_telemetry(TraceSettings("none"), settings, metrics, version="1", now=lambda: 1.5)
    telemetry.finish(telemetry.begin([]), allowed, sent, 0.001)
    await telemetry.close()
    record = json.loads(path.read_text())
    assert (record["id"], record["time"]) == ("d-1", "1970-01-01T00:00:01.500Z")


async def test_record_on_standard_output(
    capfd: pytest.CaptureFixture[str], metrics: Metrics, allowed: Decision, sent: AttributeContext
) -> None:
    """stdout as sink prints a line a decision."""
    telemetry = open_telemetry(TraceSettings("none"), DecisionSettings("stdout"), metrics, version="1", now=lambda: 1.5)
    telemetry.finish(telemetry.begin([]), allowed, sent, 0.001)
    await telemetry.close()
    assert json.loads(capfd.readouterr().out)["id"] == "d-1"


async def test_span_and_record_know_each_other(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    metrics: Metrics,
    allowed: Decision,
    sent: AttributeContext,
) -> None:
    """The record names the trace and the span of its Check; the variable chooses the exporter if nothing else does."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    telemetry = open_telemetry(TraceSettings(), DecisionSettings("stdout"), metrics, version="1", now=lambda: 1.5)
    span = telemetry.begin(SAMPLED)
    assert span is not None
    telemetry.finish(span, allowed, sent, 0.001)
    await telemetry.close()
    seen = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    [record] = [line for line in seen if "decision" in line]
    [exported] = [line for line in seen if "context" in line]
    assert record["trace_id"] == TRACE
    assert exported["context"]["span_id"] == "0x" + record["span_id"]


def test_abandoned(metrics: Metrics) -> None:
    """A caller that went away is counted, and is no longer in flight."""
    telemetry = Telemetry(metrics, now=time.time)
    telemetry.abandon(telemetry.begin([]))
    assert metrics.inflight == 0
    assert b"extauthz_check_abandoned_total 1.0" in metrics.render()


def test_nothing_raises(
    metrics: Metrics, allowed: Decision, sent: AttributeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faults of every part stay here, and are told once a minute; parts that work go on."""
    broken: Any = Broken()
    telemetry = Telemetry(metrics, tracer=broken, sink=broken, now=time.time, clock=lambda: 0.0)
    span: Any = object()
    with capture_logs() as logs:
        assert telemetry.begin(SAMPLED) is None
        telemetry.finish(span, allowed, sent, 0.001)
        telemetry.finish(None, allowed, sent, 0.001)
        telemetry.abandon(span)
    assert b'extauthz_check_total{reason="allowed",result="allow"} 2.0' in metrics.render()
    assert len(logs) == 1
    assert (logs[0]["event"], logs[0]["part"]) == ("telemetry failed, the decision stands", "span")

    def fail(reason: Reason, seconds: float) -> None:
        raise RuntimeError

    monkeypatch.setattr(metrics, "checked", fail)
    lines = Lines()
    Telemetry(metrics, sink=lines, now=time.time).finish(None, Decision("d", Deny(Reason.NO_RULE), 1), None, 0.0)
    assert lines.lines[0]["reason"] == "no-rule"


def test_wrong_variable_stops_the_start(metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exporter that does not exist is an error at start."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    with pytest.raises(ConfigError, match="OTEL_TRACES_EXPORTER: there is no exporter 'zipkin'"):
        open_telemetry(TraceSettings(), DecisionSettings(), metrics, version="1", now=time.time)


def traced_denials(share: float, chance: float, metrics: Metrics, *decisions: Decision) -> list[str]:
    """Which decisions without a sampled parent have a span."""
    exporter = InMemorySpanExporter()
    plan = TracePlan(("otlp",), sampler=False, roots=False, denials=share)
    tracer = CheckTracer(plan, version="1", now=time.time, exporters=[exporter])
    telemetry = Telemetry(metrics, tracer=tracer, denials=share, now=time.time, chance=lambda: chance)
    for decision in decisions:
        telemetry.finish(telemetry.begin([("traceparent", f"00-{TRACE}-{SPAN}-00")]), decision, None, 0.001)
    telemetry.abandon(telemetry.begin(()))
    tracer.close(5)
    return [str((span.attributes or {})["extauthz.decision"]) for span in exporter.get_finished_spans()]


def test_denials_are_sampled_more_than_their_parent_says(
    metrics: Metrics, allowed: Decision, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a share; what is allowed never has a span, and none is made of it."""
    denied = Decision("d-2", Deny(Reason.NO_RULE), 1)
    assert traced_denials(0.0, 0.0, metrics, allowed, denied) == []
    assert traced_denials(0.1, 0.05, metrics, allowed, denied) == ["deny"]
    assert traced_denials(0.1, 0.1, metrics, allowed, denied) == []
    assert traced_denials(1.0, 0.99, metrics, allowed, denied, allowed) == ["deny"]
    made: list[Any] = []
    monkeypatch.setattr(CheckTracer, "_made", lambda *asked: made.append(asked))
    assert traced_denials(1.0, 0.5, metrics, *[allowed] * 100) == []
    assert made == []


async def test_the_record_of_a_traced_denial_names_its_span(
    capfd: pytest.CaptureFixture[str], metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which came to be before it."""
    settings = TraceSettings("console", denials=1.0)
    telemetry = open_telemetry(settings, DecisionSettings("stdout"), metrics, version="1", now=lambda: 1.5)
    begun = telemetry.begin([("traceparent", f"00-{TRACE}-{SPAN}-00")])
    telemetry.finish(begun, Decision("d-2", Deny(Reason.NO_RULE), 1), None, 0.001)
    await telemetry.close()
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    record = next(line for line in lines if "reason" in line)
    span = next(line for line in lines if "context" in line)
    assert record["trace_id"] == TRACE
    assert span["context"]["span_id"] == "0x" + record["span_id"]


def test_always_off_is_no_denial_either(monkeypatch: pytest.MonkeyPatch, metrics: Metrics) -> None:
    """OTEL_TRACES_SAMPLER=always_off means nothing at all."""
    plan = trace_plan(TraceSettings("otlp", denials=1.0), {"OTEL_TRACES_SAMPLER": "always_off"})
    assert plan is not None
    assert plan.denials == 0.0


def test_a_record_that_can_not_be_made_is_counted(metrics: Metrics, allowed: Decision) -> None:
    """As it is lost like any other."""
    broken: Any = Broken()
    with capture_logs():
        Telemetry(metrics, sink=broken, now=time.time).finish(None, allowed, None, 0.001)
    assert b"extauthz_decision_log_dropped_total 1.0" in metrics.render()


def timed(metrics: Metrics, omit: tuple[str, ...] = ()) -> tuple[Telemetry, Lines, Phases]:
    """Records of Checks that are timed."""
    sink, phases = Lines(), Phases(lambda: 100.0)
    telemetry = Telemetry(metrics, sink=sink, omit=omit, now=time.time)
    telemetry.time(phases)
    return telemetry, sink, phases


def test_a_record_says_where_the_time_went(metrics: Metrics, allowed: Decision) -> None:
    """By phases, and what was waited for; or not, if nobody wants it."""
    for omit in ((), ("phases_ms",)):
        telemetry, sink, phases = timed(metrics, omit)
        begun = telemetry.begin(())
        phases.asked, phases.found = 99.991, 99.995
        phases.waits = (("keys", "corporate", 99.992, 99.994),)
        telemetry.finish(begun, allowed, None, 0.01, 0.002)
        (line,) = sink.lines
        assert line["duration_ms"] == 10
        if omit:
            assert "phases_ms" not in line
        else:
            assert line["phases_ms"] == {"request": 1, "identity": 4, "policy": 5, "limit": 0}
            assert line["waited_for"] == ["keys"]
        assert telemetry.reads_phases is not bool(omit)


def test_the_log_learns_the_trace_of_a_check(metrics: Metrics) -> None:
    """Of one that has a span, or may get one; of others there is none to be found."""
    exporter = InMemorySpanExporter()
    plan = TracePlan(("otlp",), sampler=False, roots=False)
    tracer = CheckTracer(plan, version="1", now=time.time, exporters=[exporter])
    unsampled = [("traceparent", f"00-{TRACE}-{SPAN}-00")]
    always = Telemetry(metrics, tracer=tracer, denials=1.0, now=time.time)
    assert [always.trace(always.begin(metadata)) for metadata in (SAMPLED, unsampled, [])] == [TRACE, TRACE, ""]
    parents = Telemetry(metrics, tracer=tracer, now=time.time)
    assert [parents.trace(parents.begin(metadata)) for metadata in (SAMPLED, unsampled)] == [TRACE, ""]
    broken: Any = object()
    with capture_logs():
        assert parents.trace(broken) == ""
    tracer.close(1)
