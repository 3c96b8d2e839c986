"""How we prove who we are by an assertion that we sign (``private_key_jwt``).

Apart from the other proofs, because it brings the libraries for signatures along, and whoever shows a secret needs none.
"""

from collections.abc import Callable
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from extauthz.errors import KeySetError
from extauthz.identity.client_settings import ClientKey
from extauthz.identity.proof import Proof, WatchedFile

__all__ = ["ByAssertion"]

_MIN_RSA_BITS = 2048
_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
_ASSERTION_LIFETIME = 60
"""Seconds; one request needs it."""
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

_PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey


class ByAssertion:
    """A new assertion for every request: its ``jti`` may be used once (RFC 7523 section 3)."""

    def __init__(self, client: ClientKey, new_id: Callable[[], str]) -> None:
        self._client = client
        self._new_id = new_id
        self._header = {} if client.key_id is None else {"kid": client.key_id}
        self._file: WatchedFile[_PrivateKey] = WatchedFile(client.key_file, self._key)

    @property
    def error(self) -> str:
        """Why what the file holds now can't be used; empty if it can."""
        return self._file.error

    def prove(self, now: float) -> Proof:
        client, issued = self._client, int(now)
        claims: dict[str, Any] = {
            "iss": client.client_id,
            "sub": client.client_id,
            "aud": client.audience,
            "jti": self._new_id(),
            "iat": issued,
            "exp": issued + _ASSERTION_LIFETIME,
        }
        assertion = jwt.encode(claims, self._file.current(), algorithm=client.algorithm, headers=self._header)
        return Proof(
            form={
                "client_id": client.client_id,
                "client_assertion_type": _ASSERTION_TYPE,
                "client_assertion": assertion,
            }
        )

    def _key(self, content: bytes) -> _PrivateKey:
        return _private_key(content, self._client.algorithm)


def _private_key(content: bytes, algorithm: str) -> _PrivateKey:
    """The key in a PEM file, if it is one for the algorithm."""
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeySetError("not a private key in PEM without a password") from None
    if algorithm.startswith(("RS", "PS")):
        if isinstance(key, RSAPrivateKey) and key.key_size >= _MIN_RSA_BITS:
            return key
        raise KeySetError(f"{algorithm} needs an RSA key of at least {_MIN_RSA_BITS} bits")
    if algorithm in _CURVES:
        if isinstance(key, EllipticCurvePrivateKey) and key.curve.name == _CURVES[algorithm]:
            return key
        raise KeySetError(f"{algorithm} needs an EC key on the curve {_CURVES[algorithm]}")
    if isinstance(key, Ed25519PrivateKey):
        return key
    raise KeySetError(f"{algorithm} needs an Ed25519 key")
