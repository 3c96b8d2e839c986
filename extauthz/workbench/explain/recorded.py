"""A decision taken from the decision log: found by its id, and turned back into the request that was decided.

A record with a ``capture`` holds the whole request, apart from credentials, with whom they proved; a record without one
holds the main parts, and what is made of it says so. Either way the caller is the one that was proven then: no token is
in a log, and none is asked for.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from extauthz.capture import CaptureError, read_capture
from extauthz.errors import ExtAuthzError
from extauthz.model import Deny, Identity, Reason
from extauthz.workbench.explain.asking import Question, Recorded
from extauthz.workbench.given import Given
from extauthz.workbench.sketch import RequestSketch

__all__ = ["find_record", "question_of_record"]

_REASONS = {reason.word: reason for reason in Reason}
_CREDENTIALS = frozenset(
    reason
    for reason in Reason
    if (reason.http == Reason.NO_CREDENTIALS.http and reason is not Reason.NO_CREDENTIALS)
    or reason in (Reason.CREDENTIALS_AMBIGUOUS, Reason.KEYS_UNAVAILABLE, Reason.STORE_UNAVAILABLE)
)
"""Denials that are about credentials, if no caller is recorded."""


def find_record(lines: Iterable[str], wanted: str) -> Mapping[str, Any]:
    """The record of a decision, by its id or the request's (``x-request-id``); of several the last.

    Raises:
        ExtAuthzError: There is none.
    """
    found: Mapping[str, Any] | None = None
    for line in lines:
        if wanted not in line:
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and wanted in (record.get("id"), record.get("request_id")):
            found = record
    if found is None:
        raise ExtAuthzError(
            f"the log has no decision with the id {wanted!r}; ids are in denied answers, dynamic metadata and spans"
        )
    return found


def question_of_record(record: Mapping[str, Any], mesh: frozenset[str] = frozenset()) -> Question:
    """The request of a record, with its caller; ``mesh`` are the names of mesh providers, whose callers are peers.

    Raises:
        ExtAuthzError: The record can't be read.
    """
    recorded = Recorded(
        _text(record, "id"),
        _text(record, "decision"),
        _text(record, "reason"),
        _text(record, "policy"),
        _text(record, "rule"),
        exact="capture" in record,
    )
    if not recorded.exact:
        note = (
            "the record has no capture: headers, query, claims and context are not known (telemetry.decisions.capture)"
        )
        caller = _caller(record)
        of_peer = caller is not None and caller.provider in mesh
        given = Given(None, caller) if of_peer else Given(caller)
        return Question(_sketch(record).attributes(), given, recorded, (note,))
    try:
        captured = read_capture(record["capture"])
    except CaptureError as error:
        raise ExtAuthzError(f"the record can't be used: {error}") from None
    hidden = ", ".join(sorted(captured.redacted))
    notes = (f"not in the capture, as they may hold credentials: {hidden}",) if hidden else ()
    return Question(captured.sent, Given(captured.caller, captured.peer), recorded, notes)


def _sketch(record: Mapping[str, Any]) -> RequestSketch:
    """About the request that was recorded. The client's address is put where one trusted hop would write it."""
    client = _text(record, "client")
    return RequestSketch(
        method=_text(record, "method"),
        path=_text(record, "path"),
        host=_text(record, "host"),
        headers=(("x-forwarded-for", client),) if client else (),
        source_address=_text(record, "source"),
        source_principal=_text(record, "principal"),
        http="method" in record,
        time=_time(record),
    )


def _caller(record: Mapping[str, Any]) -> Identity | Deny | None:
    """Who was proven, or why nobody was."""
    reason = _REASONS.get(_text(record, "reason"))
    if reason is None:
        raise ExtAuthzError("the record has no reason that is known here")
    provider, detail = _text(record, "provider"), _text(record, "detail")
    if "subject" in record or "roles" in record:
        roles = record.get("roles", [])
        if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
            raise ExtAuthzError("the record can't be used: roles is no list of texts")
        return Identity(_text(record, "subject"), "", provider, frozenset(roles))
    return Deny(reason, detail, provider=provider) if reason in _CREDENTIALS else None


def _text(record: Mapping[str, Any], name: str) -> str:
    value = record.get(name, "")
    if not isinstance(value, str):
        raise ExtAuthzError(f"the record can't be used: {name} is no text")
    return value


def _time(record: Mapping[str, Any]) -> float:
    try:
        return datetime.fromisoformat(_text(record, "time")).timestamp()
    except ValueError:
        return 0.0
