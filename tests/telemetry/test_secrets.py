"""Invariant I6: no credential reaches a trace, a metric, a record or a log."""

import io
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import structlog
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from extauthz.model import (
    Allow,
    AttributeContext,
    Decision,
    Deny,
    HttpAttributes,
    Identity,
    Peer,
    Reason,
    Request,
    VerifiedClaims,
)
from extauthz.telemetry import Metrics, Telemetry, configure_logs
from extauthz.telemetry.spans import CheckTracer
from extauthz.telemetry.tracing import TracePlan

CANARY = "c4n4ry"
JWT = f"eyJhbGciOiJSUzI1NiJ9.{CANARY}.{CANARY}"
HEADERS: Mapping[str, tuple[str, ...]] = {
    "authorization": (f"Bearer {JWT}",),
    "proxy-authorization": (f"Basic {CANARY}",),
    "cookie": (f"session={CANARY}",),
    "x-api-key": (CANARY,),
    "x-anything": (CANARY,),
    "baggage": (f"user={CANARY}",),
    "traceparent": (f"00-{'a' * 32}-{'b' * 16}-01",),
}
METADATA = [
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-611ec7590ab59ae3-01"),
    ("baggage", f"user={CANARY}"),
    ("authorization", f"Bearer {CANARY}"),
]


class Lines:
    """A sink that keeps the lines."""

    def __init__(self) -> None:
        self.text = b""

    def write(self, line: bytes, *, spare: bool = False) -> None:
        self.text += line

    def close(self, timeout: float) -> None:
        pass


@pytest.fixture
def raw() -> AttributeContext:
    """A Check that carries the canary everywhere where secrets are."""
    path = f"/orders?access_token={JWT}&x={CANARY}"
    http = HttpAttributes("1", "GET", path, "orders.example.com", "https", "HTTP/2", HEADERS)
    return AttributeContext(Peer("10.0.0.1"), Peer(), 0.0, http, context={"secret": CANARY})


@pytest.fixture
def canonical(request_: Request) -> Request:
    """Its canonical form."""
    return replace(request_, query=f"access_token={JWT}&x={CANARY}", headers=HEADERS, context={"secret": CANARY})


def decisions(canonical: Request) -> list[Decision]:
    """Every kind of verdict on it."""
    claims = VerifiedClaims({"sub": "alice", "ssn": CANARY})
    caller = Identity("alice", "https://login.example.com/", "corporate", frozenset({"user"}), (CANARY,), claims)
    allow = Allow("orders", "read", set_headers=(("x-token", CANARY),))
    denials = [Deny(reason, f"the header was Bearer {JWT}") for reason in Reason if reason is not Reason.ALLOWED]
    return [
        Decision("d", allow, 1, canonical, caller),
        *(Decision("d", deny, 1, canonical, caller) for deny in denials),
        *(Decision("d", deny, 1) for deny in denials),
    ]


@pytest.mark.usefixtures("preserved_logging")
def test_canaries_reach_nothing(metrics: Metrics, raw: AttributeContext, canonical: Request) -> None:
    """Credentials in headers, claims, query, context extensions and metadata show up in no output at all."""
    log = io.StringIO()
    configure_logs("debug", log)
    exporter, lines = InMemorySpanExporter(), Lines()
    plan = TracePlan((), sampler=False, roots=False)
    tracer = CheckTracer(plan, version="1", now=time.time, exporters=[exporter])
    telemetry = Telemetry(metrics, tracer=tracer, sink=lines, now=time.time)
    told = decisions(canonical)
    for decision in told:
        span = telemetry.begin(METADATA)
        assert span is not None
        telemetry.finish(span, decision, raw, 0.001)
        structlog.get_logger("extauthz.test").info("decided", decision=decision.verdict, headers=dict(HEADERS))
    tracer.close(5)
    spans = exporter.get_finished_spans()
    assert len(spans) == len(told) == lines.text.count(b"\n")
    for output in ("".join(span.to_json() for span in spans), metrics.render().decode(), lines.text.decode()):
        assert CANARY not in output
        assert "eyJ" not in output


@pytest.mark.usefixtures("preserved_logging")
@pytest.mark.parametrize("spell", [repr, str, lambda x: x, lambda x: {"value": x}, lambda x: [x]])
def test_logged_credentials_are_masked(spell: Callable[[Any], Any]) -> None:
    """Headers and errors that somebody logs by mistake come out masked, also as one long text."""
    log = io.StringIO()
    configure_logs("debug", log)
    logger = structlog.get_logger("extauthz.test")
    known = {name: values for name, values in HEADERS.items() if name not in ("x-anything", "baggage")}
    for thing in (known, list(known.items()), ValueError(f"Bearer {JWT}"), f"GET /?token={CANARY}"):
        logger.info("by mistake", thing=spell(thing))
    assert log.getvalue().count("\n") == 4
    assert CANARY not in log.getvalue()
    for line in log.getvalue().splitlines():
        json.loads(line)
