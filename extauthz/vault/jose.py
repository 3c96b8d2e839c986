"""Keys and signatures of JOSE, made and checked with ``cryptography``.

Vault signs, and this checks what it signed: an answer by another version or another key must not leave the house. Keys of
the KV backend sign here as well.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

__all__ = ["ALGORITHMS", "PublicKey", "b64", "new_private_key", "sign"]

ALGORITHMS = ("ES256", "EdDSA", "RS256", "PS256")
"""What tokens are signed with (RFC 7518 section 3, RFC 8037)."""

_HALF = 32
"""Bytes of each of the two numbers of an ES256 signature."""
_RSA_BITS = 3072
_LEAST_RSA_BITS = 2048
_SHA256 = hashes.SHA256()

Public = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey
Private = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The public half of a signing key, for one algorithm."""

    algorithm: str
    key: Public

    @classmethod
    def read(cls, algorithm: str, text: bytes) -> "PublicKey":
        """Read PEM, or the 32 bytes of Ed25519. Raises ValueError if it is no key of this algorithm."""
        if algorithm == "EdDSA" and len(text) == _HALF:
            return cls(algorithm, ed25519.Ed25519PublicKey.from_public_bytes(text))
        return cls.of(algorithm, serialization.load_pem_public_key(text))

    @classmethod
    def of(cls, algorithm: str, key: object) -> "PublicKey":
        """Take a key. Raises ValueError if it is none of this algorithm."""
        if algorithm == "ES256" and isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
            return cls(algorithm, key)
        if algorithm == "EdDSA" and isinstance(key, ed25519.Ed25519PublicKey):
            return cls(algorithm, key)
        if algorithm in ("RS256", "PS256") and isinstance(key, rsa.RSAPublicKey) and key.key_size >= _LEAST_RSA_BITS:
            return cls(algorithm, key)
        raise ValueError(f"is no key for {algorithm}")

    @property
    def members(self) -> Mapping[str, str]:
        """What makes the key, in the words of RFC 7517, sorted (RFC 7638 section 3)."""
        key = self.key
        if isinstance(key, ec.EllipticCurvePublicKey):
            point = key.public_numbers()
            x, y = (b64(number.to_bytes(_HALF, "big")) for number in (point.x, point.y))
            return {"crv": "P-256", "kty": "EC", "x": x, "y": y}
        if isinstance(key, ed25519.Ed25519PublicKey):
            return {"crv": "Ed25519", "kty": "OKP", "x": b64(key.public_bytes_raw())}
        numbers = key.public_numbers()
        e, n = (b64(number.to_bytes((number.bit_length() + 7) // 8, "big")) for number in (numbers.e, numbers.n))
        return {"e": e, "kty": "RSA", "n": n}

    @property
    def thumbprint(self) -> str:
        """The SHA-256 thumbprint (RFC 7638): the same for the same key, and for no other."""
        return b64(hashlib.sha256(json.dumps(self.members, separators=(",", ":")).encode()).digest())

    def jwk(self, kid: str) -> dict[str, Any]:
        """As it is published."""
        return {**self.members, "kid": kid, "alg": self.algorithm, "use": "sig"}

    def verifies(self, signing_input: bytes, signature: bytes) -> bool:
        """Whether the signature is this key's."""
        key = self.key
        try:
            if isinstance(key, ec.EllipticCurvePublicKey):
                if len(signature) != 2 * _HALF:
                    return False
                r, s = (int.from_bytes(half, "big") for half in (signature[:_HALF], signature[_HALF:]))
                key.verify(encode_dss_signature(r, s), signing_input, ec.ECDSA(_SHA256))
            elif isinstance(key, ed25519.Ed25519PublicKey):
                key.verify(signature, signing_input)
            else:
                key.verify(signature, signing_input, _padding(self.algorithm), _SHA256)
        except InvalidSignature:
            return False
        return True


def new_private_key(algorithm: str) -> Private:
    """A new key for an algorithm."""
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)


def sign(algorithm: str, key: Private, signing_input: bytes) -> bytes:
    """The signature of a JWS (RFC 7515 section 5.1)."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(key.sign(signing_input, ec.ECDSA(_SHA256)))
        return r.to_bytes(_HALF, "big") + s.to_bytes(_HALF, "big")
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(signing_input)
    return key.sign(signing_input, _padding(algorithm), _SHA256)


def b64(value: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _padding(algorithm: str) -> padding.PSS | padding.PKCS1v15:
    if algorithm == "PS256":
        return padding.PSS(padding.MGF1(_SHA256), _SHA256.digest_size)
    return padding.PKCS1v15()
