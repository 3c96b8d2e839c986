"""The decision record: one line of JSON that says who asked for what, what was decided, and why.

``decision.schema.json`` beside this file is its published form. What a record never holds, because nobody can search a
log for what should not be in it: credentials and bodies, and, unless the operator asks for captures, headers, the query,
claims and ``context_extensions``. What the client chose and what is kept (path, host, method, subject, request id) is limited in length, masked where it looks like a
credential, and escaped to plain ASCII, so that no line can be forged and no terminal be driven.

The line is written member by member: a dict that json encodes takes twice as long, and that is most of what a record costs.
It is built where the decision is made, and not in the sink's thread. Both threads want the one
interpreter lock: measured at 9,000 Checks a second, serialising in the other thread in batches saved the event loop no
throughput worth having, but made it wait for the lock, with a 99.9th percentile of 6 to 8 ms to wake up where the inline
way has 1.5 to 3. Besides, a queue of bytes has a size that can be bounded, and doesn't keep requests with their
credentials alive until a slow disk has caught up.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import Final

from extauthz.capture import CaptureWriter
from extauthz.model import Allow, AttributeContext, Decision, Deny, Identity, Request, ShadowVerdict
from extauthz.telemetry.redaction import harmless, mask
from extauthz.telemetry.taken import Taken

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

_quote: Final = encode_basestring_ascii
"""A text as JSON: plain ASCII, with what begins and ends it."""


class _Line:
    """A record, member by member. The texts of members are JSON."""

    __slots__ = ("_members", "_omit")

    def __init__(self, begin: str, omit: Sequence[str]) -> None:
        """Begin with these members, and leave out those that ``omit`` names."""
        self._members: list[str] = [begin]
        self._omit = omit

    def add(self, name: str, text: str) -> None:
        """Add a member, unless nobody wants it."""
        if not self._omit or name not in self._omit:
            self._members.append(f'"{name}":{text}')

    def written(self) -> bytes:
        """The whole line, with its end."""
        return ("{" + ",".join(self._members) + "}\n").encode()


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
    line = _Line(_begun(decision, now, seconds), omit)
    _add_times(line, waited, taken)
    _add_verdict(line, verdict, decision.identity)
    if decision.identity is not None:
        _add_identity(line, decision.identity)
    if decision.request is not None:
        _add_request(line, decision.request)
    elif sent is not None:
        _add_raw(line, sent)
    if trace is not None:
        line.add("trace_id", f'"{trace[0]:032x}"')
        line.add("span_id", f'"{trace[1]:016x}"')
    if share < 1:
        line.add("sample", repr(share))
    if decision.shadows:
        line.add("shadow", _list(map(_shadow, decision.shadows[:_SHADOWS])))
    if omit:
        # Whoever reads it must not take what is missing for what was not there.
        line.add("omitted", _list(map(_quote, omit)))
    if captures is not None and sent is not None:
        _add_capture(line, captures.text(sent, decision.found, decision.peer))
    return line.written()


def _add_capture(line: _Line, capture: str | None) -> None:
    """The request, in JSON already, as its size had to be known; None if it was too large."""
    if capture is None:
        line.add("capture_omitted", "true")
    else:
        line.add("capture", capture)


def _begun(decision: Decision, now: float, seconds: float) -> str:
    """The members that each record begins with."""
    verdict = decision.verdict
    said = "allow" if isinstance(verdict, Allow) else "deny"
    grpc = "true" if decision.grpc else "false"
    return (
        f'"time":"{_second(int(now))}.{int(now % 1 * 1000):03}Z","id":{_quote(decision.id)},"decision":"{said}",'
        f'"reason":"{verdict.reason.word}","generation":{decision.generation},"grpc":{grpc},'
        f'"duration_ms":{_milliseconds(seconds)}'
    )


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3f}"


def _list(texts: Iterable[str]) -> str:
    return f"[{','.join(texts)}]"


@lru_cache(maxsize=2)
def _second(now: int) -> str:
    return datetime.fromtimestamp(now, UTC).isoformat()[:-6]


def _shadow(shadow: ShadowVerdict) -> str:
    verdict = shadow.verdict
    said = "allow" if isinstance(verdict, Allow) else "deny"
    rule = f'"rule":{_quote(shadow.rule[:_LIMIT])},' if shadow.rule else ""
    policy = _quote(shadow.policy[:_LIMIT])
    return f'{{"policy":{policy},{rule}"would":"{said}","reason":"{verdict.reason.word}"}}'


def _add_times(line: _Line, waited: float, taken: Taken | None) -> None:
    if waited:
        line.add("waited_ms", _milliseconds(waited))
    if taken is None:
        return
    if taken.waits:
        line.add("waited_for", _list(f'"{one.what}"' for one in taken.waits))
    request, identity, policy, limit = taken.seconds
    line.add(
        "phases_ms",
        f'{{"request":{_milliseconds(request)},"identity":{_milliseconds(identity)},'
        f'"policy":{_milliseconds(policy)},"limit":{_milliseconds(limit)}}}',
    )


def _add_verdict(line: _Line, verdict: Allow | Deny, identity: Identity | None) -> None:
    if verdict.policy:
        line.add("policy", _quote(verdict.policy[:_LIMIT]))
    if verdict.rule:
        line.add("rule", _quote(verdict.rule[:_LIMIT]))
    if isinstance(verdict, Deny):
        line.add("status", str(verdict.reason.http))
        if verdict.detail:
            line.add("detail", _quote(_text(verdict.detail, _DETAIL_LIMIT)))
        if verdict.provider and (identity is None or not identity.provider):
            line.add("provider", _quote(verdict.provider[:_LIMIT]))


def _add_identity(line: _Line, identity: Identity) -> None:
    if identity.provider:
        line.add("provider", _quote(identity.provider[:_LIMIT]))
    if identity.issuer:
        line.add("issuer", _issuer(identity.issuer))
    if identity.subject:
        line.add("subject", _quote(_text(identity.subject)))
    line.add("roles", _list(_quote(role[:_LIMIT]) for role in sorted(identity.roles)[:_ROLES]))


@lru_cache(maxsize=64)
def _issuer(name: str) -> str:
    """The name of an issuer, as JSON: there are few, as they come from the configuration."""
    return _quote(_text(name))


def _add_request(line: _Line, request: Request) -> None:
    """What the judged, canonical request says."""
    if request.http:
        method, host, path, request_id = request.method, request.host, request.path, request.id
        together = f"{method}\n{host}\n{path}\n{request_id}"
        # Nearly all are short, plain and harmless, which is asked once for all of them.
        if len(together) > _LIMIT or len(method) > _METHOD_LIMIT or not (together.isascii() and harmless(together)):
            method, host = _text(method, _METHOD_LIMIT), _text(host)
            path, request_id = _text(path, _PATH_LIMIT), _text(request_id)
        line.add("method", _quote(method))
        line.add("host", _quote(host))
        if path:
            line.add("path", _quote(path))
        if request_id:
            line.add("request_id", _quote(request_id))
    if request.source.address:
        line.add("source", _quote(request.source.address[:_LIMIT]))
    if request.source.principal:
        line.add("principal", _quote(_text(request.source.principal)))
    if request.client_ip is not None:
        line.add("client", f'"{request.client_ip}"')


def _add_raw(line: _Line, sent: AttributeContext) -> None:
    """What the proxy sent, of a request that was refused for its form: the nearest that can be told of it."""
    http = sent.http
    if http is not None:
        line.add("method", _quote(_text(http.method, _METHOD_LIMIT)))
        line.add("host", _quote(_text(http.host.rpartition("@")[2])))
        line.add("path", _quote(_text(_bare(http.path), _PATH_LIMIT)))
        request_id = http.headers.get("x-request-id") or (http.id,)
        if request_id[0]:
            line.add("request_id", _quote(_text(request_id[0])))
    if sent.source.address:
        line.add("source", _quote(sent.source.address[:_LIMIT]))
    if sent.source.principal:
        line.add("principal", _quote(_text(sent.source.principal)))


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
