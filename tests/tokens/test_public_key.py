"""The check of our own signatures: it takes those of the key, and nothing else."""

from typing import Any

import pytest

from extauthz.tokens.public_key import ALGORITHMS, is_by, read_jwk, thumbprint
from extauthz.tokens.signing_key import generate_key


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_signature_is_by_its_key_alone(algorithm: str) -> None:
    """Not by another one, not over other bytes, not cut, longer or empty."""
    key, other = generate_key(algorithm), generate_key(algorithm)
    signature = key.sign(b"a.b")
    assert is_by(read_jwk(key.public), algorithm, b"a.b", signature)
    assert is_by(read_jwk(key.public), algorithm, b"a.b", signature)
    for public, signed, shown in (
        (other.public, b"a.b", signature),
        (key.public, b"a.c", signature),
        (key.public, b"a.b", signature[:-1]),
        (key.public, b"a.b", signature + b"\x00"),
        (key.public, b"a.b", bytes(len(signature))),
        (key.public, b"a.b", b""),
    ):
        assert not is_by(read_jwk(public), algorithm, signed, shown)


def test_rsa_paddings_are_told_apart() -> None:
    """A PS256 signature is none of RS256, with the same key."""
    key = generate_key("PS256")
    signature = key.sign(b"a.b")
    assert is_by(read_jwk(key.public), "PS256", b"a.b", signature)
    assert not is_by(read_jwk(key.public), "RS256", b"a.b", signature)


@pytest.mark.parametrize("nothing", [{}, None, "key", {"kty": "EC"}])
def test_nothing_is_by_what_is_no_key(nothing: Any) -> None:
    """A mistake here must never let a signature through."""
    with pytest.raises((AssertionError, KeyError, TypeError)):
        is_by(nothing, "ES256", b"a.b", bytes(64))
    with pytest.raises((KeyError, TypeError)):
        is_by(read_jwk(nothing), "ES256", b"a.b", bytes(64))


def test_the_thumbprint_of_the_standard() -> None:
    """RFC 7638 section 3.1."""
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3okn"
        "jhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6q"
        "MQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awap"
        "JzKnqDKgw"
    )
    jwk = {"kty": "RSA", "n": modulus, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"}
    assert thumbprint(jwk) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
