"""Who answered and why: Envoy's access log and the spans, matched to one request.

Model: the access log has one JSON object a request. A request is found by the id that Envoy returned, or by the
client's own port where Envoy refused it before it had one. extauthz's reason, policy and rule are in there as dynamic
metadata; where they are missing nobody asked extauthz, and Envoy's response code detail is the reason.

Trade-off: the log is written a moment after the answer, so the search waits up to two seconds and re-reads the file
each time. It is a short file.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any as Json

from mesh.collector import Collector, Span
from mesh.demo.clients import Answer

PATIENCE = 2.0
SERVICES = frozenset({"envoy", "extauthz", "echo"})


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the access log says about one request."""

    by: str
    reason: str
    rule: str = ""
    trace_id: str = ""


def _entry(log: Path, answer: Answer) -> dict[str, Json] | None:
    try:
        lines = log.read_text().splitlines()
    except FileNotFoundError:
        return None
    for line in reversed(lines):
        try:
            entry: dict[str, Json] = json.loads(line)
        except ValueError:
            continue  # the last line may be half written
        if answer.request_id and entry.get("request_id") == answer.request_id:
            return entry
        if not answer.request_id and answer.client and entry.get("client") == answer.client:
            return entry
    return None


def find(log: Path, answer: Answer) -> Evidence:
    """The evidence for an answer; reason `not in the access log` when it does not turn up in time."""
    deadline = time.monotonic() + PATIENCE
    while (entry := _entry(log, answer)) is None:
        if time.monotonic() > deadline:
            return Evidence("nobody", "not in the access log")
        time.sleep(0.03)
    decision = entry.get("authz") or {}
    if not decision.get("reason"):
        return Evidence("envoy", str(entry.get("details", "")), trace_id=str(entry.get("trace_id", "")))
    place = "/".join(str(decision[key]) for key in ("policy", "rule") if decision.get(key))
    return Evidence("extauthz", str(decision["reason"]), place, str(entry.get("trace_id", "")))


def services(spans: Sequence[Span]) -> frozenset[str]:
    """The names of the services that took part."""
    return frozenset(span.service for span in spans)


def joined(spans: Sequence[Span]) -> bool:
    """True when every service is there and every span but the first has its parent in the same trace."""
    known = {span.span_id for span in spans}
    orphans = [span for span in spans if span.parent_id not in known]
    return services(spans) >= SERVICES and len(orphans) == 1


def trace_of(collector: Collector, trace_id: str, within: float = 5.0) -> list[Span]:
    """The spans of one request, as soon as they form one whole trace or the time is over."""
    return collector.wait_for(trace_id, joined, within)
