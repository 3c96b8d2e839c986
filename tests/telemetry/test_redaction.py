"""What looks like a credential, and what does not."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.telemetry.redaction import escape_controls, is_sensitive, mask

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJlLWNhbmFyeQ"
PEM = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQcanary\n-----END EC PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"token {JWT} refused", "token [redacted] refused"),
        (f"/cb/{JWT}/x", "/cb/[redacted]/x"),
        (f"a_{JWT[:40]}", "a_[redacted]"),
        (f"orders-service.example.{JWT}", "orders-service.example.[redacted]"),
        ("ewogICJhbGciOiAibm9uZSJ9.canary.", "[redacted]"),
        ("Authorization: Bearer canary-1", "Authorization: [redacted]"),
        ("got 'bearer canary-1', denied", "got 'bearer [redacted]', denied"),
        ("DPoP canary", "DPoP [redacted]"),
        ("Basic Y2FuYXJ5OmNhbmFyeQ==", "Basic [redacted]"),
        ("bearer%20canary", "bearer%20[redacted]"),
        ("https://user:canary@h/x", "https://[redacted]@h/x"),
        ("redis://:canary@h:6379/0", "redis://[redacted]@h:6379/0"),
        ("GET /x?access_token=canary&y=1", "GET /x?access_token=[redacted]&y=1"),
        ("client_secret=canary", "client_secret=[redacted]"),
        ("?code=canary-123456&state=1", "?code=[redacted]&state=1"),
        ('{"refresh_token": "canary \\" canary", "x": 1}', '{"refresh_token": "[redacted]", "x": 1}'),
        ("{'password': 'canary'}", "{'password': '[redacted]'}"),
        ("{'cookie': ('a=canary', 'b)canary'), 'host': ('h',)}", "{'cookie': ('[redacted]'), 'host': ('h',)}"),
        ('{"token": ["canary", "canary"], "x": 1}', '{"token": ["[redacted]"], "x": 1}'),
        ('{"password": "canary", "user": "alice"}', '{"password": "[redacted]", "user": "alice"}'),
        ("('cookie', 'a=canary; b=canary')", "('cookie', '[redacted]')"),
        ("('authorization', b'canary')", "('authorization', '[redacted]')"),
        ("cookie: a=canary; b=canary\nhost: h", "cookie: [redacted]\nhost: h"),
        ("x-api-key: canary", "x-api-key: [redacted]"),
        (f"no eak_7Ht2kQ9xWbLm_{'canary0' * 7}!", "no eak_7Ht2kQ9xWbLm_[redacted]!"),
        (f"it was ert_{'canary0-_' * 9}, used before", "it was ert_[redacted], used before"),
        ("ecs_canary0-_canary0", "ecs_[redacted]"),
        (f"cannot read {PEM} here", "cannot read [redacted] here"),
        (PEM[:50], "[redacted]"),
    ],
)
def test_credentials_are_masked(text: str, masked: str) -> None:
    """Each form of credential is replaced, and what is around it stays."""
    assert mask(text) == masked
    assert "canary" not in mask(text)


@pytest.mark.parametrize(
    "text",
    [
        "the token has expired",
        "no bearer token in the request",
        'Bearer realm="x"',
        "Basic authentication is not configured",
        "the cookie header is ambiguous",
        "spiffe://cluster.local/ns/shop/sa/web",
        "policies/orders.yaml:12:3: unknown key 'rol'",
        "eyewear-service.shop.example.com",
        "https://login.example.com/.well-known/openid-configuration",
        "status code=UNAVAILABLE details=connection refused 127.0.0.1:4317",
        "exit code=14",
        "-----BEGIN CERTIFICATE-----",
        "alice@example.com",
    ],
)
def test_harmless_text_is_left_alone(text: str) -> None:
    """What people need to read is not masked."""
    assert mask(text) == text


@pytest.mark.parametrize(
    "key",
    [
        "authorization",
        "Proxy-Authorization",
        "cookie",
        "set-cookie",
        "token",
        "accessToken",
        "id_token",
        "clientSecret",
        "password",
        "db.passwd",
        "api_key",
        "X-Api-Key",
        "privateKey",
        "key_material",
        "client-assertion",
        "credentials",
        "jwt",
        "jwks",
    ],
)
def test_sensitive_keys(key: str) -> None:
    """Names of credentials are known in every spelling."""
    assert is_sensitive(key)


@pytest.mark.parametrize(
    "key", ["event", "kid", "key_id", "provider", "path", "reason", "host", "keys", "problems", "jwks_uri", "policy"]
)
def test_harmless_keys(key: str) -> None:
    """Names of what people look for are not."""
    assert not is_sensitive(key)


def test_controls_are_spelled() -> None:
    """Line breaks, terminal sequences, direction marks and lone surrogates come out as escapes, the rest as it is."""
    assert escape_controls("a\n\x1b[31mb\x7f\x9b\u202e\u200b\ud800ü€") == (
        "a\\x0a\\x1b[31mb\\x7f\\x9b\\u202e\\u200b\\ud800ü€"
    )
    assert escape_controls("a\n\tb\r", keep="\n\t") == "a\n\tb\\x0d"


@pytest.mark.parametrize(
    "text",
    [
        "eyJ" + "a" * 60_000,
        "eyJ" * 20_000,
        "eyJaaaaaaaa." * 5_000,
        "Bearer " * 8_000,
        "bearer" + " " * 60_000,
        "://" * 20_000 + "@",
        "'cookie', '" * 5_000,
        "'cookie': (" + "'a', " * 5_000,
        "code=" * 12_000,
        "code=a" * 10_000,
        "-----BEGIN PRIVATE KEY-----" * 2_000,
        "cookie:" * 8_000,
        "cookie" + " " * 60_000,
    ],
)
def test_hostile_text_costs_little(text: str) -> None:
    """No text of the greatest size that a record or a log line holds keeps the server busy."""
    began = time.process_time()
    mask(text[:8192])
    assert time.process_time() - began < 0.02


@given(st.text(), st.sampled_from([JWT, "Bearer canary0", PEM, "password=canary0"]), st.text())
def test_masked_anywhere(before: str, secret: str, after: str) -> None:
    """A credential between other words is masked wherever it stands."""
    assert secret not in mask(f"{before} {secret} {after}")


@given(st.text())
def test_escaped_text_prints(text: str) -> None:
    """What is left can be printed and encoded."""
    escaped = escape_controls(text)
    escaped.encode()
    assert not any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in escaped)
