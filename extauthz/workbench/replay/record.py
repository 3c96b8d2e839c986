"""A line of a decision log, and what of it can be judged again.

The log is a file like any other: cut off, edited, written by an older version. Each line is looked at before it is
believed, and one that can't be replayed says why.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Self

from extauthz.capture import HIDDEN, CaptureError, read_capture
from extauthz.model import EMPTY, AttributeContext, Deny, HttpAttributes, Identity, Peer, Reason
from extauthz.workbench.replay.outcome import ALLOW, DENY, Outcome

__all__ = ["Record", "Skipped", "read_record"]

_REASONS = {reason.word: reason for reason in Reason}
_FORM = frozenset({Reason.PATH_AMBIGUOUS, Reason.HOST_INVALID, Reason.REQUEST_MALFORMED})
_LIMITS = frozenset({Reason.RATE_LIMITED, Reason.STORE_UNAVAILABLE})
_UNAUTHENTICATED = 401
_FAULTS = 500
_NOBODY = Peer()
_CUT = "\u2026"
_JUDGED = frozenset(["client", "host", "method", "path", "principal", "provider", "roles", "source"])
"""Fields without which nobody can say what policies would make of a record."""
_NAMES_KEPT = 32
"""Roles in a record; a caller with as many may have more."""


class Skipped(Enum):
    """Why a line is not judged again. The value is its name in reports, ``sentence`` tells a person."""

    sentence: str

    def __new__(cls, word: str, sentence: str) -> Self:
        """Make the member from its row of the table."""
        member = object.__new__(cls)
        member._value_ = word
        member.sentence = sentence
        return member

    MALFORMED = ("malformed", "no decision records")
    FORM = ("refused-for-form", "refused for their form, which no policy decides")
    UNDECIDED = ("undecided", "answered for a fault, a deadline or the limit of an address, and not by a policy")
    OMITTED = ("fields-omitted", "without what telemetry.decisions.omit leaves out, and policies judge by")
    CUT = ("cut-short", "with a host or path that the record has only the beginning of")


@dataclass(frozen=True, slots=True)
class Record:
    """A decision that can be made again."""

    id: str
    old: Outcome
    """What was decided; for a request over its rate: what its rule decided."""
    sent: AttributeContext
    caller: Identity | Deny | None
    peer: Identity | Deny | None
    captured: bool
    """The whole request is known, but for what is redacted."""
    redacted: frozenset[str]
    """Where a capture hides something; of a plain record, what is known to be incomplete."""
    asked: bool
    """Somebody had looked for credentials."""
    client: str = ""
    """The client's address in a plain record."""
    over_rate: bool = False


def read_record(line: bytes, mesh: frozenset[str]) -> Record | Skipped:
    """The record of a line; ``mesh`` are the names of mesh providers, whose callers are peers."""
    try:
        written = json.loads(line)
    except (ValueError, RecursionError):
        return Skipped.MALFORMED
    if not isinstance(written, dict):
        return Skipped.MALFORMED
    reason = _REASONS.get(_text(written, "reason"))
    decision = written.get("decision")
    if reason is None or decision != (ALLOW if reason is Reason.ALLOWED else DENY):
        return Skipped.MALFORMED
    policy, rule = _text(written, "policy"), _text(written, "rule")
    over_rate = reason in _LIMITS and rule != ""
    if reason in _FORM:
        return Skipped.FORM
    if not over_rate and (reason.http >= _FAULTS or reason is Reason.RATE_LIMITED):
        return Skipped.UNDECIDED
    old = Outcome(ALLOW, "allowed", policy, rule) if over_rate else Outcome(decision, reason.word, policy, rule)
    asked = reason is not Reason.NO_POLICY
    identifier = _text(written, "id")
    if "capture" in written:
        try:
            found = read_capture(written["capture"])
        except CaptureError:
            return Skipped.MALFORMED
        return Record(
            identifier,
            old,
            found.sent,
            found.caller,
            found.peer,
            captured=True,
            redacted=found.redacted,
            asked=asked,
            over_rate=over_rate,
        )
    return _plain(written, identifier, old, reason, mesh, asked=asked, over_rate=over_rate)


def _plain(
    written: Mapping[str, Any],
    identifier: str,
    old: Outcome,
    reason: Reason,
    mesh: frozenset[str],
    *,
    asked: bool,
    over_rate: bool,
) -> Record | Skipped:
    """A record without capture: what its plain fields tell."""
    omitted = written.get("omitted")
    left_out = {str(name) for name in omitted} if isinstance(omitted, list) else set()
    if left_out & _JUDGED:
        return Skipped.OMITTED
    host, path, principal = _text(written, "host"), _text(written, "path"), _text(written, "principal")
    if host.endswith(_CUT) or path.endswith(_CUT):
        return Skipped.CUT
    method = _text(written, "method")
    if not method and not _text(written, "source") and not principal:
        return Skipped.MALFORMED
    http = None
    if method:
        http = HttpAttributes(_text(written, "request_id"), method, path, host, "", "", EMPTY)
    source = Peer(_text(written, "source"), 0, principal)
    sent = AttributeContext(source, _NOBODY, _seconds(_text(written, "time")), http, sni=host)
    caller, peer, redacted = _who(written, reason, mesh)
    doubtful = {name for name, text in (("path", path), ("host", host), ("principal", principal)) if HIDDEN in text}
    return Record(
        identifier,
        old,
        sent,
        caller,
        peer,
        captured=False,
        redacted=frozenset(redacted | doubtful | left_out),
        asked=asked,
        client=_text(written, "client"),
        over_rate=over_rate,
    )


def _who(
    written: Mapping[str, Any], reason: Reason, mesh: frozenset[str]
) -> tuple[Identity | Deny | None, Identity | Deny | None, set[str]]:
    """Who asked: by credentials, by connection, and what of that is not certain."""
    provider = _text(written, "provider")
    proven = "roles" in written
    known: Identity | Deny | None = None
    redacted: set[str] = set()
    if proven:
        roles = written["roles"]
        names = [role for role in roles if isinstance(role, str)] if isinstance(roles, list) else []
        subject = _text(written, "subject")
        if len(names) >= _NAMES_KEPT:
            redacted.add("roles")
        if subject.endswith(_CUT) or HIDDEN in subject:
            redacted.add("subject")
        known = Identity(subject, "", provider, frozenset(names))
    elif reason is Reason.CREDENTIALS_AMBIGUOUS or (
        reason.http == _UNAUTHENTICATED and reason is not Reason.NO_CREDENTIALS
    ):
        # Nobody knows whom the credentials would prove: they go on proving nobody.
        known = Deny(reason, provider=provider)
    if provider in mesh or (isinstance(known, Deny) and _text(written, "policy")):
        return None, known, redacted
    return known, None, redacted


def _text(written: Mapping[str, Any], name: str) -> str:
    value = written.get(name, "")
    return value if isinstance(value, str) else ""


def _seconds(time: str) -> float:
    """A record's time in seconds since the epoch; 0 if it has none."""
    try:
        return datetime.fromisoformat(time).timestamp() if time.endswith("Z") else 0.0
    except (ValueError, OverflowError):
        return 0.0
