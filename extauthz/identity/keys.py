"""One verification key: what a JWK must be before a signature is checked with it.

PyJWT does the cryptography (over ``cryptography`` and OpenSSL) and nothing else here: which keys are good enough, and
which algorithm goes with which key, is decided by this module, once, when a key is loaded. PyJWT alone takes RSA keys of
1024 bits with any exponent, ignores ``use`` and ``key_ops``, and reads private members.

A key that can't be used (another use, an unknown type or curve, a weak modulus, a broken point) is skipped with a reason,
because key sets are shared with uses that we know nothing of (RFC 7517 section 5). Private members are never read, even
if a set is careless enough to hold them. Moduli with the ROCA weakness (CVE-2017-15361) are not detected.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt import PyJWTError
from jwt.algorithms import (
    Algorithm,
    ECAlgorithm,
    HMACAlgorithm,
    OKPAlgorithm,
    RSAAlgorithm,
    get_default_algorithms,
)

from extauthz.identity.token_form import base64url_decode

__all__ = ["Key", "UnusableKeyError", "read_public_key", "secret_key"]

_ALGORITHMS: Mapping[str, Algorithm] = get_default_algorithms()

_RSA_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVE_ALGORITHMS = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
"""RFC 7518 section 3.4: each curve has one algorithm."""

_RSA_BITS = range(2048, 8192 + 1)
"""RFC 7518 section 3.3 has the lower bound; the upper one bounds what a signature costs."""
_RSA_EXPONENTS = range(65537, 1 << 32, 2)
"""Odd ones only: with e = 1 every signature verifies, and large ones cost time."""
_MIN_SECRET_SIZE = 32
"""Bytes, the hash size of HS256 (RFC 7518 section 3.2)."""
_KNOWN_SECRETS = frozenset({b"a-string-secret-at-least-256-bits-long", b"your-256-bit-secret-your-256-bit-secret"})
"""Samples that tutorials print and people deploy."""

_FIELD_PRIME = (1 << 255) - 19
_ORDER_8_Y = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER_Y = frozenset({0, 1, _FIELD_PRIME - 1, _ORDER_8_Y, _FIELD_PRIME - _ORDER_8_Y})
"""The y coordinates of the points whose order divides 8: a signature by such a key can verify for many messages."""


class UnusableKeyError(Exception):
    """Why a key can't be used. Never leaves this room; the text holds nothing of the key."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key and all that it may verify."""

    id: str | None
    family: str
    """RSA, EC, OKP or secret."""
    algorithms: frozenset[str]
    material: Any = field(repr=False)
    """What PyJWT's algorithms take: a public key of ``cryptography``, or the bytes of a secret."""

    def verifies(self, algorithm: str, signing_input: bytes, signature: bytes) -> bool:
        """Whether the signature is this key's; False for an algorithm that is not the key's, whatever the signature."""
        if algorithm not in self.algorithms:
            return False
        try:
            return _ALGORITHMS[algorithm].verify(signing_input, self.material, signature)
        except (ValueError, PyJWTError):
            return False


def read_public_key(jwk: object) -> Key:
    """Read one member of a key set's ``keys`` (RFC 7517 section 4).

    Raises:
        UnusableKeyError: The key is not one that signatures of tokens may be verified with.
    """
    if not isinstance(jwk, Mapping):
        raise UnusableKeyError("it is not an object")
    key_id, use, operations = jwk.get("kid"), jwk.get("use", "sig"), jwk.get("key_ops", ["verify"])
    if key_id is not None and not isinstance(key_id, str):
        raise UnusableKeyError("its kid is not a string")
    if use != "sig":
        raise UnusableKeyError("its use is not sig")
    if not isinstance(operations, list | tuple) or "verify" not in operations:
        raise UnusableKeyError("its key_ops do not contain verify")
    family = jwk.get("kty")
    reader = _READERS.get(family) if isinstance(family, str) else None
    if reader is None:
        raise UnusableKeyError("its kty is not RSA, EC or OKP")
    try:
        algorithms, material = reader(jwk)
    except (ValueError, TypeError, OverflowError, UnsupportedAlgorithm, PyJWTError) as error:
        raise UnusableKeyError("its public members are not a key") from error
    if "alg" in jwk:
        if not isinstance(jwk["alg"], str) or jwk["alg"] not in algorithms:
            raise UnusableKeyError("its alg does not go with its type")
        algorithms = frozenset({jwk["alg"]})
    return Key(key_id, str(family), algorithms, material)


def secret_key(secret: bytes) -> Key:
    """A key for HS256.

    Raises:
        UnusableKeyError: The secret is too short, a published sample, or something that is no secret.
    """
    if len(secret) < _MIN_SECRET_SIZE:
        raise UnusableKeyError(f"it has {len(secret)} bytes, and HS256 needs at least {_MIN_SECRET_SIZE}")
    if secret in _KNOWN_SECRETS or len(set(secret)) == 1:
        raise UnusableKeyError("it is a published sample or a single repeated byte")
    try:
        material = HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret)
    except PyJWTError as error:
        raise UnusableKeyError("it is a public key, a certificate or a JWK, and these are not secret") from error
    return Key(None, "secret", frozenset({"HS256"}), material)


def _rsa(jwk: Mapping[str, Any]) -> tuple[frozenset[str], Any]:
    key = RSAAlgorithm.from_jwk(_public(jwk, "n", "e"))
    if not isinstance(key, RSAPublicKey):
        raise UnusableKeyError("it is not a public RSA key")
    numbers = key.public_numbers()
    if key.key_size not in _RSA_BITS or numbers.n % 2 == 0:
        raise UnusableKeyError(f"its modulus is not of {_RSA_BITS.start} to {_RSA_BITS.stop - 1} bits, or even")
    if numbers.e not in _RSA_EXPONENTS:
        raise UnusableKeyError("its exponent is below 65537, even or too large")
    return _RSA_ALGORITHMS, key


def _elliptic(jwk: Mapping[str, Any]) -> tuple[frozenset[str], Any]:
    curve = jwk.get("crv")
    algorithm = _CURVE_ALGORITHMS.get(curve) if isinstance(curve, str) else None
    if algorithm is None:
        raise UnusableKeyError("its curve is not P-256, P-384 or P-521")
    # PyJWT compares the size of the coordinates with the curve; cryptography checks that the point is on it.
    key = ECAlgorithm.from_jwk(_public(jwk, "x", "y") | {"crv": curve})
    if not isinstance(key, EllipticCurvePublicKey):
        raise UnusableKeyError("it is not a public EC key")
    return frozenset({algorithm}), key


def _edwards(jwk: Mapping[str, Any]) -> tuple[frozenset[str], Any]:
    if jwk.get("crv") != "Ed25519":
        raise UnusableKeyError("its curve is not Ed25519")
    key = OKPAlgorithm.from_jwk(_public(jwk, "x") | {"crv": "Ed25519"})
    if not isinstance(key, Ed25519PublicKey):
        raise UnusableKeyError("it is not a public Ed25519 key")
    y = int.from_bytes(key.public_bytes(Encoding.Raw, PublicFormat.Raw), "little") & ((1 << 255) - 1)
    if y >= _FIELD_PRIME or y in _SMALL_ORDER_Y:
        raise UnusableKeyError("its point has a small order or no canonical form")
    return frozenset({"EdDSA"}), key


def _public(jwk: Mapping[str, Any], *members: str) -> dict[str, Any]:
    """The public members alone, each in strict base64url."""
    for member in members:
        value = jwk.get(member)
        if not isinstance(value, str) or not base64url_decode(value):
            raise UnusableKeyError(f"its {member} is not base64url")
    return {"kty": jwk["kty"], **{member: jwk[member] for member in members}}


_READERS: Mapping[str, Callable[[Mapping[str, Any]], tuple[frozenset[str], Any]]] = {
    "RSA": _rsa,
    "EC": _elliptic,
    "OKP": _edwards,
}
