"""A decision of the log becomes a request with its caller again."""

import json
from typing import Any

import pytest

from extauthz.capture import CaptureWriter, CredentialPlaces
from extauthz.errors import ExtAuthzError
from extauthz.model import AttributeContext, Deny, HttpAttributes, Identity, Peer, Reason, VerifiedClaims
from extauthz.telemetry.redaction import is_sensitive, mask
from extauthz.workbench.explain import find_record, question_of_record

PLAIN: dict[str, Any] = {
    "time": "2026-11-23T10:00:00.000Z",
    "id": "d-1",
    "request_id": "r-1",
    "decision": "deny",
    "reason": "role-missing",
    "policy": "orders",
    "rule": "read",
    "provider": "corporate",
    "subject": "alice",
    "roles": ["guest"],
    "method": "GET",
    "host": "orders.example.com",
    "path": "/orders",
    "source": "10.0.0.9",
    "principal": "spiffe://a/b",
    "client": "203.0.113.7",
}


def lines(*records: Any) -> list[str]:
    return ["not json\n", "[]\n", *(json.dumps(record) + "\n" for record in records)]


@pytest.mark.parametrize("wanted", ["d-1", "r-1"])
def test_a_decision_is_found_by_its_id_or_the_requests(wanted: str) -> None:
    """Among other lines, some of which are no records."""
    assert find_record(lines({"id": "d-11"}, PLAIN, {"id": "d-2", "detail": "d-1"}), wanted) == PLAIN


def test_an_unknown_id_is_told() -> None:
    """With where ids are to be found."""
    with pytest.raises(ExtAuthzError, match="no decision with the id 'd-9'"):
        find_record(lines(PLAIN), "d-9")


def test_a_record_without_capture_is_about_the_request() -> None:
    """Its main parts and the caller; the rest is said to be unknown."""
    question = question_of_record(PLAIN)
    sent, given = question.sent, question.given
    assert sent.http is not None
    assert (sent.http.method, sent.http.host, sent.http.path) == ("GET", "orders.example.com", "/orders")
    assert (sent.source.address, sent.source.principal) == ("10.0.0.9", "spiffe://a/b")
    assert sent.http.headers["x-forwarded-for"] == ("203.0.113.7",)
    assert sent.time == 1_795_428_000.0
    assert given is not None
    assert given.caller == Identity("alice", "", "corporate", frozenset({"guest"}))
    assert question.recorded is not None
    assert not question.recorded.exact
    assert "no capture" in question.notes[0]


@pytest.mark.parametrize(
    ("changes", "caller"),
    [
        ({"reason": "no-credentials"}, None),
        ({"reason": "token-expired", "detail": "it did"}, Deny(Reason.TOKEN_EXPIRED, "it did", provider="corporate")),
        ({"reason": "credentials-ambiguous"}, Deny(Reason.CREDENTIALS_AMBIGUOUS, provider="corporate")),
        ({"reason": "no-policy"}, None),
        ({"reason": "allowed", "decision": "allow"}, None),
    ],
)
def test_a_record_without_caller_says_why(changes: dict[str, Any], caller: Any) -> None:
    """Refused credentials stay refused; nobody stays nobody."""
    record = {name: value for name, value in PLAIN.items() if name not in ("subject", "roles")} | changes
    question = question_of_record(record)
    assert question.given is not None
    assert question.given.caller == caller


def test_a_caller_of_the_mesh_is_the_peer() -> None:
    """The record names one caller, whoever it was."""
    given = question_of_record(PLAIN, frozenset({"corporate"})).given
    assert given is not None
    assert given.caller is None
    assert isinstance(given.connection, Identity)


def test_a_capture_is_the_whole_request() -> None:
    """With what it hides told by name."""
    http = HttpAttributes(
        "7", "GET", "/orders?x=1", "orders.example.com", "https", "HTTP/2", {"x-tenant": ("a",), "cookie": ("s=1",)}
    )
    sent = AttributeContext(Peer("10.0.0.9", 1), Peer("10.0.0.1", 443), 5.0, http)
    caller = Identity("alice", "", "corporate", frozenset({"user"}), claims=VerifiedClaims({"tenant": "a"}))
    text = CaptureWriter(CredentialPlaces(), mask=mask, sensitive=is_sensitive).text(sent, caller, None)
    assert text is not None
    question = question_of_record({**PLAIN, "capture": json.loads(text)})
    assert question.sent.http is not None
    assert question.sent.http.path == "/orders?x=1"
    assert question.sent.http.headers["x-tenant"] == ("a",)
    assert question.given is not None
    assert question.given.caller == caller
    assert question.recorded is not None
    assert question.recorded.exact
    assert "headers.cookie" in question.notes[0]


@pytest.mark.parametrize(
    "changes", [{"reason": "bored"}, {"reason": 5}, {"roles": "admin"}, {"path": 5}, {"capture": 5}, {"capture": {}}]
)
def test_a_record_that_somebody_edited_is_refused(changes: dict[str, Any]) -> None:
    """With an error for people."""
    with pytest.raises(ExtAuthzError, match="record"):
        question_of_record(PLAIN | changes)
