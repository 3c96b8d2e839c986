"""The decision record: one line of JSON that says who asked for what, what was decided, and why.

``decision.schema.json`` beside this file is its published form. What a record never holds, because nobody can search a
log for what should not be in it: credentials and bodies, and, unless the operator asks for captures, headers, the query,
claims and ``context_extensions``. What the client chose and what is kept (path, host, method, subject, request id) is limited in length, masked where it looks like a
credential, and escaped to plain ASCII, so that no line can be forged and no terminal be driven.

The line is built where the decision is made, at 10 microseconds, and not in the sink's thread. Both threads want the one
interpreter lock: measured at 9,000 Checks a second, serialising in the other thread in batches saved the event loop no
throughput worth having, but made it wait for the lock, with a 99.9th percentile of 6 to 8 ms to wake up where the inline
way has 1.5 to 3. Besides, a queue of bytes has a size that can be bounded, and doesn't keep requests with their
credentials alive until a slow disk has caught up.
"""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from extauthz.capture import CaptureWriter
from extauthz.model import Allow, AttributeContext, Decision, Deny, Identity, Request, ShadowVerdict
from extauthz.telemetry.phases import Taken
from extauthz.telemetry.redaction import harmless, mask

__all__ = ["OMITTABLE", "decision_line"]

OMITTABLE = frozenset(
    [
        "request_id",
        "detail",
        "provider",
        "issuer",
        "subject",
        "roles",
        "method",
        "host",
        "path",
        "source",
        "principal",
        "client",
        "phases_ms",
    ]
)
"""Fields that an operator may want in no log: what is told of people, and what takes room. The others say what was decided."""

_LIMIT: Final = 256
_PATH_LIMIT: Final = 1024
_DETAIL_LIMIT: Final = 1024
_METHOD_LIMIT: Final = 32
_ROLES: Final = 32
_SHADOWS: Final = 32
_ELLIPSIS: Final = "\u2026"

_QUERY: Final = re.compile(r"[?#]|%(?:25)*(?:3F|23)", re.IGNORECASE)
_PARAMETERS: Final = re.compile(r"(;|%(?:25)*3B)[^/\\]*", re.IGNORECASE)

_encode: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def decision_line(
    decision: Decision,
    sent: AttributeContext | None,
    *,
    now: float,
    seconds: float,
    trace: tuple[int, int] | None,
    captures: CaptureWriter | None = None,
    share: float = 1.0,
    waited: float = 0.0,
    taken: Taken | None = None,
    omit: Sequence[str] = (),
) -> bytes:
    """The record of a decision, with its line end.

    ``now`` is seconds since the epoch, ``seconds`` what the decision took, ``trace`` the trace and span id of the Check's
    span; with ``captures`` the request is in it, too. ``share`` is how many of such decisions are recorded, ``waited``
    the part of ``seconds`` that was spent waiting, ``taken`` where they went. Fields without value are left out, and those
    that ``omit`` names.
    """
    verdict = decision.verdict
    record: dict[str, object] = {
        "time": f"{_second(int(now))}.{int(now % 1 * 1000):03}Z",
        "id": decision.id,
        "decision": "allow" if isinstance(verdict, Allow) else "deny",
        "reason": verdict.reason.word,
        "generation": decision.generation,
        "grpc": decision.grpc,
        "duration_ms": round(seconds * 1000, 3),
    }
    _add_times(record, waited, taken)
    _add_verdict(record, verdict)
    if decision.identity is not None:
        _add_identity(record, decision.identity)
    if decision.request is not None:
        _add_request(record, decision.request)
    elif sent is not None:
        _add_raw(record, sent)
    if trace is not None:
        record["trace_id"] = f"{trace[0]:032x}"
        record["span_id"] = f"{trace[1]:016x}"
    if share < 1:
        record["sample"] = share
    if decision.shadows:
        record["shadow"] = [_shadow(shadow) for shadow in decision.shadows[:_SHADOWS]]
    capture = None
    if captures is not None and sent is not None:
        capture = captures.text(sent, decision.found, decision.peer)
        if capture is None:
            record["capture_omitted"] = True
    return _line(record, capture, omit)


@lru_cache(maxsize=2)
def _second(now: int) -> str:
    return datetime.fromtimestamp(now, UTC).isoformat()[:-6]


def _line(record: dict[str, object], capture: str | None, omit: Sequence[str]) -> bytes:
    """The record in JSON, without the fields that nobody wants; a capture is JSON already, as its size had to be known."""
    if omit:
        for name in omit:
            record.pop(name, None)
        # Whoever reads it must not take what is missing for what was not there.
        record["omitted"] = list(omit)
    text = _encode(record)
    return (f"{text}\n" if capture is None else f'{text[:-1]},"capture":{capture}}}\n').encode()


def _shadow(shadow: ShadowVerdict) -> dict[str, str]:
    verdict = shadow.verdict
    told = {"policy": shadow.policy[:_LIMIT]}
    if shadow.rule:
        told["rule"] = shadow.rule[:_LIMIT]
    told["would"] = "allow" if isinstance(verdict, Allow) else "deny"
    told["reason"] = verdict.reason.word
    return told


def _add_times(record: dict[str, object], waited: float, taken: Taken | None) -> None:
    if waited:
        record["waited_ms"] = round(waited * 1000, 3)
    if taken is None:
        return
    if taken.waits:
        record["waited_for"] = [one.what for one in taken.waits]
    request, identity, policy, limit = taken.seconds
    record["phases_ms"] = {
        "request": round(request * 1000, 3),
        "identity": round(identity * 1000, 3),
        "policy": round(policy * 1000, 3),
        "limit": round(limit * 1000, 3),
    }


def _add_verdict(record: dict[str, object], verdict: Allow | Deny) -> None:
    if verdict.policy:
        record["policy"] = verdict.policy[:_LIMIT]
    if verdict.rule:
        record["rule"] = verdict.rule[:_LIMIT]
    if isinstance(verdict, Deny):
        record["status"] = verdict.reason.http
        if verdict.detail:
            record["detail"] = _text(verdict.detail, _DETAIL_LIMIT)
        if verdict.provider:
            record["provider"] = verdict.provider[:_LIMIT]


def _add_identity(record: dict[str, object], identity: Identity) -> None:
    if identity.provider:
        record["provider"] = identity.provider[:_LIMIT]
    if identity.issuer:
        record["issuer"] = _text(identity.issuer)
    if identity.subject:
        record["subject"] = _text(identity.subject)
    record["roles"] = [role[:_LIMIT] for role in sorted(identity.roles)[:_ROLES]]


def _add_request(record: dict[str, object], request: Request) -> None:
    """What the judged, canonical request says."""
    if request.http:
        method, host, path, request_id = request.method, request.host, request.path, request.id
        together = f"{method}\n{host}\n{path}\n{request_id}"
        # Nearly all are short, plain and harmless, which is asked once for all of them.
        if len(together) > _LIMIT or len(method) > _METHOD_LIMIT or not (together.isascii() and harmless(together)):
            method, host = _text(method, _METHOD_LIMIT), _text(host)
            path, request_id = _text(path, _PATH_LIMIT), _text(request_id)
        record["method"], record["host"] = method, host
        if path:
            record["path"] = path
        if request_id:
            record["request_id"] = request_id
    if request.source.address:
        record["source"] = request.source.address[:_LIMIT]
    if request.source.principal:
        record["principal"] = _text(request.source.principal)
    if request.client_ip is not None:
        record["client"] = str(request.client_ip)


def _add_raw(record: dict[str, object], sent: AttributeContext) -> None:
    """What the proxy sent, of a request that was refused for its form: the nearest that can be told of it."""
    http = sent.http
    if http is not None:
        record["method"] = _text(http.method, _METHOD_LIMIT)
        record["host"] = _text(http.host.rpartition("@")[2])
        record["path"] = _text(_bare(http.path), _PATH_LIMIT)
        request_id = http.headers.get("x-request-id") or (http.id,)
        if request_id[0]:
            record["request_id"] = _text(request_id[0])
    if sent.source.address:
        record["source"] = sent.source.address[:_LIMIT]
    if sent.source.principal:
        record["principal"] = _text(sent.source.principal)


def _bare(path: str) -> str:
    """A raw path without query and without the values of path parameters, however they are encoded."""
    return _PARAMETERS.sub(r"\1", _QUERY.split(path[: 4 * _PATH_LIMIT], maxsplit=1)[0])


def _text(text: str, limit: int = _LIMIT) -> str:
    """The text as a record may hold it: masked, whole characters only, no longer than the limit."""
    if len(text) <= limit and text.isascii():
        return mask(text)
    # Masked before it is cut to size: half a token would no longer look like one. A lone surrogate is no JSON.
    text = mask(text[: 4 * limit]).encode("utf-8", "replace").decode()
    return text if len(text) <= limit else text[: limit - 1] + _ELLIPSIS
