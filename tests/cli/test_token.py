"""``extauthz token inspect`` and ``verify``."""

import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key

Command = Callable[..., Any]

ISSUER = "https://login.example.com/"


@pytest.fixture(scope="module")
def key() -> EllipticCurvePrivateKey:
    return generate_private_key(SECP256R1())


@pytest.fixture
def configured(run: Command, key: EllipticCurvePrivateKey) -> Command:
    """A folder with a provider whose keys are in a file."""
    jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    Path("jwks.json").write_text(json.dumps({"keys": [{**jwk, "kid": "k1", "alg": "ES256", "use": "sig"}]}))
    Path("extauthz.yaml").write_text(f"""
providers:
- name: corporate
  jwt: {{issuer: "{ISSUER}", audiences: [orders], jwksFile: jwks.json}}
  roles: {{claims: [roles]}}
""")
    return run


@pytest.fixture
def signed(configured: Command, key: EllipticCurvePrivateKey) -> Callable[..., str]:
    """Write a token to a file; gives what it holds."""

    def sign(headers: dict[str, Any] | None = None, **claims: Any) -> str:
        now = int(time.time())
        said = {"iss": ISSUER, "sub": "alice", "aud": "orders", "iat": now - 60, "exp": now + 200, "roles": ["user"]}
        whole = {name: value for name, value in (said | claims).items() if value is not None}
        token = jwt.encode(whole, key, "ES256", headers={"kid": "k1", "typ": "at+jwt"} | (headers or {}))
        Path("token").write_text(token + "\n")
        return token

    return sign


def test_a_good_token_claim_by_claim(configured: Command, signed: Callable[..., str]) -> None:
    """Dates as dates, each claim with its meaning, each check, and the verdict; never the signature."""
    token = signed()
    result = configured("token", "inspect", "token")
    assert result.code == 0
    for told in (
        "a JSON Web Token (JWS)",
        "alg  ES256",
        "whom it is about",
        "(expires in 3 min",
        "(1 min",
        "+ the signature is by that key",
        "checks of provider corporate",
        "accepted: it proves alice to provider corporate; roles: user",
    ):
        assert told in result.out.replace("✓", "+")
    assert token.rpartition(".")[2][:12] not in result.out
    assert "unusual" not in result.out


@pytest.mark.parametrize(
    ("headers", "claims", "reason", "told"),
    [
        ({}, {"exp": int(time.time()) - 300}, "token-expired", "expired"),
        ({}, {"aud": "billing"}, "audience-mismatch", "aud names none"),
        ({}, {"iss": "https://other"}, "issuer-unknown", "known are: https://login.example.com/"),
        ({"kid": "k2"}, {}, "key-unknown", "no key for the token"),
        ({"typ": "JOSE"}, {}, "claim-invalid", "it is no access token"),
        ({}, {"exp": None}, "claim-invalid", "it never ends"),
        ({}, {"exp": int(time.time() + 80_000) * 1000}, "claim-invalid", "looks like milliseconds"),
        ({}, {"nonce": "x"}, "claim-invalid", "claims of an ID token"),
        ({}, {"cnf": {"jkt": "x"}}, "claim-invalid", "bound to its sender's key"),
        (
            {},
            {"iat": int(time.time()) + 80_000, "exp": int(time.time()) + 80_099},
            "token-not-yet-valid",
            "a clock is wrong",
        ),
        ({"jku": "https://evil"}, {"sub": None}, "claim-invalid", "a key of its own"),
    ],
)
def test_why_one_is_refused(
    configured: Command, signed: Callable[..., str], headers: dict[str, Any], claims: Any, reason: str, told: str
) -> None:
    """The check that fails, the word for it, and what a person would notice."""
    signed(headers, **claims)
    result = configured("token", "inspect", "token")
    assert result.code == 0
    assert f"refused: {reason}: " in result.out
    assert told in result.out
    verified = configured("token", "verify", "token")
    assert verified.code == 1
    assert verified.out.startswith(f"{reason}: ")


def test_long_lives_and_weak_signatures_are_unusual(configured: Command) -> None:
    """Even where nobody is asked."""
    now = int(time.time())
    Path("token").write_text(jwt.encode({"sub": "a", "exp": now + 86_400 * 30, "iat": now}, "s" * 32, "HS256"))
    told = json.loads(configured("token", "inspect", "token", "--output", "json").out)
    unusual = " | ".join(told["unusual"])
    for expected in ("alg is HS256", "it lives 30 d", "aud is absent", "iss is absent", "kid is absent"):
        assert expected in unusual
    assert "(expires in 29 d" in told["claims"]["exp"]["said"] or "(expires in 30 d" in told["claims"]["exp"]["said"]


def test_json(configured: Command, signed: Callable[..., str]) -> None:
    """For programs: values as they are written, and the verdict."""
    token = signed(tenant={"id": 5})
    told = json.loads(configured("token", "inspect", "token", "--output", "json").out)
    assert told["header"]["alg"] == {"value": "ES256", "said": "ES256"}
    assert told["claims"]["tenant"]["value"] == {"id": 5}
    assert told["verdict"]["accepted"] is True
    assert told["verdict"]["roles"] == ["user"]
    assert token.rpartition(".")[2] not in json.dumps(told)
    verified = json.loads(configured("token", "verify", "token", "--output", "json").out)
    assert verified == told["verdict"]


@pytest.mark.parametrize("before", ["", "Bearer ", "bearer  ", "Authorization: Bearer ", "authorization:"])
def test_a_token_from_standard_input(
    configured: Command, signed: Callable[..., str], monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    """As it stands in a header, too."""
    raw = io.BytesIO(f"{before}{signed()}\r\n".encode())
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=raw, isatty=lambda: False))
    assert configured("token", "verify", "-").code == 0


@pytest.mark.parametrize("content", ["", "two words", "\xff", "x" * 100_000])
def test_what_is_no_token(configured: Command, content: str) -> None:
    """Is wrong use, and not repeated."""
    Path("token").write_text(content, encoding="latin-1")
    result = configured("token", "inspect", "token")
    assert result.code == 2
    assert "two words" not in result.err


def test_a_token_on_the_command_line_is_refused(configured: Command, signed: Callable[..., str]) -> None:
    """It is in the history of the shell and in the list of processes by then; at least it is not repeated."""
    token = signed()
    result = configured("token", "inspect", token)
    assert result.code == 2
    assert token[20:60] not in result.out + result.err


@pytest.mark.parametrize(
    ("token", "kind"),
    [
        ("ert_" + "a" * 80, "a refresh token of extauthz"),
        ("opaque-token-0123456789", "an opaque token"),
        ("eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.a.b.c.d", "an encrypted JSON Web Token"),
        ("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.", "nobody has signed it"),
        ("eyJhbGciOiJub25lIn0=.eyJzdWIiOiJhIn0=.x", "no verifier should take this form"),
    ],
)
def test_other_kinds(configured: Command, token: str, kind: str) -> None:
    """What they are, as far as their form tells."""
    Path("token").write_text(token)
    assert kind in configured("token", "inspect", "token").out


def test_text_of_a_stranger_is_harmless(configured: Command, signed: Callable[..., str]) -> None:
    """A terminal obeys nothing in it, and it is cut to a bearable length."""
    signed(name="\x1b[31m" + "x" * 5000, **{"a\nb": "\u202e"})
    result = configured("token", "inspect", "token")
    assert "\x1b" not in result.out
    assert "\u202e" not in result.out
    assert max(map(len, result.out.splitlines())) < 500


def test_nobody_can_tell(run: Command, signed: Callable[..., str]) -> None:
    """Without a provider inspect explains the token all the same, and verify is wrong use."""
    signed()
    Path("extauthz.yaml").write_text("{}\n")
    result = run("token", "inspect", "token")
    assert result.code == 0
    assert "nobody was asked" in result.out
    assert run("token", "verify", "token").code == 2
