"""A capture holds what a decision depends on, and nothing gets lost on the way back."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.capture import CaptureError, CaptureWriter, CredentialPlaces, read_capture
from extauthz.model import AttributeContext, Deny, HttpAttributes, Identity, Peer, Reason
from extauthz.telemetry.redaction import is_sensitive, mask
from extauthz.wire import decode
from tests.capture.conftest import caller, check
from tests.conftest import PROJECT

WRITER = CaptureWriter(CredentialPlaces(), mask=mask, sensitive=is_sensitive)
CHECKS = sorted((PROJECT / "tests" / "captures").glob("*.binpb"))


def without_certificates(sent: AttributeContext) -> AttributeContext:
    return replace(
        sent,
        source=replace(sent.source, certificate=""),
        destination=replace(sent.destination, certificate=""),
    )


def test_everything_comes_back(writer: CaptureWriter) -> None:
    """Request, connection, context, caller and peer are what they were; a certificate is left out."""
    sent = check(headers={"accept": ("a", "b"), "x-tenant": ("acme",)})
    who, peer = caller(tenant="acme", groups=["a", {"deep": 1.5}], admin=True), caller()
    text = writer.text(sent, who, peer)
    assert text is not None
    back = read_capture(json.loads(text))
    assert (back.sent, back.caller, back.peer) == (without_certificates(sent), who, peer)
    assert back.redacted == frozenset()


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.ALLOWED])
def test_refused_credentials_come_back(reason: Reason, writer: CaptureWriter) -> None:
    """Why credentials proved nobody is kept, with the provider that says so."""
    refused = Deny(reason, "because", provider="corporate")
    assert read_capture(writer.value(check(), refused, None)).caller == refused


def test_nobody_comes_back(writer: CaptureWriter) -> None:
    """A caller without credentials is None and no empty identity."""
    captured = read_capture(writer.value(check(), None, None))
    assert (captured.caller, captured.peer) == (None, None)


@pytest.mark.parametrize("file", CHECKS, ids=lambda file: file.stem)
def test_real_checks_come_back(file: Path) -> None:
    """What a real Envoy sent comes back whole, but for what is hidden and pseudo headers."""
    sent = decode(file.read_bytes())
    back = read_capture(json.loads(WRITER.text(sent, None, None) or "")).sent
    assert (back.source, back.destination) == (
        replace(sent.source, certificate=""),
        replace(sent.destination, certificate=""),
    )
    assert (back.time, back.sni, back.context, back.fault) == (sent.time, sent.sni, sent.context, sent.fault)
    if sent.http is None:
        assert back.http is None
        return
    assert back.http is not None
    plain = {name for name in sent.http.headers if name[0] != ":"}
    assert set(back.http.headers) == plain
    kept = {name: values for name, values in back.http.headers.items() if "[redacted]" not in "".join(values)}
    assert kept.items() <= dict(sent.http.headers).items()
    assert (back.http.method, back.http.host, back.http.scheme) == (sent.http.method, sent.http.host, sent.http.scheme)


def test_pseudo_header_that_contradicts_stays_a_contradiction(writer: CaptureWriter) -> None:
    """A request that is refused for its pseudo headers is refused when it is replayed; what they say is hidden."""
    sent = check(headers={":path": ("/other?k=canary",), ":method": ("GET",), ":authority": ("orders.example.com",)})
    http = read_capture(writer.value(sent, None, None)).sent.http
    assert http is not None
    assert http.headers == {":path": ("[redacted]",)}


def test_large_request_has_no_capture(writer: CaptureWriter) -> None:
    """The size of a record is not for the client to choose: neither by headers, path nor claims."""
    assert writer.text(check(headers={"x": ("a" * 20_000,)}), None, None) is None
    assert writer.text(check(path="/" + "a" * 20_000), None, None) is None
    assert writer.text(check(), caller(groups=["g" * 100] * 200), None) is None
    assert writer.text(check(headers={"x": ("a" * 8_000,)}), None, None) is not None


def test_what_escapes_make_large_has_no_capture(writer: CaptureWriter) -> None:
    """The bound is on what is written: one character can take twelve bytes there."""
    assert writer.text(check(headers={"x": ("\U0001f600" * 2_000,)}), None, None) is None


TEXT = st.text(max_size=40)
CLAIMS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(
    path=TEXT,
    host=TEXT,
    headers=st.dictionaries(
        st.text(min_size=1, max_size=20), st.lists(TEXT, min_size=1, max_size=3).map(tuple), max_size=5
    ),
    context=st.dictionaries(TEXT, TEXT, max_size=3),
    claims=st.dictionaries(TEXT, CLAIMS, max_size=4),
    principal=TEXT,
)
def test_any_check_has_a_capture_that_can_be_read(
    path: str,
    host: str,
    headers: dict[str, tuple[str, ...]],
    context: dict[str, str],
    claims: dict[str, Any],
    principal: str,
) -> None:
    """Whatever a client sends: JSON in ASCII, and what is not marked as hidden is what it was."""
    http = HttpAttributes("1", "GET", path, host, "http", "HTTP/1.1", headers)
    sent = AttributeContext(Peer("", 0, principal), Peer(), 0.0, http, "", context)
    who = caller(**claims)
    text = WRITER.text(sent, who, None)
    assert text is not None
    assert text.isascii()
    back = read_capture(json.loads(text))
    assert isinstance(back.caller, Identity)
    assert back.sent.http is not None
    if not any(name.startswith("query.") or name == "path" for name in back.redacted):
        assert back.sent.http.path == path
    if not any(name.startswith("claims.") for name in back.redacted):
        assert back.caller.claims == claims
    if not any(name.startswith("headers.") or name == "host" for name in back.redacted):
        assert back.sent.http.headers == {name: values for name, values in headers.items() if name[0] != ":"}
    if not any(name.startswith("context.") for name in back.redacted):
        assert back.sent.context == context


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"version": None},
        {"http": "GET /"},
        {"http": {"headers": {"a": "b"}}},
        {"http": {"headers": {"a": []}}},
        {"http": {"headers": {"a": [1]}}},
        {"http": {"method": 1}},
        {"source": []},
        {"source": {"port": "80"}},
        {"source": {"port": True}},
        {"source": {"port": -1}},
        {"time": "now"},
        {"time": True},
        {"time": float("inf")},
        {"context": {"a": 1}},
        {"caller": "alice"},
        {"caller": {"roles": "admin"}},
        {"caller": {"roles": [1]}},
        {"caller": {"claims": []}},
        {"caller": {"expires": "never"}},
        {"caller": {"refused": "allowed"}},
        {"caller": {"refused": "no-such-reason"}},
        {"caller": {"refused": ["no-rule"]}},
        {"redacted": "all"},
    ],
    ids=str,
)
def test_what_is_no_capture_is_refused(change: dict[str, Any], writer: CaptureWriter) -> None:
    """A capture may have been edited: a member of another type is an error, and no default."""
    with pytest.raises(CaptureError):
        read_capture(writer.value(check(), caller(), None) | change)


@given(CLAIMS)
def test_any_value_is_read_or_refused(value: Any) -> None:
    """Nothing but the documented error comes out of any JSON."""
    for capture in (
        value,
        {"version": 1, "http": value},
        {"version": 1, "caller": value},
        {"version": 1, "source": value},
    ):
        try:
            read_capture(capture)
        except CaptureError:
            continue
