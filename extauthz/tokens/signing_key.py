"""One private key: how it is made, read and written down, and how it signs.

``cryptography`` does the arithmetic; this module says which keys are good enough to sign tokens with, and in which form
a JWS wants their signatures (RFC 7518 section 3, RFC 8037). One key is for one algorithm, although an RSA key could serve
two: a verifier must never have to guess.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from extauthz.tokens.public_key import COORDINATE_SIZE, jwk_of, rsa_padding

__all__ = ["SigningKey", "UnusableKeyError", "generate_key", "read_key"]

_PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

_RSA_BITS = 2048
"""Of keys made here: enough for the months that they live, and 3072 bits take three times the CPU."""
_RSA_BITS_TAKEN = range(2048, 4096 + 1)
"""Of keys that others made: each signature of a larger one would hold up everybody else."""
_EXPONENT = 65537


class UnusableKeyError(Exception):
    """Why a key can't be used. Never leaves this room; the text holds nothing of the key."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key for one algorithm."""

    kid: str
    algorithm: str
    public: Mapping[str, Any]
    """The public JWK, with ``kid``, ``alg`` and ``use``."""
    _private: _PrivateKey = field(repr=False)

    def sign(self, signing_input: bytes) -> bytes:
        """The signature in the form of a JWS."""
        key = self._private
        if isinstance(key, ec.EllipticCurvePrivateKey):
            r, s = decode_dss_signature(key.sign(signing_input, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(COORDINATE_SIZE, "big") + s.to_bytes(COORDINATE_SIZE, "big")
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return key.sign(signing_input)
        return key.sign(signing_input, rsa_padding(self.algorithm), hashes.SHA256())

    def pem(self) -> bytes:
        """The whole key: PKCS#8 in PEM, not encrypted."""
        return self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def generate_key(algorithm: str) -> SigningKey:
    """A new key for one of ``ALGORITHMS``. An RSA key takes a tenth of a second."""
    match algorithm:
        case "ES256":
            return _key(ec.generate_private_key(ec.SECP256R1()), algorithm)
        case "EdDSA":
            return _key(ed25519.Ed25519PrivateKey.generate(), algorithm)
        case "RS256" | "PS256":
            return _key(rsa.generate_private_key(_EXPONENT, _RSA_BITS), algorithm)
        case _:
            message = f"no key is made for {algorithm}"
            raise ValueError(message)


def read_key(pem: bytes, *, algorithm: str = "", rsa_algorithm: str = "RS256") -> SigningKey:
    """A key that was written down, for an algorithm; without one its type says which, and ``rsa_algorithm`` for RSA.

    Raises:
        UnusableKeyError: It is no private key in PEM, or not one that tokens may be signed with.
    """
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise UnusableKeyError("it is encrypted") from None
    except (ValueError, UnsupportedAlgorithm):
        raise UnusableKeyError("it is no private key in PEM") from None
    match key:
        case ec.EllipticCurvePrivateKey():
            if not isinstance(key.curve, ec.SECP256R1):
                raise UnusableKeyError("its curve is not P-256")
            fitting = "ES256"
        case ed25519.Ed25519PrivateKey():
            fitting = "EdDSA"
        case rsa.RSAPrivateKey():
            if key.key_size not in _RSA_BITS_TAKEN:
                raise UnusableKeyError(f"it has not {_RSA_BITS_TAKEN.start} to {_RSA_BITS_TAKEN.stop - 1} bits")
            if key.public_key().public_numbers().e != _EXPONENT:
                raise UnusableKeyError(f"its exponent is not {_EXPONENT}")
            fitting = algorithm if algorithm in {"RS256", "PS256"} else rsa_algorithm
        case _:
            raise UnusableKeyError("it is not an EC, Ed25519 or RSA key")
    if algorithm and algorithm != fitting:
        raise UnusableKeyError(f"it is no key for {algorithm}")
    return _key(key, fitting)


def _key(key: _PrivateKey, algorithm: str) -> SigningKey:
    public = jwk_of(key.public_key(), algorithm)
    return SigningKey(public["kid"], algorithm, public, key)
