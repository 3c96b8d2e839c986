"""The public half of a signing key: as a JWK for everybody, and to check our own signatures before they go out.

A key's name is the thumbprint of its public half (RFC 7638): nobody has to give names out, no two keys have the same one,
and it is the same after a restart or a restore. What is published is put together from the members that a public key
consists of, so that nothing else of a key can be published by mistake.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, assert_never

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from extauthz.tokens.encoding import base64url, base64url_bytes

__all__ = [
    "ALGORITHMS",
    "COORDINATE_SIZE",
    "PublicKey",
    "canonical_json",
    "is_by",
    "jwk_of",
    "published",
    "read_jwk",
    "rsa_padding",
    "thumbprint",
]

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey

ALGORITHMS = ("ES256", "EdDSA", "RS256", "PS256")
"""What tokens can be signed with so that others can check them (RFC 7518 section 3.1; EdDSA means Ed25519, RFC 8037)."""

COORDINATE_SIZE = 32
"""Bytes of a coordinate of P-256, and of each half of its signatures."""

_MEMBERS: Mapping[object, tuple[str, ...]] = {
    "EC": ("crv", "kty", "x", "y"),
    "OKP": ("crv", "kty", "x"),
    "RSA": ("e", "kty", "n"),
}
"""What a public key consists of, in the words of a thumbprint (RFC 7638 section 3.2)."""


def canonical_json(value: Mapping[str, Any]) -> bytes:
    """JSON with sorted names and nothing that it could do without: one value has one text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """What a key is called (RFC 7638), 43 characters of base64url. Raises KeyError if it is no public key."""
    return base64url(sha256(canonical_json({name: jwk[name] for name in _MEMBERS[jwk["kty"]]})).digest())


def jwk_of(key: PublicKey, algorithm: str, kid: str = "") -> dict[str, Any]:
    """The JWK of a public key for one algorithm; its thumbprint is its ``kid`` unless another one is given."""
    members: dict[str, Any]
    match key:
        case ec.EllipticCurvePublicKey():
            point = key.public_numbers()
            members = {"kty": "EC", "crv": "P-256", "x": _number(point.x, COORDINATE_SIZE)}
            members["y"] = _number(point.y, COORDINATE_SIZE)
        case ed25519.Ed25519PublicKey():
            raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
            members = {"kty": "OKP", "crv": "Ed25519", "x": base64url(raw)}
        case rsa.RSAPublicKey():
            numbers = key.public_numbers()
            members = {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}
    return {**members, "alg": algorithm, "kid": kid or thumbprint(members), "use": "sig"}


def published(jwk: Mapping[str, Any], algorithm: str, kid: str) -> dict[str, Any]:
    """The JWK as it is shown to everybody. Raises KeyError if it is no public key."""
    return {**{name: jwk[name] for name in _MEMBERS[jwk["kty"]]}, "alg": algorithm, "kid": kid, "use": "sig"}


def read_jwk(jwk: Mapping[str, Any]) -> PublicKey:
    """The public key of a JWK that a backend of ours gives. Raises KeyError or ValueError if it is none."""
    match jwk["kty"]:
        case "EC":
            numbers = ec.EllipticCurvePublicNumbers(_read(jwk["x"]), _read(jwk["y"]), ec.SECP256R1())
            return numbers.public_key()
        case "OKP":
            return ed25519.Ed25519PublicKey.from_public_bytes(_bytes(jwk["x"]))
        case _:
            return rsa.RSAPublicNumbers(_read(jwk["e"]), _read(jwk["n"])).public_key()


def is_by(key: PublicKey, algorithm: str, signing_input: bytes, signature: bytes) -> bool:
    """Whether a signature in the form of a JWS is by a key. Nothing is by what is no key."""
    try:
        match key:
            case ec.EllipticCurvePublicKey():
                if len(signature) != 2 * COORDINATE_SIZE:
                    return False
                r, s = signature[:COORDINATE_SIZE], signature[COORDINATE_SIZE:]
                encoded = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
                key.verify(encoded, signing_input, ec.ECDSA(hashes.SHA256()))
            case ed25519.Ed25519PublicKey():
                key.verify(signature, signing_input)
            case rsa.RSAPublicKey():
                key.verify(signature, signing_input, rsa_padding(algorithm), hashes.SHA256())
            case _:
                assert_never(key)
    except InvalidSignature:
        return False
    return True


def rsa_padding(algorithm: str) -> padding.AsymmetricPadding:
    """RFC 7518 sections 3.3 and 3.5: the salt is as long as the hash."""
    if algorithm == "PS256":
        return padding.PSS(padding.MGF1(hashes.SHA256()), hashes.SHA256.digest_size)
    return padding.PKCS1v15()


def _number(value: int, size: int = 0) -> str:
    return base64url(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


def _bytes(text: str) -> bytes:
    raw = base64url_bytes(text)
    if raw is None:
        message = "a member of the key is not base64url"
        raise ValueError(message)
    return raw


def _read(text: str) -> int:
    return int.from_bytes(_bytes(text), "big")
