"""Assertions of clients: their form and signature are held against the same rules as tokens."""

from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from extauthz.errors import KeySetError
from extauthz.identity import ClientAssertions

KEY = generate_private_key(SECP256R1())
OTHER = generate_private_key(SECP256R1())
READER = ClientAssertions(frozenset({"ES256", "EdDSA", "PS256", "RS256"}))


def jwk(key: Any = KEY, **changed: str) -> dict[str, Any]:
    return {**jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True), **changed}


def signed(key: Any = KEY, algorithm: str = "ES256", **header: str) -> str:
    return jwt.encode({"sub": "shop"}, key, algorithm, header)


def test_by_any_of_its_keys() -> None:
    """Named or not: while one key replaces the other both are there."""
    keys = {"keys": [jwk(OTHER, kid="a"), jwk(kid="b")]}
    for assertion in (signed(), signed(kid="b"), signed(typ="client-authentication+jwt"), signed(OTHER, kid="a")):
        assert READER.verified(assertion, keys) == {"sub": "shop"}
        assert READER.subject(assertion) == "shop"


@pytest.mark.parametrize(
    "assertion",
    [
        signed(OTHER),
        signed(kid="a"),
        signed(kid="c"),
        signed(typ="at+jwt"),
        signed(typ="dpop+jwt"),
        signed("k" * 32, "HS256"),
        signed("", "none"),
        signed()[:-2],
        signed() + ".x",
        "",
        "x",
        "é.é.é",
    ],
)
def test_by_no_other(assertion: str) -> None:
    """Another key, another type, a secret, none, and what is no JWT."""
    assert READER.verified(assertion, {"keys": [jwk(OTHER, kid="a", use="enc"), jwk(kid="b")]}) is None


def test_whose_it_says_to_be() -> None:
    """Nobody's, where that is no text."""
    assert READER.subject("x") == ""
    assert READER.subject(jwt.encode({"iss": "x"}, KEY, "ES256")) == ""


@pytest.mark.parametrize("raw", [b"", b"{}", b'{"keys": []}', b'{"keys": [{"kty": "oct", "k": "AAAA"}]}', b"[]"])
def test_sets_that_verify_nothing(raw: bytes) -> None:
    """Are refused when they are read, and verify nothing if they come from elsewhere."""
    with pytest.raises(KeySetError):
        READER.key_set(raw)
    assert READER.verified(signed(), {"keys": []}) is None
