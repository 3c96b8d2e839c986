"""Invariant I6 for captures: an attacker, or a careless client, puts a credential anywhere, and it is not in the capture."""

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.capture import CaptureWriter
from extauthz.model import AttributeContext
from extauthz.telemetry.redaction import is_sensitive, mask
from tests.capture.conftest import PLACES, caller, check

CANARY = "c4n4ry"
LONG = "c4n4ryc4n4ryc4n4ry"
JWT = f"eyJhbGciOiJSUzI1NiJ9.{LONG}.{LONG}"
PEM = f"-----BEGIN%20CERTIFICATE-----%0A{CANARY}"
DER = base64.b64encode(b"\x30\x82\x03\x10" + b"x" * 60 + CANARY.encode()).decode()
WRITER = CaptureWriter(PLACES, mask=mask, sensitive=is_sensitive)


def written(sent: AttributeContext, **claims: Any) -> str:
    text = WRITER.text(sent, caller(**claims), None)
    assert text is not None
    return text


HEADERS = [
    {"authorization": (f"Bearer {CANARY}",)},
    {"authorization": (CANARY, CANARY)},
    {"proxy-authorization": (f"Basic {CANARY}",)},
    {"cookie": (f"a={CANARY}", f"session={CANARY}")},
    {"set-cookie": (f"a={CANARY}",)},
    {"x-api-key": (CANARY,)},
    {"x_api_key": (CANARY,)},
    {"x-api.key": (CANARY,)},
    {"x-partner": (CANARY,)},
    {"x_partner": (CANARY,)},
    {"dpop": (CANARY,)},
    {"x-auth-request-access-token": (CANARY,)},
    {"grpc-metadata-authorization": (CANARY,)},
    {"x-vault-token": (CANARY,)},
    {"x-amzn-oidc-data": (JWT,)},
    {"x-jwt": (CANARY,)},
    {"x-csrf": (CANARY,)},
    {"x-hub-signature": (CANARY,)},
    {"sec-websocket-protocol": (f"base64url.bearer.authorization.k8s.io.{CANARY}, v1",)},
    {"x-forwarded-client-cert": (f'Hash=1;Cert="{PEM}"',)},
    {"client-cert": (f":{DER}:",)},
    {"ssl-client-cert": (PEM,)},
    {"x-anything": (PEM,)},
    {"x-anything": (f":{DER}:",)},
    {"referer": (f"https://orders.example.com/login?k={CANARY}&x=1",)},
    {"referer": (f"https://orders.example.com/login?%6B={CANARY}",)},
    {"referer": (f"https://orders.example.com/cb#access_token={CANARY}",)},
    {"referer": (f"https://user:{CANARY}@orders.example.com/",)},
    {"x-envoy-original-path": (f"/a?x=1&k={CANARY}",)},
    {"x-original-url": (f"/a?x=1;k={CANARY}",)},
    {"forwarded": (f"for=1.2.3.4;sid2={CANARY}",)},
    {"host": (f"user:{CANARY}@orders.example.com",)},
    {":path": (f"/other?k={CANARY}",)},
    {":authority": (f"user:{CANARY}@orders.example.com",)},
    {"x-trace": (f"Bearer {CANARY}",)},
    {"x-trace": (JWT,)},
    {"x-copy": (f"was: {LONG}",), "authorization": (f"Bearer {LONG}",)},
    {"x-copy": (LONG,), "cookie": (f"a=b; sid2={LONG}",)},
]


@pytest.mark.parametrize("headers", HEADERS, ids="+".join)
def test_no_header_carries_a_credential_out(headers: Mapping[str, tuple[str, ...]]) -> None:
    """Headers that carry credentials, their copies, URLs in headers, certificates."""
    text = written(check(headers=headers))
    assert CANARY not in text
    assert DER[:40] not in text
    assert json.loads(text)["redacted"]


PATHS = [
    f"/a?k={CANARY}",
    f"/a?%6b={CANARY}",
    f"/a?%256b={CANARY}",
    f"/a?x=1;k={CANARY}",
    f"/a?x=1%26k={CANARY}",
    f"/a?x=1?k={CANARY}",
    f"/a?x#k={CANARY}",
    f"/a?K={JWT}",
    f"/a?access_token={CANARY}",
    f"/a?api-key={CANARY}",
    f"/a?apiKey={CANARY}",
    f"/a?code={CANARY}",
    f"/a?user[password]={CANARY}",
    f"/a?X-Amz-Signature={CANARY}",
    f"/a?sig={CANARY}",
    f"/a?x={quote('Bearer ' + CANARY)}",
    f"/a?x={quote(quote('access_token=' + CANARY))}",
    f"/a?next={quote(f'https://h/?k={CANARY}', safe='')}",
    f"/a?{JWT}",
    f"/a/{JWT}/b",
    f"/a;jsessionid={CANARY}/b",
    f"/a%3bjsessionid={CANARY}/b",
    f"/a%253Bjsessionid={CANARY}/b",
    f"/a%3Fk={CANARY}",
    f"/a%253fk={CANARY}",
    f"/a#k={CANARY}",
    f"http://user:{CANARY}@orders.example.com/a",
]


@pytest.mark.parametrize("path", PATHS)
def test_no_path_carries_a_credential_out(path: str) -> None:
    """Parameters that carry credentials, however they are spelled, and path parameters."""
    text = written(check(path=path))
    assert CANARY not in text
    assert json.loads(text)["redacted"]


@pytest.mark.parametrize(
    "claims",
    [
        {"access_token": CANARY},
        {"nested": {"client_secret": CANARY}},
        {"nested": [{"password": [CANARY, {"x": CANARY}]}]},
        {"session_id": 123_456_789},
        {"note": f"Bearer {CANARY}"},
        {"idp": {"raw": JWT}},
        {"odd": b"c4n4ry"},
    ],
    ids=str,
)
def test_no_claim_carries_a_credential_out(claims: dict[str, Any]) -> None:
    """Tokens in tokens, and secrets by their name; the claim is listed by its first name."""
    text = written(check(), **claims)
    assert CANARY not in text
    assert "123456789" not in text
    assert f"claims.{next(iter(claims))}" in json.loads(text)["redacted"]


def test_copies_of_the_credential_are_hidden_everywhere() -> None:
    """A token that stands in path, query, claims and context as well is hidden there, too."""
    sent = check(path=f"/a/{LONG}?x={LONG}", headers={"authorization": (f"Bearer {LONG}",)})
    text = written(sent, jti=LONG, deep={"x": [f"<{LONG}>"]})
    assert CANARY not in text
    assert {"path", "query.x", "claims.jti", "claims.deep"} <= set(json.loads(text)["redacted"])


def test_certificates_of_both_ends_are_left_out() -> None:
    """The client's certificate is what the principal was taken from, and is not kept."""
    assert "CERTIFICATE" not in written(check())


@pytest.mark.parametrize(
    ("headers", "path"),
    [
        ({"x-tenant": ("acme",), "accept": ("*/*",), "user-agent": ("curl/8.5.0",)}, "/a?page=2&q=a+b"),
        (
            {"x-forwarded-for": ("192.0.2.7",), "x-request-id": ("31657f27-8c1c",), "origin": ("https://a.example",)},
            "/a",
        ),
        ({"content-type": ("application/grpc",), "upgrade": ("websocket",)}, "/a?tags=x&tags=y&empty="),
        ({"referer": ("https://a.example/list?page=2",)}, "/tokens/basic/session"),
    ],
)
def test_what_policies_ask_for_is_kept(headers: dict[str, tuple[str, ...]], path: str) -> None:
    """Hiding takes nothing from plain headers, queries and claims."""
    capture = json.loads(written(check(path=path, headers=headers), tenant="acme", token_use="access", email="a@b.c"))
    assert "redacted" not in capture
    assert {name: tuple(values) for name, values in capture["http"]["headers"].items()} == headers
    assert capture["http"]["path"] == path
    assert capture["caller"]["claims"] == {"tenant": "acme", "token_use": "access", "email": "a@b.c"}


def test_hidden_headers_keep_their_number() -> None:
    """That a header came twice can decide: it is told, its values are not."""
    capture = json.loads(written(check(headers={"authorization": ("a", "b")})))
    assert capture["http"]["headers"] == {"authorization": ["[redacted]", "[redacted]"]}
    assert capture["redacted"] == ["headers.authorization"]


SECRET = st.text("abcdefXYZ0123456789-._~", min_size=12, max_size=40).filter(
    lambda text: any(c.isdigit() for c in text) and any(c.isalpha() for c in text)
)


@given(
    secret=SECRET,
    place=st.sampled_from(["authorization", "x-partner", "x-api-key"]),
    around=st.sampled_from(["{}", "a {} b", "x={}"]),
)
def test_a_credential_is_nowhere(secret: str, place: str, around: str) -> None:
    """Whatever a token looks like: where it was read from, and wherever else it stands, it is hidden."""
    copy = around.format(secret)
    sent = check(path=f"/a/{secret}?q={secret}", headers={place: (f"Bearer {secret}",), "x-copy": (copy,)})
    shown = json.loads(written(sent, note=copy))
    assert secret not in json.dumps(shown["http"])
    assert secret not in shown["caller"]["claims"]["note"]
