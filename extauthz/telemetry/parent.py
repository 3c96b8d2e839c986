"""The span that a Check belongs under, as the RPC's metadata says.

Envoy's tracer puts its own client span into the metadata of the RPC: W3C ``traceparent`` and ``tracestate`` from the
OpenTelemetry tracer, B3 from the Zipkin one. The headers inside the Check are the client's own words and are never read
here: a caller could hang our spans into somebody else's trace, or switch tracing on for itself. Baggage is not read at
all.

Parsed by hand and without OpenTelemetry, because nearly all parents are unsampled, and then nothing else shall happen:
the SDK takes 17 microseconds to make a span that is not recorded. What is malformed counts as absent (W3C Trace Context
section 4.3), an empty ``tracestate`` is what Envoy sends when there is none.
"""

import re
from collections.abc import Iterable, Sequence

from extauthz.model import value
from extauthz.telemetry.sampled import PARENT_HEADERS

__all__ = ["Parent", "Unsampled", "find_parent"]

_SAMPLED = 0x01
_STATE_LIMIT = 512
_STATE_MEMBERS = 32
_MEMBER = r"[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_STATE = re.compile(rf"[ \t]*(?:{_MEMBER})?[ \t]*(?:,[ \t]*(?:{_MEMBER})?[ \t]*)*")
_W3C = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_B3_TRACE = re.compile(r"[0-9a-fA-F]{16}|[0-9a-fA-F]{32}")
_B3_SPAN = re.compile(r"[0-9a-fA-F]{16}")
_NAMES = frozenset(PARENT_HEADERS)
_B3_DECISIONS = {"1": True, "d": True, "true": True, "0": False, "false": False, "": None}


@value
class Parent:
    """The remote span above ours."""

    trace_id: int
    span_id: int
    sampled: bool | None
    """None: the caller leaves the decision to us (B3 only)."""
    flags: int = 0
    """The trace flags as they came."""
    state: str = ""
    """The ``tracestate``, checked; empty without one."""


@value
class Unsampled:
    """A Check without span, which gets one if it is denied."""

    metadata: Sequence[tuple[str, str | bytes]]


def find_parent(metadata: Iterable[tuple[str, str | bytes]]) -> Parent | None:
    """The parent that the metadata names: W3C before B3's single header before B3's several; None without a valid one."""
    traceparent: str | bytes | None = None
    states: list[str | bytes] | None = None
    b3: dict[str, str] | None = None
    doubtful = False
    for key, text in metadata:
        if key not in _NAMES:
            continue
        if key == "traceparent":
            doubtful = doubtful or (traceparent is not None and traceparent != text)
            traceparent = text
        elif key == "tracestate":
            if text:
                states = [text] if states is None else [*states, text]
        elif isinstance(text, str):
            if b3 is None:
                b3 = {}
            b3.setdefault(key, text)
    if isinstance(traceparent, str) and not doubtful:
        match = _W3C.fullmatch(traceparent)
        # Version 00 has nothing after its flags; what later versions have is not ours to judge.
        if match is not None and not (match[1] == "00" and match[5]):
            flags = int(match[4], 16)
            sampled = bool(flags & _SAMPLED)
            state = _state(states) if states is not None and sampled else ""
            return Parent(int(match[2], 16), int(match[3], 16), sampled, flags, state)
    return _b3(b3) if b3 is not None else None


def _state(values: list[str | bytes]) -> str:
    """One checked ``tracestate``; a broken or oversized one is dropped as a whole."""
    text = ",".join(value for value in values if isinstance(value, str))
    valid = len(text) <= _STATE_LIMIT and text.count(",") < _STATE_MEMBERS and _STATE.fullmatch(text) is not None
    return text if valid else ""


def _b3(headers: dict[str, str]) -> Parent | None:
    """The parent in B3 headers (openzipkin/b3-propagation); a lone sampling decision has no parent to hang us under."""
    single = headers.get("b3")
    if single is not None:
        fields = single.split("-")
        trace, span, decision = (*fields, "")[:3] if len(fields) in (2, 3, 4) else ("", "", "")
    else:
        trace, span = headers.get("x-b3-traceid", ""), headers.get("x-b3-spanid", "")
        decision = "d" if headers.get("x-b3-flags") == "1" else headers.get("x-b3-sampled", "").lower()
    if _B3_TRACE.fullmatch(trace) is None or _B3_SPAN.fullmatch(span) is None or decision not in _B3_DECISIONS:
        return None
    trace_id, span_id = int(trace, 16), int(span, 16)
    if not trace_id or not span_id:
        return None
    sampled = _B3_DECISIONS[decision]
    return Parent(trace_id, span_id, sampled, int(sampled is True))
