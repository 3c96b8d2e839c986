"""Records that hold the request as well: with ``telemetry.decisions.capture``, and without any credential."""

import json
import time
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from extauthz.capture import CaptureWriter, CredentialPlaces, read_capture
from extauthz.model import AttributeContext, Decision, Deny, HttpAttributes, Identity, Peer, Reason, VerifiedClaims
from extauthz.telemetry import DecisionSettings, Metrics, TraceSettings, open_telemetry
from extauthz.telemetry.record import decision_line
from extauthz.telemetry.redaction import is_sensitive, mask

SCHEMA = json.loads(files("extauthz.telemetry").joinpath("decision.schema.json").read_text())
WRITER = CaptureWriter(CredentialPlaces(frozenset({"authorization"})), mask=mask, sensitive=is_sensitive)
CANARY = "c4n4ry"


def record(decision: Decision, sent: AttributeContext | None) -> dict[str, Any]:
    """The record as a reader gets it, valid against the published schema."""
    line = decision_line(decision, sent, now=1_700_000_000, seconds=0.001, trace=None, captures=WRITER)
    assert line.isascii()
    assert line.count(b"\n") == 1
    loaded = json.loads(line)
    jsonschema.Draft202012Validator(SCHEMA).validate(loaded)
    assert isinstance(loaded, dict)
    return loaded


def test_capture_is_added_to_the_record(allowed: Decision, sent: AttributeContext, identity: Identity) -> None:
    """All other fields stay as they are; the capture is the request and whom its credentials proved."""
    seen = record(replace(allowed, found=identity), sent)
    captured = read_capture(seen.pop("capture"))
    assert seen == json.loads(decision_line(allowed, sent, now=1_700_000_000, seconds=0.001, trace=None))
    assert captured.caller == identity
    assert captured.sent.http is not None
    assert captured.sent.http.path == "/orders/42?x=1"
    assert captured.redacted == {"headers.authorization"}


def test_refused_credentials_and_peer(allowed: Decision, sent: AttributeContext, identity: Identity) -> None:
    """What was found is told as it was found, whatever was decided of it."""
    refused = Deny(Reason.TOKEN_EXPIRED, "exp has passed", provider="corporate")
    denied = replace(allowed, verdict=refused, identity=None, found=refused, peer=identity)
    captured = read_capture(record(denied, sent)["capture"])
    assert (captured.caller, captured.peer) == (refused, identity)


def test_refused_form_has_a_capture(sent: AttributeContext) -> None:
    """A request without canonical form can be looked at too."""
    assert "capture" in record(Decision("d", Deny(Reason.PATH_AMBIGUOUS), 1), sent)


def test_unreadable_message_has_none() -> None:
    """Where there was no message there is nothing to capture."""
    seen = record(Decision("d", Deny(Reason.INTERNAL_ERROR), 1), None)
    assert not {"capture", "capture_omitted"} & set(seen)


def test_large_request_is_left_out_and_said_to_be(allowed: Decision, sent: AttributeContext) -> None:
    """The record of a large request is as short as ever, and says what is missing."""
    assert sent.http is not None
    large = replace(sent, http=replace(sent.http, headers={"x": ("a" * 60_000,)}))
    seen = record(allowed, large)
    assert "capture" not in seen
    assert seen["capture_omitted"] is True
    assert len(json.dumps(seen)) < 1000


def test_hostile_text_makes_one_valid_line(allowed: Decision, sent: AttributeContext) -> None:
    """Line breaks, terminal sequences and lone surrogates in any part come out as escapes."""
    hostile = 'x\n{"decision":"allow"}\r\x1b[2J\x7f\u202e\u2028\ud800'
    http = HttpAttributes(hostile, hostile, f"/{hostile}", hostile, hostile, hostile, {"x": (hostile,)})
    seen = record(allowed, replace(sent, http=http, context={hostile: hostile}))
    assert seen["capture"]["http"]["headers"]["x"] == [hostile]


def test_no_credential_is_in_a_record_with_capture(allowed: Decision) -> None:
    """Canaries in every place of a credential, and for every kind of decision: none comes out."""
    jwt = f"eyJhbGciOiJSUzI1NiJ9.{CANARY}.{CANARY}"
    headers = {
        "authorization": (f"Bearer {jwt}",),
        "proxy-authorization": (f"Basic {CANARY}",),
        "cookie": (f"session={CANARY}",),
        "set-cookie": (CANARY,),
        "x-api-key": (CANARY,),
        "sec-websocket-protocol": (f"bearer.{CANARY}",),
        "x-forwarded-client-cert": (f"Cert={CANARY}",),
        "x-copied": (f"Bearer {jwt}",),
        ":path": (f"/orders?access_token={jwt}&x=1",),
    }
    http = HttpAttributes("1", "GET", f"/orders?access_token={jwt}&x=1", "h.example", "https", "HTTP/2", headers)
    raw = AttributeContext(Peer("10.0.0.1", certificate=CANARY), Peer(certificate=CANARY), 0.0, http)
    raw = replace(raw, context={"client_secret": CANARY})
    who = Identity("alice", "i", "p", frozenset({"user"}), (), VerifiedClaims({"password": CANARY, "raw": jwt}))
    denials = [Deny(reason, f"the header was Bearer {jwt}") for reason in Reason if reason is not Reason.ALLOWED]
    decisions = [replace(allowed, found=who, peer=who), *(Decision("d", deny, 1, found=deny) for deny in denials)]
    for decision in decisions:
        text = json.dumps(record(decision, raw))
        assert CANARY not in text
        assert "eyJ" not in text


@pytest.mark.parametrize("capture", [None, CredentialPlaces()])
async def test_captures_are_off_unless_asked_for(
    capture: CredentialPlaces | None, tmp_path: Path, metrics: Metrics, allowed: Decision, sent: AttributeContext
) -> None:
    """Without the setting no record has a header or claim in it."""
    file = tmp_path / "decisions.log"
    settings = DecisionSettings(str(file), capture=capture)
    telemetry = open_telemetry(TraceSettings("none"), settings, metrics, version="1", now=time.time)
    telemetry.finish(telemetry.begin(()), allowed, sent, 0.001)
    await telemetry.close()
    assert ("capture" in json.loads(file.read_text())) is (capture is not None)
