"""What policies and rules in shadow mode would have said: in the record, on the span, in the metrics, never in the answer."""

import json
import time
from dataclasses import replace
from importlib.resources import files

import jsonschema
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from extauthz.model import Allow, AttributeContext, Decision, Deny, Reason, ShadowVerdict
from extauthz.telemetry import Metrics, Telemetry
from extauthz.telemetry.record import decision_line
from extauthz.telemetry.spans import CheckTracer
from extauthz.telemetry.tracing import TracePlan

SCHEMA = json.loads(files("extauthz.telemetry").joinpath("decision.schema.json").read_text())
SAMPLED = [("traceparent", "00-0af7651916cd43dd8448eb211c80319c-611ec7590ab59ae3-01")]
SHADOWS = (
    ShadowVerdict("orders", "no-exports", Deny(Reason.DENIED_BY_RULE, "", "orders", "no-exports")),
    ShadowVerdict("soon", "", Allow("soon", "rules[0]")),
)


@pytest.fixture
def decision(allowed: Decision) -> Decision:
    """An allow that a shadow rule would have denied."""
    return replace(allowed, shadows=SHADOWS)


def told(decision: Decision) -> dict[str, object]:
    record = json.loads(decision_line(decision, None, now=0, seconds=0, trace=None))
    jsonschema.Draft202012Validator(SCHEMA).validate(record)
    assert isinstance(record, dict)
    return record


def count(metrics: Metrics, policy: str, would: str) -> str | None:
    """The sample of a policy, as text; None if there is none."""
    start = f'extauthz_shadow_total{{policy="{policy}",would="{would}"}} '
    lines = (line for line in metrics.render().decode().splitlines() if line.startswith(start))
    return next((line.removeprefix(start) for line in lines), None)


def test_record_has_both_verdicts(decision: Decision) -> None:
    """The decision is what it is, and beside it stands what would have been."""
    record = told(decision)
    assert (record["decision"], record["reason"]) == ("allow", "allowed")
    assert record["shadow"] == [
        {"policy": "orders", "rule": "no-exports", "would": "deny", "reason": "denied-by-rule"},
        {"policy": "soon", "would": "allow", "reason": "allowed"},
    ]


def test_record_without_shadows_has_no_word_of_them(allowed: Decision) -> None:
    assert "shadow" not in told(allowed)


def test_record_is_bounded(allowed: Decision) -> None:
    """A thousand shadow policies with long names do not make a record of a megabyte."""
    many = tuple(ShadowVerdict("p" * 1000, "r" * 1000, Deny(Reason.NO_RULE)) for _ in range(1000))
    record = told(replace(allowed, shadows=many))
    assert len(json.dumps(record)) < 32_000


def test_span_has_an_event_for_each(decision: Decision, sent: AttributeContext) -> None:
    """An event says who would have decided what; the span's own attributes are those of the decision."""
    exporter = InMemorySpanExporter()
    plan = TracePlan((), sampler=False, roots=False)
    tracer = CheckTracer(plan, version="1", now=time.time, exporters=[exporter])
    span = tracer.begin(SAMPLED)
    assert span is not None
    tracer.finish(span, decision, sent, 0.001)
    tracer.close(5)
    [seen] = exporter.get_finished_spans()
    assert (seen.attributes or {})["extauthz.decision"] == "allow"
    assert [(event.name, dict(event.attributes or {})) for event in seen.events] == [
        (
            "extauthz.shadow",
            {
                "extauthz.policy": "orders",
                "extauthz.rule": "no-exports",
                "extauthz.decision": "deny",
                "extauthz.reason": "denied-by-rule",
            },
        ),
        (
            "extauthz.shadow",
            {"extauthz.policy": "soon", "extauthz.decision": "allow", "extauthz.reason": "allowed"},
        ),
    ]


def test_metrics_count_what_would_be(metrics: Metrics, decision: Decision, sent: AttributeContext) -> None:
    """Each verdict counts under its policy, whether the policy or a rule of it is in shadow mode."""
    telemetry = Telemetry(metrics, now=time.time)
    metrics.watch_policies(frozenset({"orders", "soon"}), ())
    assert count(metrics, "orders", "deny") == "0.0"
    for _ in range(2):
        telemetry.finish(telemetry.begin(()), decision, sent, 0.001)
    assert count(metrics, "orders", "deny") == "2.0"
    assert count(metrics, "orders", "allow") == "0.0"
    assert count(metrics, "soon", "allow") == "2.0"


def test_names_that_were_not_loaded_make_no_series(metrics: Metrics) -> None:
    """Labels come from loaded policies alone: a verdict of any other name is not counted."""
    metrics.shadowed(SHADOWS)
    assert "policy=" not in metrics.render().decode()


def test_counts_go_on_over_a_reload(metrics: Metrics) -> None:
    """A reload that keeps a policy in shadow mode keeps its counts."""
    metrics.watch_policies(frozenset({"soon"}), ())
    metrics.shadowed(SHADOWS)
    metrics.watch_policies(frozenset({"soon", "more"}), ())
    metrics.shadowed(SHADOWS)
    assert count(metrics, "soon", "allow") == "2.0"
    assert count(metrics, "more", "deny") == "0.0"


def test_a_policy_that_left_is_shown_until_the_next_reload(metrics: Metrics) -> None:
    """Prometheus gets its last counts, and late Checks are counted; after one more reload it is gone."""
    metrics.watch_policies(frozenset({"soon"}), ())
    metrics.watch_policies(frozenset(), ())
    metrics.shadowed(SHADOWS)
    assert count(metrics, "soon", "allow") == "1.0"
    metrics.watch_policies(frozenset(), ())
    assert count(metrics, "soon", "allow") is None


def test_reloads_do_not_pile_up_series(metrics: Metrics) -> None:
    """A thousand sets with a new name each leave two names."""
    for number in range(1000):
        metrics.watch_policies(frozenset({f"policy-{number}"}), ())
    assert metrics.render().decode().count("extauthz_shadow_total{") == 4
