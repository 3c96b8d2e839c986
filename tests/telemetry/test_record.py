"""The record of a decision."""

import json
from dataclasses import replace
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.config import sections
from extauthz.model import Allow, AttributeContext, Decision, Deny, HttpAttributes, Identity, Peer, Reason, Request
from extauthz.telemetry.record import OMITTABLE, decision_line

SCHEMA = json.loads(files("extauthz.telemetry").joinpath("decision.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def record(decision: Decision, sent: AttributeContext | None, *, seconds: float = 0.00123) -> dict[str, Any]:
    """The record as a reader gets it, valid against the published schema."""
    line = decision_line(decision, sent, now=1_700_000_000.1239, seconds=seconds, trace=(0xABC, 0xDEF))
    assert line.isascii()
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    assert not any(byte < 0x20 or byte == 0x7F for byte in line[:-1])
    loaded = json.loads(line)
    VALIDATOR.validate(loaded)
    assert isinstance(loaded, dict)
    return loaded


def raw(**changes: Any) -> AttributeContext:
    """What a proxy sent, of a request without canonical form."""
    http = HttpAttributes("1", "GET", "/", "h", "http", "HTTP/1.1", {})
    return AttributeContext(Peer("10.0.0.1"), Peer(), 0.0, replace(http, **changes))


def test_schema_is_a_schema_and_knows_every_reason() -> None:
    """The published schema is valid, and its reasons and statuses are those of the table."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    properties = SCHEMA["properties"]
    assert properties["reason"]["enum"] == [reason.word for reason in Reason]
    assert set(properties["status"]["enum"]) == {reason.http for reason in Reason if reason is not Reason.ALLOWED}


def test_what_was_waited_for_is_told(allowed: Decision, sent: AttributeContext) -> None:
    """A part of the duration; absent where nothing was."""
    line = decision_line(allowed, sent, now=0, seconds=0.05, waited=0.0421, trace=None)
    told = json.loads(line)
    VALIDATOR.validate(told)
    assert (told["duration_ms"], told["waited_ms"]) == (50, 42.1)
    assert "waited_ms" not in record(allowed, sent)


def test_fields_are_left_out(allowed: Decision, sent: AttributeContext) -> None:
    """What a log may hold of people; what was decided, and why, is always told."""
    told = json.loads(decision_line(allowed, sent, now=0, seconds=0, trace=None, omit=sorted(OMITTABLE)))
    VALIDATOR.validate(told)
    assert not OMITTABLE & set(told)
    assert told["omitted"] == sorted(OMITTABLE)
    assert {"time", "id", "decision", "reason", "policy", "rule"} <= set(told)
    assert not OMITTABLE & set(SCHEMA["required"])
    assert set(SCHEMA["properties"]) >= OMITTABLE
    assert set(sections._OMITTABLE) == OMITTABLE  # neither room may know the other


def test_allow(allowed: Decision, sent: AttributeContext) -> None:
    """The record of an allow, in full."""
    assert record(allowed, sent) == {
        "time": "2023-11-14T22:13:20.123Z",
        "id": "d-1",
        "request_id": "31657f27",
        "decision": "allow",
        "reason": "allowed",
        "policy": "orders",
        "rule": "read-orders",
        "provider": "corporate",
        "issuer": "https://login.example.com/",
        "subject": "alice",
        "roles": ["admin", "user"],
        "generation": 7,
        "method": "GET",
        "host": "orders.example.com",
        "path": "/orders/42",
        "source": "10.1.2.3",
        "principal": "spiffe://cluster.local/ns/shop/sa/web",
        "client": "192.0.2.7",
        "grpc": False,
        "duration_ms": 1.23,
        "trace_id": "00000000000000000000000000000abc",
        "span_id": "0000000000000def",
    }


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.ALLOWED])
def test_every_denial_is_valid(reason: Reason, request_: Request) -> None:
    """Each reason's record is valid, and has the status and detail of the denial."""
    seen = record(Decision("d", Deny(reason, "why", provider="corporate"), 1, request_), None)
    assert (seen["decision"], seen["reason"], seen["status"]) == ("deny", reason.word, reason.http)
    assert (seen["detail"], seen["provider"]) == ("why", "corporate")


def test_nothing_known() -> None:
    """A message that could not be read has a record."""
    seen = record(Decision("d", Deny(Reason.REQUEST_MALFORMED), 0), None)
    assert set(seen) == set(SCHEMA["required"]) | {"status", "trace_id", "span_id"}


def test_no_span_no_trace(allowed: Decision) -> None:
    """Without a span there is no trace id."""
    line = decision_line(allowed, None, now=0, seconds=0, trace=None)
    assert b"trace_id" not in line
    VALIDATOR.validate(json.loads(line))


def test_request_without_http(request_: Request) -> None:
    """A TCP connection has neither method nor host nor path."""
    tcp = replace(request_, http=False, method="", host="", path="", id="", client_ip=None)
    seen = record(Decision("d", Allow("db", "ports"), 1, tcp), None)
    assert not {"method", "host", "path", "request_id", "client"} & set(seen)
    assert seen["source"] == "10.1.2.3"


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/a/../b?token=canary", "/a/../b"),
        ("/a%3Ftoken=canary", "/a"),
        ("/a%253ftoken=canary", "/a"),
        ("/a#canary", "/a"),
        ("/a;jsessionid=canary/b", "/a;/b"),
        ("/a%3Bsid=canary/b;x=canary", "/a%3B/b;"),
        ("http://user:canary@h/a", "http://[redacted]@h/a"),
        ("/verify/eyJhbGciOiJub25lIn0.canary.", "/verify/[redacted]"),
    ],
)
def test_raw_path_is_bare(path: str, shown: str) -> None:
    """A refused request's path is told without query and parameters, however they are spelled."""
    seen = record(Decision("d", Deny(Reason.PATH_AMBIGUOUS), 1), raw(path=path))
    assert seen["path"] == shown
    assert "canary" not in json.dumps(seen)


def test_raw_host_has_no_user() -> None:
    """A refused request's host is told without user information."""
    assert record(Decision("d", Deny(Reason.HOST_INVALID), 1), raw(host="user:canary@h"))["host"] == "h"


def test_raw_request_id() -> None:
    """A refused request is known by its x-request-id, and without one by Envoy's stream id."""
    refused = Decision("d", Deny(Reason.HOST_INVALID), 1)
    assert record(refused, raw(headers={"x-request-id": ("r-1", "r-2")}))["request_id"] == "r-1"
    assert record(refused, raw())["request_id"] == "1"


def test_long_values_are_cut(request_: Request, identity: Identity) -> None:
    """What the client chose is limited in length."""
    request = replace(request_, path="/" + "a" * 5000, host="h" * 5000, id="i" * 5000, method="M" * 5000)
    who = replace(identity, subject="ü" * 5000, roles=frozenset(f"role-{n:04}" for n in range(256)))
    seen = record(Decision("d", Deny(Reason.NO_RULE, "d" * 5000), 1, request, who), None)
    assert len(seen["path"]) == 1024
    assert len(seen["subject"]) == 256
    assert seen["subject"].endswith("ü…")
    assert len(seen["roles"]) == 32


def test_token_across_the_limit_is_masked(request_: Request) -> None:
    """A token that the length limit would cut is still known as one."""
    path = "/" + "a" * 1000 + "/eyJhbGciOiJub25lIn0." + "c" * 500
    assert record(Decision("d", Deny(Reason.NO_RULE), 1, replace(request_, path=path)), None)["path"].endswith(
        "[redacted]"
    )


def test_lines_can_not_be_forged(request_: Request, identity: Identity) -> None:
    """Line breaks, terminal sequences and direction marks come out as escapes."""
    hostile = 'x\n{"decision":"allow"}\r\x1b[2J\x7f\u202e\u2028'
    seen = record(Decision("d", Deny(Reason.NO_RULE, hostile), 1, request_, replace(identity, subject=hostile)), None)
    assert seen["subject"] == hostile


ANY = st.text(max_size=300) | st.text(alphabet=st.characters(), max_size=20)


@given(path=ANY, host=ANY, method=ANY, request_id=ANY, subject=ANY, detail=ANY, seconds=st.floats(0, 1e6))
def test_any_text_gives_a_valid_line(
    path: str,
    host: str,
    method: str,
    request_id: str,
    subject: str,
    detail: str,
    seconds: float,
) -> None:
    """Whatever a client sends, the record is one line that the schema accepts."""
    who = Identity(subject, "i", "p", frozenset({"r"}))
    denied = Decision("d", Deny(Reason.PATH_AMBIGUOUS, detail), 1, None, who)
    record(denied, raw(path=path, host=host, method=method, id=request_id), seconds=seconds)


def test_lone_surrogates(request_: Request) -> None:
    """Half a character, which no UTF-8 has, does not make the line invalid for strict readers."""
    seen = record(Decision("d", Deny(Reason.NO_RULE, "a\ud800b"), 1, request_), None)
    assert seen["detail"] == "a?b"
